"""Scoring: log-probabilities of the labels, from one forward pass a batch."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastune.answering import answer_in_batches
from kerastune.atomic import write_text
from kerastune.batch_shapes import batch_rows, bucket_lengths
from kerastune.batching import Batch, scoring_batches
from kerastune.config import ScoreSpec
from kerastune.decoding import GenerationSpec
from kerastune.encoding import Encoded, Encoder, Encodings
from kerastune.memory import explained_memory_errors
from kerastune.prefix import pays, shared_prefix
from kerastune.progress import Advance, progress
from kerastune.stack import Prefix, Stack
from kerastune.task import Label

INVALID = -1

#: Rows that are scored and saved together. The last digits of a row's scores depend on which rows share its
#: batch, so the chunks' bounds are fixed: scoring that was killed and resumed gives the same numbers.
CHUNK = 2048
#: Tokens of a small model that two CPU cores score while they trace and compile another program.
_COMPILING = 2048


@dataclass(frozen=True, eq=False)
class Scores:
    """The labels' scores, a row an example, in the dataset's order.

    Args:
        ids: The rows' ids.
        labels: The labels, in the order of the columns.
        log_probabilities: `[N, labels] float64`; each row's probabilities sum to 1 over the labels.
        generated: `[N] int64` where labels were read out of generated text: the label's index, or -1
            where the text was no label. None where labels were compared by likelihood.
        decision_offsets: `[labels]`, added to the log-probabilities for the decision alone: a threshold that
            was tuned on validation rows (see `kerastune.calibration`). None decides for the likeliest label.
    """

    ids: tuple[str, ...]
    labels: tuple[Label, ...]
    log_probabilities: NDArray[np.float64]
    generated: NDArray[np.int64] | None = None
    decision_offsets: NDArray[np.float64] | None = None

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """`[N, labels] float64`, from 0 to 1."""
        return np.exp(self.log_probabilities)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """`[N]`, each row's label as an index; generated text decides where it was a label."""
        offsets = 0.0 if self.decision_offsets is None else self.decision_offsets
        decided: NDArray[np.int64] = (self.log_probabilities + offsets).argmax(axis=1)
        if self.generated is None:
            return decided
        return np.where(self.generated == INVALID, decided, self.generated)

    @property
    def predicted_labels(self) -> tuple[Label, ...]:
        """Each row's label."""
        return tuple(self.labels[index] for index in self.predicted)

    @property
    def invalid_rate(self) -> float | None:
        """The share of rows, 0 to 1, whose generated text was no label; None where nothing was generated."""
        return None if self.generated is None else float(np.mean(self.generated == INVALID))

    def save(self, path: Path) -> None:
        """Write a TSV: id, and one natural log-probability for each label.

        Raises:
            OutputError: The file cannot be written.
        """
        header = "\t".join(["id", *score_columns(self.labels)])
        lines = (
            "\t".join([name, *(repr(float(value)) for value in row)])
            for name, row in zip(self.ids, self.log_probabilities, strict=True)
        )
        write_text(path, "\n".join([header, *lines]) + "\n")


def score_columns(labels: Sequence[Label]) -> list[str]:
    """The names of the columns with log-probabilities in a scores file."""
    return [f"log_probability_{label}" for label in labels]


def join_scores(chunks: Sequence[Scores]) -> Scores:
    """Concatenate the scores of consecutive chunks of rows."""
    first = chunks[0]
    generated = [chunk.generated for chunk in chunks if chunk.generated is not None]
    return Scores(
        ids=tuple(name for chunk in chunks for name in chunk.ids),
        labels=first.labels,
        log_probabilities=np.concatenate([chunk.log_probabilities for chunk in chunks]),
        generated=np.concatenate(generated) if generated else None,
    )


def score_chunks(
    stack: Stack,
    encodings: Encodings,
    encoder: Encoder,
    spec: ScoreSpec,
    *,
    start: int = 0,
    show: bool = True,
) -> Generator[Scores, None, None]:
    """Score rows in their order, `CHUNK` of them at a time.

    A chunk's scores depend only on the rows and the options, not on the row at which scoring started.

    Args:
        stack: The model.
        encodings: All rows.
        encoder: What encoded them.
        spec: How to score.
        start: The first row that is scored, a multiple of `CHUNK`; the progress bar begins there.
        show: Whether to show a progress bar.

    Yields:
        The scores of each chunk.

    Raises:
        ModelError: Memory ran out; the message says what to lower.
    """
    rows, generates = len(encodings.examples), spec.mode == "generate"
    passes = (1 if _one_pass(encodings) else len(encodings.label_ids)) + generates
    with progress("scoring", rows * passes, start=start * passes, show=show) as advance:
        for first in range(start, rows, CHUNK):
            chunk = range(first, min(first + CHUNK, rows))
            log_probabilities = label_log_probabilities(
                stack,
                encodings,
                pad_id=encoder.tokenizer.pad_id,
                batch_size=spec.score_batch_size,
                rows=chunk,
                advance=advance,
            )
            generated = None
            if generates:
                generated = generate_labels(
                    stack, encodings, encoder, batch_size=spec.score_batch_size, rows=chunk, advance=advance
                )
            yield Scores(
                ids=tuple(encodings.examples[row].example_id for row in chunk),
                labels=encoder.task.labels,
                log_probabilities=log_probabilities,
                generated=generated,
            )


def label_log_probabilities(
    stack: Stack,
    encodings: Encodings,
    *,
    pad_id: int,
    batch_size: int = 32,
    rows: range | None = None,
    show: bool = True,
    advance: Advance | None = None,
    reuse_prefix: bool = True,
) -> NDArray[np.float64]:
    """Score every label of every example.

    Where the labels' first tokens differ, one forward pass of the prompt scores all labels by those tokens,
    and only their rows of the language-model head are computed. Otherwise each label's whole token sequence
    is scored, in a pass of its own. A prefix that all prompts share is computed once where that saves time;
    see `kerastune.prefix`.

    Args:
        stack: The model.
        encodings: The examples; their answers are ignored.
        pad_id: The token put at padding.
        batch_size: Rows of a forward pass.
        rows: The consecutive examples that are scored, all when None. Padded lengths and the shared prefix
            are chosen from all examples, whichever are scored.
        show: Whether to show a progress bar.
        advance: Moves a bar that is already there, in place of one of its own.
        reuse_prefix: Whether a shared prefix may be computed once.

    Returns:
        `[N, labels]`, the natural log-probabilities of the examples of `rows`, normalised over the labels.

    Raises:
        ModelError: Memory ran out; the message says to lower `score_batch_size`.
    """
    examples = _of(encodings, rows)
    first_tokens = [ids[0] for ids in encodings.label_ids]
    scores = np.zeros((len(examples), len(first_tokens)))
    whole_lengths = [len(example.prompt_ids) for example in encodings.examples]
    passes = len(examples) * (1 if _one_pass(encodings) else len(first_tokens))
    with (
        progress("scoring", passes, show=show, bar=advance) as advance,
        explained_memory_errors(batch_size, max(whole_lengths), "score_batch_size"),
    ):
        prefix = _prefix(stack, encodings) if reuse_prefix else None
        start = 0 if prefix is None else prefix.length
        prompts = [Encoded(example.example_id, example.prompt_ids[start:], ()) for example in examples]
        all_lengths = [length - start for length in whole_lengths]
        if _one_pass(encodings):
            for indices, batch in _batches(prompts, all_lengths, batch_size, pad_id, advance):
                scores[indices] = stack.label_logits(batch, first_tokens, prefix)[: len(indices)]
        else:
            for label, answer in enumerate(encodings.label_ids):
                wholes = [Encoded(prompt.example_id, prompt.prompt_ids, answer) for prompt in prompts]
                lengths = [length + len(answer) for length in all_lengths]
                for indices, batch in _batches(wholes, lengths, batch_size, pad_id, advance):
                    scores[indices, label] = -stack.token_losses(batch, prefix)[: len(indices)].sum(axis=1)
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


def generate_labels(
    stack: Stack,
    encodings: Encodings,
    encoder: Encoder,
    *,
    batch_size: int = 32,
    rows: range | None = None,
    show: bool = True,
    advance: Advance | None = None,
) -> NDArray[np.int64]:
    """Read each row's label out of greedily generated text.

    Args:
        stack: The model.
        encodings: The examples.
        encoder: What encoded them.
        batch_size: Rows generated at a time.
        rows: The consecutive examples whose labels are generated, all when None.
        show: Whether to show a progress bar.
        advance: Moves a bar that is already there, in place of one of its own.

    Returns:
        `[N]`: the index of the label whose word the text begins with, or -1 where it is no label.
    """
    tokenizer, words = encoder.tokenizer, encoder.task.words(encoder.verbalizer)
    spec = GenerationSpec(
        max_new_tokens=max(map(len, encodings.label_ids)) + 1,
        stop_ids=tuple(tokenizer.end_ids),
        pad_id=tokenizer.pad_id,
    )
    prompts = [example.prompt_ids for example in _of(encodings, rows)]
    written = answer_in_batches(stack, prompts, spec, batch_size=batch_size, show=show, advance=advance)
    return np.array([parse_label(tokenizer.decode(answer.token_ids), words) for answer in written], np.int64)


def parse_label(text: str, words: Sequence[str]) -> int:
    """Find the label that generated text says.

    Args:
        text: The text.
        words: The labels' words.

    Returns:
        The index of the longest word that the text begins with, or -1.

    Example:
        >>> parse_label(" 최고다", ("별로", "최고")), parse_label("모르겠다", ("별로", "최고"))
        (1, -1)
    """
    matches = [index for index, word in enumerate(words) if text.strip().startswith(word)]
    return max(matches, key=lambda index: len(words[index]), default=INVALID)


def _one_pass(encodings: Encodings) -> bool:
    """Whether the labels differ in their first tokens, so that those tell them apart."""
    return len({ids[0] for ids in encodings.label_ids}) == len(encodings.label_ids)


def _prefix(stack: Stack, encodings: Encodings) -> Prefix | None:
    """Compute what the prompts share, of all rows whichever are scored; None where that does not pay."""
    shared = shared_prefix([example.prompt_ids for example in encodings.examples])
    return stack.prefill(shared) if pays(len(shared), len(encodings.examples)) else None


def _of(encodings: Encodings, rows: range | None) -> Sequence[Encoded]:
    return encodings.examples if rows is None else encodings.examples[rows.start : rows.stop]


def _batches(
    examples: Sequence[Encoded], all_lengths: Sequence[int], batch_size: int, pad_id: int, advance: Advance
) -> Iterator[tuple[NDArray[np.intp], Batch]]:
    lengths = bucket_lengths(all_lengths, compiling=_COMPILING)
    rows = batch_rows(all_lengths, lengths, batch_size, parts=-(-len(all_lengths) // CHUNK))
    for indices, batch in scoring_batches(
        examples, batch_size=batch_size, pad_id=pad_id, lengths=lengths, rows=rows
    ):
        yield indices, batch
        advance(len(indices))
