"""Scoring: log-probabilities of the labels, from one forward pass a batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastune.atomic import write_text
from kerastune.batching import Batch, bucket_lengths, scoring_batches
from kerastune.encoding import Encoded, Encoder, Encodings
from kerastune.memory import explained_memory_errors
from kerastune.progress import Advance, progress
from kerastune.stack import GenerationSpec, Stack
from kerastune.task import Label

INVALID = -1


@dataclass(frozen=True, eq=False)
class Scores:
    """The labels' scores, a row an example, in the dataset's order.

    Args:
        ids: The rows' ids.
        labels: The labels, in the order of the columns.
        log_probabilities: `[N, labels] float64`; each row's probabilities sum to 1 over the labels.
        generated: `[N] int64` where labels were read out of generated text: the label's index, or -1
            where the text was no label. None where labels were compared by likelihood.
    """

    ids: tuple[str, ...]
    labels: tuple[Label, ...]
    log_probabilities: NDArray[np.float64]
    generated: NDArray[np.int64] | None = None

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """`[N, labels]`."""
        return np.exp(self.log_probabilities)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """`[N]`, each row's label as an index; where generated text was no label, the likeliest one."""
        likeliest: NDArray[np.int64] = self.log_probabilities.argmax(axis=1)
        if self.generated is None:
            return likeliest
        return np.where(self.generated == INVALID, likeliest, self.generated)

    @property
    def predicted_labels(self) -> tuple[Label, ...]:
        """Each row's label."""
        return tuple(self.labels[index] for index in self.predicted)

    @property
    def invalid_rate(self) -> float | None:
        """How often generated text was no label; None where nothing was generated."""
        return None if self.generated is None else float(np.mean(self.generated == INVALID))

    def save(self, path: Path) -> None:
        """Write a TSV: id, and a log-probability a label.

        Raises:
            OutputError: The file cannot be written.
        """
        header = "\t".join(["id", *(f"log_probability_{label}" for label in self.labels)])
        lines = (
            "\t".join([name, *(repr(float(value)) for value in row)])
            for name, row in zip(self.ids, self.log_probabilities, strict=True)
        )
        write_text(path, "\n".join([header, *lines]) + "\n")


def label_log_probabilities(
    stack: Stack, encodings: Encodings, *, pad_id: int, batch_size: int = 32, show: bool = True
) -> NDArray[np.float64]:
    """Score every label of every example.

    Where the labels' first tokens differ, one forward pass of the prompt scores them all by those tokens,
    with only their rows of the head. Otherwise each label's whole sequence is scored.

    Args:
        stack: The model.
        encodings: The examples; answers that they have are not looked at.
        pad_id: The token put at padding.
        batch_size: Rows of a forward pass.
        show: Whether to show a progress bar.

    Returns:
        `[N, labels]` log-probabilities that sum to 1 over the labels.
    """
    prompts = [
        Encoded(example_id=example.example_id, prompt_ids=example.prompt_ids, completion_ids=())
        for example in encodings.examples
    ]
    first_tokens = [ids[0] for ids in encodings.label_ids]
    scores = np.zeros((len(prompts), len(first_tokens)))
    one_pass = len(set(first_tokens)) == len(first_tokens)
    passes = len(prompts) * (1 if one_pass else len(first_tokens))
    longest = max(map(len, prompts))
    with (
        progress("scoring", passes, show=show) as advance,
        explained_memory_errors(batch_size, longest, "score_batch_size"),
    ):
        if one_pass:
            for indices, batch in _batches(prompts, batch_size, pad_id, advance):
                scores[indices] = stack.label_logits(batch, first_tokens)[: len(indices)]
        else:
            for label, answer in enumerate(encodings.label_ids):
                wholes = [Encoded(prompt.example_id, prompt.prompt_ids, answer) for prompt in prompts]
                for indices, batch in _batches(wholes, batch_size, pad_id, advance):
                    scores[indices, label] = -stack.token_losses(batch)[: len(indices)].sum(axis=1)
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


def generate_labels(
    stack: Stack, encodings: Encodings, encoder: Encoder, *, batch_size: int = 32, show: bool = True
) -> NDArray[np.int64]:
    """Read each row's label out of greedily generated text.

    Args:
        stack: The model.
        encodings: The examples.
        encoder: What encoded them.
        batch_size: Rows generated at a time.
        show: Whether to show a progress bar.

    Returns:
        `[N]`: the index of the label whose word the text begins with, or -1 where it is no label.
    """
    tokenizer, words = encoder.tokenizer, encoder.task.words(encoder.verbalizer)
    spec = GenerationSpec(
        max_new_tokens=max(map(len, encodings.label_ids)) + 1,
        stop_ids=tuple(tokenizer.end_ids),
        pad_id=tokenizer.pad_id,
    )
    order = np.argsort([len(example.prompt_ids) for example in encodings.examples], kind="stable")
    labels = np.full(len(order), INVALID, np.int64)
    longest = max(len(example.prompt_ids) for example in encodings.examples) + spec.max_new_tokens
    with (
        progress("generating", len(order), show=show) as advance,
        explained_memory_errors(batch_size, longest, "score_batch_size"),
    ):
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            answers = stack.generate([encodings.examples[index].prompt_ids for index in indices], spec)
            for index, answer in zip(indices, answers, strict=True):
                labels[index] = parse_label(tokenizer.decode(answer), words)
            advance(len(indices))
    return labels


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


def _batches(
    examples: Sequence[Encoded], batch_size: int, pad_id: int, advance: Advance
) -> Iterator[tuple[NDArray[np.intp], Batch]]:
    lengths = bucket_lengths([len(example) for example in examples])
    for indices, batch in scoring_batches(examples, batch_size=batch_size, pad_id=pad_id, lengths=lengths):
        yield indices, batch
        advance(len(indices))
