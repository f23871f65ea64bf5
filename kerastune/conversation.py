"""A conversation with a model: its turns, its commands, and what of it the model still sees."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from kerastune.atomic import write_text
from kerastune.chat import ChatEncoder, Dialogue, Message
from kerastune.decoding import GenerationSpec, decode
from kerastune.errors import KerastuneError
from kerastune.speaker import Speaker
from kerastune.text_stream import stream_text

#: What ends a conversation.
FAREWELLS = ("exit", "quit", "종료")

HELP = """\
/reset         forget the conversation
/system TEXT   forget it, and give the model this instruction; without TEXT, none
/save FILE     write the conversation as a line of JSON that training takes
/help          this
exit, quit, 종료, or Ctrl-D end; Ctrl-C stops an answer"""


@dataclass
class Conversation:
    """Turns of a user and a model.

    Args:
        speaker: The model; its encoder takes dialogues.
        spec: How answers are written.
        system: The system message, if any.
        turns: What was said so far, user and assistant in turn.
        left_out: How many of the oldest messages the model did not see at the last answer.
    """

    speaker: Speaker
    spec: GenerationSpec
    system: str | None = None
    turns: tuple[Message, ...] = field(default=(), init=False)
    left_out: int = field(default=0, init=False)

    def ask(self, text: str) -> Iterator[str]:
        """Say something, and yield the answer in whole characters while it is written.

        An answer that is broken off stays as far as it came; an empty one is forgotten with its question.

        Raises:
            EncodingError: The system message and this one alone are longer than the model's context.
            TemplateError: The template refuses the messages.
        """
        asked = (*self.turns, Message("user", text))
        prompt = self._prompt(asked)
        written: list[int] = []
        spec = replace(self.spec, seed=self.spec.seed + len(asked) // 2)
        try:
            yield from stream_text(self.speaker.tokenizer, self._tokens(prompt, spec, written))
        finally:
            answer = self.speaker.tokenizer.decode(written)
            if answer.strip():
                self.turns = (*asked, Message("assistant", answer))

    def _tokens(self, prompt: tuple[int, ...], spec: GenerationSpec, written: list[int]) -> Iterator[int]:
        for _, token in decode(self.speaker.stack, [prompt], spec):
            if token in spec.stop_ids:
                return
            written.append(token)
            yield token

    def _prompt(self, turns: tuple[Message, ...]) -> tuple[int, ...]:
        """The ids of as many of the newest turns as the context has room for."""
        encoder, room = self.speaker.encoder, self.spec.max_new_tokens
        system = () if self.system is None else (Message("system", self.system),)
        dialogue = Dialogue((*system, *turns))
        if isinstance(encoder, ChatEncoder):
            kept = encoder.fit(dialogue, room=self.speaker.context - room)
        else:  # a plain template says one exchange
            kept = Dialogue((*system, turns[-1]))
        self.left_out = len(dialogue.messages) - len(kept.messages)
        return self.speaker.prompt_ids(kept, room, "this message")

    def reset(self, system: str | None = None) -> None:
        """Forget what was said, and begin with this system message or none."""
        self.turns, self.left_out, self.system = (), 0, system

    def save(self, path: Path) -> None:
        """Write the conversation as a row of messages.

        Raises:
            OutputError: The file cannot be written.
        """
        system = () if self.system is None else (Message("system", self.system),)
        said = [{"role": one.role, "content": one.content} for one in (*system, *self.turns)]
        write_text(path, json.dumps({"messages": said}, ensure_ascii=False) + "\n")


def converse(
    conversation: Conversation, lines: Callable[[], str | None], write: Callable[[str], None]
) -> None:
    """Hold a conversation until the user ends it.

    Args:
        conversation: The conversation.
        lines: Returns the user's next line, None at the end of the input.
        write: Shows text; called with parts of lines.
    """
    shown_left_out = 0
    while (line := lines()) is not None:
        line = line.strip()
        if not line:
            continue
        if line in FAREWELLS:
            return
        try:
            if line.startswith("/"):
                _obey(conversation, line, write)
                shown_left_out = 0 if not conversation.turns else shown_left_out
                continue
            for piece in conversation.ask(line):
                if conversation.left_out > shown_left_out:
                    shown_left_out = conversation.left_out
                    write(f"[the context is full: the oldest {shown_left_out} messages are left out]\n")
                write(piece)
            write("\n")
        except KeyboardInterrupt:
            write(" [stopped]\n")
        except KerastuneError as error:
            write(f"[{error}]\n")


def _obey(conversation: Conversation, line: str, write: Callable[[str], None]) -> None:
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    if command == "/reset":
        conversation.reset(conversation.system)
        write("[forgotten]\n")
    elif command == "/system":
        conversation.reset(rest or None)
        write("[forgotten; the instruction is set]\n" if rest else "[forgotten; no instruction]\n")
    elif command == "/save" and rest:
        conversation.save(Path(rest).expanduser())
        write(f"[saved to {rest}]\n")
    elif command == "/help":
        write(HELP + "\n")
    else:
        write(f"[unknown: {line}; /help lists the commands]\n")
