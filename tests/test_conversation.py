"""A conversation: turns that the model sees, commands, what is left out, and what is kept."""

import json
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from kerastune.chat import ChatEncoder, ChatTemplate, Message
from kerastune.conversation import Conversation, converse
from kerastune.decoding import GenerationSpec
from kerastune.errors import EncodingError
from tests.talking import PAD, SIZE, STOP, ByteTokenizer

TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


class Tokens(ByteTokenizer):
    """Bytes, and one control token."""

    special_ids: ClassVar = {"<end>": STOP}

    def encode_batch(self, texts):
        return [self.encode(text) for text in texts]

    def token_text(self, number):
        return {STOP: "<end>"}.get(number, chr(number))


@dataclass
class Scripted:
    """A model that says the next of its texts, whatever it is asked."""

    texts: list[str]
    asked: list[list[int]] = field(default_factory=list)
    interrupts: bool = False

    def start_decoding(self, prompts, _spec):
        self.asked.append(list(prompts[0]))
        return self

    def step(self, tokens):
        if not tokens:
            self.left = [*self.texts.pop(0).encode(), STOP]
        if self.interrupts and len(self.left) == 4:
            self.interrupts = False
            raise KeyboardInterrupt
        logits = np.zeros(SIZE, np.float32)
        logits[self.left.pop(0)] = 1
        return {0: logits}


class Talker:
    """A speaker of the scripted model."""

    def __init__(self, texts, context=1000):
        self.stack, self.tokenizer, self.context = Scripted(list(texts)), Tokens(), context
        template = ChatTemplate(name="own", source=TEMPLATE, tokenizer=self.tokenizer)
        self.encoder = ChatEncoder(template=template)

    def prompt_ids(self, prompt, room, where):
        ids = self.encoder.prompt_ids(prompt)
        if len(ids) + room > self.context:
            raise EncodingError(f"{where}: too long")
        return ids

    def seen(self):
        """What the model saw at each answer."""
        return [bytes(n if n < 256 else ord("|") for n in ids).decode() for ids in self.stack.asked]


def hold(talker, *lines, system=None):
    spec = GenerationSpec(max_new_tokens=64, stop_ids=(STOP,), pad_id=PAD)
    conversation, left, shown = Conversation(talker, spec, system), list(lines), []
    converse(conversation, lambda: left.pop(0) if left else None, shown.append)
    return conversation, "".join(shown), left


def test_turns_are_remembered_and_the_end_is_obeyed():
    talker = Talker(["네, 안녕하세요.", "서울이에요."])
    conversation, shown, left = hold(talker, "안녕?", "", "  ", "수도는?", "종료", "more")
    assert shown == "네, 안녕하세요.\n서울이에요.\n"
    assert talker.seen() == ["u:안녕?|a:", "u:안녕?|a:네, 안녕하세요.|u:수도는?|a:"]
    assert left == ["more"]
    assert conversation.turns[-1] == Message("assistant", "서울이에요.")


@pytest.mark.parametrize("farewell", ["exit", "quit", "종료"])
def test_farewells(farewell):
    assert hold(Talker([]), farewell, "more")[2] == ["more"]


def test_commands(tmp_path):
    talker = Talker(["하나", "둘", "셋"])
    file = tmp_path / "kept" / "chat.jsonl"
    lines = ["a", "/system 짧게", "b", f"/save {file}", "/reset", "c", "/save", "/jump", "/help"]
    _, shown, _ = hold(talker, *lines)
    assert talker.seen() == ["u:a|a:", "s:짧게|u:b|a:", "s:짧게|u:c|a:"]
    said = [("system", "짧게"), ("user", "b"), ("assistant", "둘")]
    messages = [{"role": role, "content": content} for role, content in said]
    assert json.loads(file.read_text(encoding="utf-8")) == {"messages": messages}
    assert "[unknown: /save; /help lists the commands]" in shown
    assert "[unknown: /jump; /help lists the commands]" in shown
    assert "/system TEXT" in shown


def test_the_oldest_turns_are_left_out_whole_and_that_is_said():
    talker = Talker(["x" * 20, "y" * 20, "z" * 20], context=64 + 60)
    conversation, shown, _ = hold(talker, "a" * 9, "b" * 9, "c" * 9, system="s")
    assert talker.seen()[-1] == f"s:s|u:{'b' * 9}|a:{'y' * 20}|u:{'c' * 9}|a:"
    assert shown.count("[the context is full: the oldest 2 messages are left out]\n") == 1
    assert len(conversation.turns) == 6  # kept for /save


def test_a_message_that_is_too_long_is_refused_and_the_chat_goes_on():
    talker = Talker(["네"], context=64 + 30)
    _, shown, _ = hold(talker, "a" * 50, "b")
    first, second = shown.splitlines()
    assert first.startswith("[the last exchange alone take")
    assert second == "네"


def test_an_interrupt_ends_the_answer_and_not_the_chat():
    talker = Talker(["하나 둘", "셋"])
    talker.stack.interrupts = True
    conversation, shown, _ = hold(talker, "a", "b")
    assert shown.endswith(" [stopped]\n셋\n")
    assert conversation.turns[1].content == "하나 "  # the syllable that was begun is no text
    assert talker.seen()[-1].startswith("u:a|a:하나")


def test_an_empty_answer_is_forgotten_with_its_question():
    talker = Talker(["", "셋"])
    conversation, shown, _ = hold(talker, "a", "b")
    assert shown == "\n셋\n"
    assert talker.seen()[-1] == "u:b|a:"
    assert len(conversation.turns) == 2
