"""Messages: roles that take turns, contents that are text, and what is taken off a dialogue."""

import unicodedata

import pytest

from kerastune.chat import Dialogue, Message
from kerastune.errors import DataError


def talk(*roles, system=None):
    head = [] if system is None else [{"role": "system", "content": system}]
    return Dialogue.of(head + [{"role": role, "content": f"{n}번"} for n, role in enumerate(roles)])


def test_nfd_becomes_nfc():
    (message,) = Dialogue.of([{"role": "user", "content": unicodedata.normalize("NFD", "한글")}]).messages
    assert message == Message("user", "한글")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ([], "expected a message of the user's, received none"),
        (["system"], "expected a message of the user's after the system message"),
        (["assistant", "user"], "message 1: expected the role 'user', received 'assistant'"),
        (["user", "user"], "message 2: expected the role 'assistant', received 'user'"),
        (["system", "user", "assistant", "assistant"], "message 4: expected the role 'user'"),
        (["user", "system", "assistant"], "message 2: expected the role 'assistant', received 'system'"),
        (["user", "tool"], "message 2: unknown role 'tool'; the roles are system, user, assistant"),
    ],
)
def test_roles_take_turns(roles, message):
    with pytest.raises(DataError, match=message):
        talk(*roles)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (" \n", "message 2: its content is empty"),
        (None, r"message 2: expected text as content, received None \(NoneType\)"),
        ("a\0", r"message 2: character 2 of its content is '\\x00', which is no text"),
        ("\ufdd0", r"message 2: character 1 of its content is '\\ufdd0'"),
    ],
)
def test_contents_are_text(content, message):
    with pytest.raises(DataError, match=message):
        Dialogue.of([{"role": "user", "content": "안녕"}, {"role": "assistant", "content": content}])


def test_a_message_is_an_object_with_role_and_content():
    with pytest.raises(
        DataError, match=r"message 1: expected an object with the keys 'role' and 'content', .*'text'"
    ):
        Dialogue.of([{"role": "user", "text": "안녕"}])
    with pytest.raises(DataError, match=r"message 1: expected an object .* received '안녕'"):
        Dialogue.of(["안녕"])


def test_share_gpt_roles():
    dialogue = Dialogue.of([{"role": "human", "content": "a"}, {"role": "gpt", "content": "b"}])
    assert [message.role for message in dialogue.messages] == ["user", "assistant"]


def test_a_trained_dialogue_ends_with_the_assistant():
    with pytest.raises(DataError, match="expected a message of the assistant's, received none"):
        talk("user").require_answer()
    with pytest.raises(DataError, match="message 3: expected the assistant to have the last word"):
        talk("user", "assistant", "user").require_answer()
    talk("user", "assistant", system="s").require_answer()


def test_the_oldest_turn_goes_whole_and_the_system_message_stays():
    dialogue = talk("user", "assistant", "user", "assistant", "user", "assistant", system="s")
    shorter = dialogue.without_oldest_turn()
    assert [message.content for message in shorter.messages] == ["s", "2번", "3번", "4번", "5번"]
    assert [message.content for message in shorter.without_oldest_turn().messages] == ["s", "4번", "5번"]
    assert shorter.without_oldest_turn().without_oldest_turn() is None
    # Where an answer is still to be written, the last exchange is the user's last message.
    waiting = talk("user", "assistant", "user")
    assert [message.content for message in waiting.without_oldest_turn().messages] == ["2번"]
    assert waiting.without_oldest_turn().without_oldest_turn() is None


def test_answer_and_what_stands_before_it():
    dialogue = talk("user", "assistant")
    assert dialogue.answer == "1번"
    assert dialogue.before_answer == talk("user")
    assert dialogue.before_answer.with_answer("1번") == dialogue
    assert dialogue.before_answer.answer is None
    assert dialogue.characters == 4
