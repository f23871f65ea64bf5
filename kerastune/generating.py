"""Answering many prompts with a run or a model; killed at any point, it goes on where it was."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerastune.atomic import write_text
from kerastune.decoding import GenerationSpec, answers
from kerastune.errors import OutputError
from kerastune.json_files import json_hash
from kerastune.memory import explained_memory_errors
from kerastune.partial_lines import open_partial_lines
from kerastune.progress import progress
from kerastune.prompts import Prompt
from kerastune.speaker import Speaker


@dataclass(frozen=True)
class Generated:
    """A file of answers.

    Args:
        path: The file.
        rows: How many answers.
        stopped: How many of them a stop token ended.
    """

    path: Path
    rows: int
    stopped: int


def generate(
    speaker: Speaker,
    prompts: Sequence[Prompt],
    spec: GenerationSpec,
    *,
    batch_size: int = 8,
    show: bool = True,
) -> list[dict[str, Any]]:
    """Answer prompts, in their order.

    Args:
        speaker: The run or the model.
        prompts: The prompts.
        spec: How to write; from `Speaker.spec`.
        batch_size: Prompts of a batch; those of like length are put together.
        show: Whether to show progress.

    Returns:
        A row a prompt: `id`, `prompt`, `answer`, `tokens` (how many were written) and `stopped` (whether a
        stop token ended the answer).

    Raises:
        EncodingError: A prompt and its answer are longer than the model's context.
    """
    work = _Work(speaker, prompts, spec, batch_size)
    rows: list[dict[str, Any]] = []
    with progress("generating", len(prompts), show=show) as advance:
        for batch in work.batches:
            rows += work.answer(batch)
            advance(len(batch))
    return work.in_order(rows)


def generate_file(
    speaker: Speaker,
    prompts: Sequence[Prompt],
    spec: GenerationSpec,
    out: Path,
    *,
    batch_size: int = 8,
    restart: bool = False,
    show: bool = True,
    on_resume: Callable[[int, int], None] | None = None,
) -> Generated:
    """Answer prompts into a file of JSON Lines; see `generate`.

    A batch's answers are on disk before the next is begun. Started again after a kill with the same command,
    it goes on after the last batch, to the same bytes.

    Args:
        speaker: The run or the model.
        prompts: The prompts.
        spec: How to write.
        out: The file; what is there is replaced at the end.
        batch_size: Prompts of a batch.
        restart: Whether to start anew, whatever is there of an earlier try.
        show: Whether to show progress.
        on_resume: Called with the answers that are there already and all, where there are some.

    Raises:
        ConfigError: Unfinished answers are there of other prompts, another model or other options.
        EncodingError: A prompt and its answer are longer than the model's context.
        OutputError: The file cannot be written; what was written before is kept.
    """
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; expected the name of a file, such as {out / 'answers.jsonl'}")
    work = _Work(speaker, prompts, spec, batch_size)
    sizes = [len(batch) for batch in work.batches]
    partial_file = out.with_name(f"{out.name}.partial")
    with open_partial_lines(partial_file, work.identity(), sizes, restart=restart) as partial:
        if partial.rows and on_resume is not None:
            on_resume(len(partial.rows), len(prompts))
        with progress("generating", len(prompts), start=len(partial.rows), show=show) as advance:
            for batch in work.batches[partial.batches_done :]:
                partial.append(work.answer(batch))
                advance(len(batch))
        rows = work.in_order(partial.rows)
        write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return Generated(out, len(rows), sum(row["stopped"] for row in rows))


class _Work:
    """Prompts, encoded and put into batches of like lengths."""

    def __init__(
        self, speaker: Speaker, prompts: Sequence[Prompt], spec: GenerationSpec, batch_size: int
    ) -> None:
        self._speaker, self._prompts, self._spec = speaker, prompts, spec
        self._ids = [
            speaker.prompt_ids(prompt.content, spec.max_new_tokens, prompt.where) for prompt in prompts
        ]
        order = np.argsort([len(ids) for ids in self._ids], kind="stable").tolist()
        self.batches = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
        self._batch_size = batch_size

    def answer(self, batch: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of a batch, each with its place."""
        prompts = [self._ids[place] for place in batch]
        longest = max(map(len, prompts)) + self._spec.max_new_tokens
        stack = self._speaker.stack
        with explained_memory_errors(len(batch), longest, "--batch-size"):
            written = answers(stack, prompts, self._spec, names=batch)
        return [
            {
                "place": place,
                "id": self._prompts[place].id,
                "prompt": self._prompts[place].shown,
                "answer": self._speaker.tokenizer.decode(one.token_ids),
                "tokens": len(one.token_ids),
                "stopped": one.stopped,
            }
            for place, one in zip(batch, written, strict=True)
        ]

    def in_order(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows in the prompts' order, without their places."""
        ordered = sorted(rows, key=lambda row: row["place"])
        return [{name: value for name, value in row.items() if name != "place"} for row in ordered]

    def identity(self) -> dict[str, str]:
        """What decides the answers."""
        named = [[prompt.id, prompt.shown, ids] for prompt, ids in zip(self._prompts, self._ids, strict=True)]
        options = {**asdict(self._spec), **asdict(self._speaker.config.model), "batch": self._batch_size}
        return {"prompts": json_hash(named), "options": json_hash(options), **self._speaker.provenance}
