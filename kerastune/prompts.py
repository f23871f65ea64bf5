"""Prompts to be answered: from words, a file of lines, JSON Lines, or the columns of a run's own task."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from kerastune.chat import Dialogue
from kerastune.dataset.decoding import decode
from kerastune.dataset.reading import load_bytes
from kerastune.dataset.text_formats import json_object, numbered_lines
from kerastune.errors import ConfigError, DataError
from kerastune.text_task import TextTask

_LINES, _JSON_LINES = (".txt",), (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Args:
        id: Its name in the output.
        content: The text, or the dialogue in which the user has the last word.
        where: How messages name its place.
    """

    id: str
    content: str | Dialogue
    where: str

    @property
    def shown(self) -> Any:
        """The prompt as JSON holds it: a text, or a list of messages."""
        if isinstance(self.content, str):
            return self.content
        return [{"role": message.role, "content": message.content} for message in self.content.messages]


def prompts_of(texts: Sequence[str]) -> list[Prompt]:
    """Make prompts of texts, named `"1"` to `"N"`.

    Raises:
        DataError: A text is empty.
    """
    return _of_lines(enumerate(texts, start=1), "prompt")


def read_prompts(source: Path | TextIO, task: TextTask | None = None) -> list[Prompt]:
    """Read prompts.

    Args:
        source: A `.txt` file or a stream, a prompt a line; or a `.jsonl` file of objects with `prompt` or
            `messages`, or with the columns of the run's task. The objects may have an `id`.
        task: The run's task, where its answers are texts.

    Raises:
        DataError: The file cannot be read, or a line is no prompt: the message names file and line.
    """
    if not isinstance(source, Path):
        name = getattr(source, "name", "the input").strip("<>")
        try:
            text = source.read()
        except UnicodeDecodeError as error:
            raise DataError(f"{name}: expected UTF-8, received {error.reason}; convert it") from error
        return _some(_of_lines(numbered_lines(text), f"{name}, line"), name)
    suffix = source.suffix.lower()
    if suffix not in (*_LINES, *_JSON_LINES):
        raise ConfigError(
            f"{source}: expected a file of .txt or .jsonl, received {suffix or 'no extension'!r}"
        )
    text, _ = decode(load_bytes(source), str(source))
    lines = numbered_lines(text)
    if suffix in _LINES:
        return _some(_of_lines(lines, f"{source}, line"), str(source))
    found: dict[str, Prompt] = {}
    for number, line in lines:
        where = f"{source}, line {number}"
        row = json_object(line, where)
        name = str(row.get("id", number))
        if name in found:
            raise DataError(f"{where}: the id {name!r} is already that of another row; ids must differ")
        found[name] = Prompt(name, _content(row, where, task), where)
    return _some(list(found.values()), str(source))


def _of_lines(lines: Iterable[tuple[int, str]], where: str) -> list[Prompt]:
    prompts = []
    for number, line in lines:
        if not line.strip():
            raise DataError(f"{where} {number}: empty; write a prompt, or delete it")
        prompts.append(Prompt(str(number), line, f"{where} {number}"))
    return prompts


def _content(row: dict[str, Any], where: str, task: TextTask | None) -> str | Dialogue:
    try:
        if "messages" in row:
            if not isinstance(row["messages"], list):
                raise DataError(f"'messages': expected a list, received {type(row['messages']).__name__}")
            dialogue = Dialogue.of(row["messages"])
            # Rows of a data set to train on end with the answer, which is the model's to write here.
            return dialogue if dialogue.answer is None else dialogue.before_answer
        if isinstance(prompt := row.get("prompt"), str) and prompt.strip():
            return prompt
        if task is not None and "prompt" not in row:
            return task.prompt(row)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    received = json.dumps(row, ensure_ascii=False)[:80]
    raise DataError(f"{where}: expected 'prompt' with a text or 'messages' with a list, received {received}")


def _some(prompts: list[Prompt], name: str) -> list[Prompt]:
    if not prompts:
        raise DataError(f"{name}: expected one prompt at least, received none")
    return prompts
