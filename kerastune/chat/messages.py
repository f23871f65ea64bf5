"""Messages and dialogues: roles that take turns, contents that are text, checked once where they come in."""

import re
import reprlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from kerastune.errors import DataError

Role = Literal["system", "user", "assistant"]

#: What other data sets call the roles.
ROLE_NAMES: Mapping[str, Role] = {
    **{role: role for role in get_args(Role)},
    "human": "user",
    "gpt": "assistant",
    "model": "assistant",
}

# A NUL ends strings in other programs, a lone surrogate cannot be written as UTF-8, and the last is a code
# point that is no character, by which the chat template tells contents from its own text.
NOT_TEXT = re.compile("[\0\ud800-\udfff\ufdd0]")


@dataclass(frozen=True)
class Message:
    """One turn of a dialogue.

    Args:
        role: `"system"`, `"user"` or `"assistant"`.
        content: The text, in NFC.
    """

    role: Role
    content: str


@dataclass(frozen=True)
class Dialogue:
    """Messages whose roles take turns: a system message or none, then user and assistant, the user first.

    Args:
        messages: The messages; the last is the user's where an answer is still to be written.

    Raises:
        DataError: There is no message of the user's, a role is out of its turn, or a content is no text.

    Example:
        >>> talk = Dialogue.of([{"role": "user", "content": "안녕"}, {"role": "assistant", "content": "네"}])
        >>> talk.answer, len(talk.before_answer.messages)
        ('네', 1)
    """

    messages: tuple[Message, ...]

    def __post_init__(self) -> None:
        """Check the roles' order and the contents."""
        start = 1 if self.messages and self.messages[0].role == "system" else 0
        if len(self.messages) == start:
            raise DataError(
                "expected a message of the user's"
                + (" after the system message" if start else "")
                + ", received none; write one, or drop the row"
            )
        for place, message in enumerate(self.messages):
            _check_content(place, message.content)
            expected = "user" if (place - start) % 2 == 0 else "assistant"
            if place >= start and message.role != expected:
                raise DataError(
                    f"message {place + 1}: expected the role {expected!r}, received {message.role!r}; "
                    "after a system message or none, user and assistant take turns, the user first"
                )

    @classmethod
    def of(cls, messages: Sequence[Mapping[str, Any]]) -> "Dialogue":
        """Make a dialogue of objects with `role` and `content`, and bring the contents into NFC.

        Raises:
            DataError: See the class; or a message is no such object, or its role is unknown.
        """
        return cls(tuple(_message(place, one) for place, one in enumerate(messages)))

    @property
    def system(self) -> Message | None:
        """The system message, if there is one."""
        return self.messages[0] if self.messages[0].role == "system" else None

    @property
    def answer(self) -> str | None:
        """What the assistant says last; None where the user has the last word."""
        last = self.messages[-1]
        return last.content if last.role == "assistant" else None

    @property
    def before_answer(self) -> "Dialogue":
        """The dialogue up to the user's last message: what the last answer answers."""
        return self if self.answer is None else Dialogue(self.messages[:-1])

    @property
    def characters(self) -> int:
        """How many characters the contents have in all."""
        return sum(len(message.content) for message in self.messages)

    def with_answer(self, content: str) -> "Dialogue":
        """Put an answer of the assistant's after the user's last message."""
        return Dialogue((*self.messages, Message("assistant", unicodedata.normalize("NFC", content))))

    def require_answer(self) -> None:
        """Refuse a dialogue that has nothing to train: the last word must be the assistant's.

        Raises:
            DataError: The assistant says nothing, or not the last word.
        """
        if not any(message.role == "assistant" for message in self.messages):
            raise DataError(
                "expected a message of the assistant's, received none; write one, or drop the row"
            )
        if self.answer is None:
            raise DataError(
                f"message {len(self.messages)}: expected the assistant to have the last word, received the "
                "role 'user'; write the answer, or take the message off"
            )

    def without_oldest_turn(self) -> "Dialogue | None":
        """Leave out the user's oldest message and its answer; None where only the last exchange is left."""
        start = 0 if self.system is None else 1
        if len(self.messages) - start <= 2:
            return None
        return Dialogue(self.messages[:start] + self.messages[start + 2 :])

    def with_system_in_first_turn(self) -> "Dialogue":
        """Put the system message in front of the user's first, a blank line between, as Gemma has it."""
        if self.system is None:
            return self
        first = self.messages[1]
        return Dialogue((Message("user", f"{self.system.content}\n\n{first.content}"), *self.messages[2:]))


def _message(place: int, message: Any) -> Message:
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        received = ", ".join(map(repr, message)) if isinstance(message, Mapping) else reprlib.repr(message)
        raise DataError(
            f"message {place + 1}: expected an object with the keys 'role' and 'content', "
            f"received {received or 'none'}"
        )
    role, content = message["role"], message["content"]
    if not isinstance(role, str) or role not in ROLE_NAMES:
        raise DataError(
            f"message {place + 1}: unknown role {role!r}; the roles are {', '.join(get_args(Role))}"
        )
    if not isinstance(content, str):
        raise DataError(
            f"message {place + 1}: expected text as content, received {reprlib.repr(content)} "
            f"({type(content).__name__})"
        )
    return Message(ROLE_NAMES[role], unicodedata.normalize("NFC", content))


def _check_content(place: int, content: str) -> None:
    if not content.strip():
        raise DataError(f"message {place + 1}: its content is empty; write a text, or drop the row")
    if (odd := NOT_TEXT.search(content)) is not None:
        raise DataError(
            f"message {place + 1}: character {odd.start() + 1} of its content is {odd[0]!a}, which is no "
            "text; take it out"
        )
