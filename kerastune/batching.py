"""Batching: encoded examples -> numpy arrays in a seeded order, in at most three lengths, none dropped."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kerastune.batch_shapes import batch_rows, padded_lengths
from kerastune.encoding import Encoded
from kerastune.errors import EncodingError
from kerastune.preference.loss import PreferenceLoss

#: How many groups' examples are sorted together, at most.
_SORTED_GROUPS = 16


class Example(Protocol):
    """What is ordered and padded: an encoded text, or a pair of them."""

    @property
    def example_id(self) -> str:
        """The row's id."""

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The prompt."""

    @property
    def completion_ids(self) -> tuple[int, ...]:
        """What is behind the prompt; empty where nothing is trained."""

    @property
    def trained(self) -> Sequence[int]:
        """The places of the trained tokens; of a pair's side that has the most."""

    def __len__(self) -> int:
        """Return the number of tokens; of a pair's longer side."""


ExampleT = TypeVar("ExampleT", bound=Example)


@dataclass(frozen=True)
class Batch:
    """Arrays of one forward pass; rows past the examples are padding of zero weight.

    Args:
        token_ids: `[B, L] int32`, padded on the right.
        padding_mask: `[B, L] bool`, True at tokens.
        answer_positions: `[B, K] int32`, the positions whose output predicts an answer token.
        answer_ids: `[B, K] int32`, the tokens predicted there.
        answer_weights: `[B, K] float32`, 1 at answer tokens and 0 at padding.
        example_ids: The ids of the real rows, at most B of them.
        choices: The tokens that an answer token is one of; the loss is over these alone. Empty for the
            whole vocabulary.
        preference: The loss of pairs, where the first half of the rows are chosen answers and the second
            the rejected ones of the same prompts; None where each row has a loss of its own.
        reference: `[B] float32`, of pairs: each answer's log-probability under the frozen reference.
    """

    token_ids: NDArray[np.int32]
    padding_mask: NDArray[np.bool_]
    answer_positions: NDArray[np.int32]
    answer_ids: NDArray[np.int32]
    answer_weights: NDArray[np.float32]
    example_ids: tuple[str, ...]
    choices: tuple[int, ...] = ()
    preference: PreferenceLoss | None = None
    reference: NDArray[np.float32] | None = None

    @property
    def weight(self) -> float:
        """What the losses' sum is divided by: the sum of the answer weights, or how many pairs there are."""
        if self.preference is None:
            return float(self.answer_weights.sum())
        return float(self.answer_weights.any(axis=1).sum()) / 2


def training_steps(
    examples: Sequence[Example],
    *,
    batch_size: int,
    accumulate: int = 1,
    pad_id: int,
    lengths: Sequence[int],
    whole_text: bool = False,
    seed: int,
    lay_out: Callable[..., Batch] | None = None,
) -> Iterator[tuple[Batch, ...]]:
    """Yield one epoch's optimizer steps, each of `accumulate` batches of one shape.

    Which examples share a step depends on the seed, the lengths and the product of `batch_size` and
    `accumulate` alone, so that 1 x 8 accumulated is the same step as 8 x 1.

    Args:
        examples: Labelled examples.
        batch_size: Rows of a batch.
        accumulate: Batches of an optimizer step.
        pad_id: The token put at padding.
        lengths: Ascending padded lengths, from `bucket_lengths`.
        whole_text: Whether every token after the first is trained, and not the completions alone.
        seed: Decides the order; give each epoch its own.
        lay_out: Makes a batch of rows; None is `make_batch`, whose arguments it takes.

    Raises:
        EncodingError: An example has no trained token, or is longer than the last of the lengths.
    """
    for example in examples:
        if not example.prompt_ids or not example.completion_ids:
            raise EncodingError(
                f"row {example.example_id!r} has no trained token; train on rows with a text and a label"
            )
    make: Callable[..., Batch] = make_batch if lay_out is None else lay_out
    answers = _most_answers(examples, lengths)
    for rows in _grouped(examples, batch_size * accumulate, lengths, seed):
        length = int(padded_lengths([len(example) for example in rows], lengths).max())
        yield tuple(
            make(
                rows[start : start + batch_size],
                rows=batch_size,
                length=length,
                pad_id=pad_id,
                answers=length - 1 if whole_text else answers[length],
                whole_text=whole_text,
            )
            for start in range(0, batch_size * accumulate, batch_size)
        )


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch's order, counted from 0."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0])


def scoring_batches(
    examples: Sequence[Encoded],
    *,
    batch_size: int,
    pad_id: int,
    lengths: Sequence[int],
    rows: Mapping[int, int] | None = None,
) -> Iterator[tuple[NDArray[np.intp], Batch]]:
    """Yield batches from the shortest examples to the longest, with the indices of their rows.

    Examples keep their answers where they have some; a prompt alone has no answer position.

    Args:
        examples: The examples.
        batch_size: The most rows of a batch.
        pad_id: The token put at padding.
        lengths: The padded lengths.
        rows: Padded length -> rows of its batches; None chooses them by `batch_rows` for these examples.

    Raises:
        EncodingError: An example is longer than the last of the lengths.
    """
    own_lengths = [len(example) for example in examples]
    if rows is None:
        rows = batch_rows(own_lengths, lengths, batch_size)
    buckets = padded_lengths(own_lengths, lengths)
    order = np.argsort(own_lengths, kind="stable")
    answers = _most_answers(examples, lengths)
    for high in lengths:
        inside = order[buckets[order] == high]
        for first in range(0, len(inside), rows[high]):
            indices = inside[first : first + rows[high]]
            batch = make_batch(
                [examples[index] for index in indices],
                rows=rows[high],
                length=high,
                pad_id=pad_id,
                answers=answers[high],
            )
            yield indices, batch


def make_batch(
    examples: Sequence[Encoded],
    *,
    rows: int,
    length: int,
    pad_id: int,
    answers: int,
    whole_text: bool = False,
) -> Batch:
    """Lay examples out as arrays of `rows` rows, `length` tokens and `answers` answer positions."""
    token_ids = np.full((rows, length), pad_id, np.int32)
    padding_mask = np.zeros((rows, length), np.bool_)
    positions = np.zeros((rows, answers), np.int32)
    answer_ids = np.zeros((rows, answers), np.int32)
    weights = np.zeros((rows, answers), np.float32)
    # A row of nothing but padding would have no key to attend to; one visible token keeps it finite.
    padding_mask[len(examples) :, 0] = True
    for row, example in enumerate(examples):
        ids = np.asarray(example.ids, np.int32)
        token_ids[row, : len(ids)] = ids
        padding_mask[row, : len(ids)] = True
        if example.completion_ids:
            trained = np.arange(1, len(ids)) if whole_text else np.asarray(example.trained)
            positions[row, : len(trained)] = trained - 1
            answer_ids[row, : len(trained)] = ids[trained]
            weights[row, : len(trained)] = 1.0
    return Batch(
        token_ids=token_ids,
        padding_mask=padding_mask,
        answer_positions=positions,
        answer_ids=answer_ids,
        answer_weights=weights,
        example_ids=tuple(example.example_id for example in examples),
    )


def _most_answers(examples: Sequence[Example], lengths: Sequence[int]) -> dict[int, int]:
    """The most trained tokens of a text that fits into each padded length."""
    trained = [(len(example), len(example.trained)) for example in examples]
    return {
        high: max((tokens for length, tokens in trained if length <= high), default=0) for high in lengths
    }


def _grouped(
    examples: Sequence[ExampleT], size: int, lengths: Sequence[int], seed: int
) -> list[list[ExampleT]]:
    """Shuffle, collect examples of one bucket, and cut them, sorted by length, into groups of `size`.

    What pads to a batch's longest row, and not to the bucket, has little to pad then. Few examples are
    collected a group at a time, or each epoch would put the same ones together.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    waiting: dict[int, list[ExampleT]] = {length: [] for length in lengths}
    collected = size * min(_SORTED_GROUPS, max(1, len(examples) // (4 * len(lengths) * size)))
    groups: list[list[ExampleT]] = []
    padded = padded_lengths([len(example) for example in examples], lengths)
    for index in generator.permutation(len(examples)):
        bucket = waiting[padded[index]]
        bucket.append(examples[index])
        if len(bucket) == collected:
            groups += _cut(sorted(bucket, key=len), size)
            bucket.clear()
    groups += _cut([example for bucket in waiting.values() for example in sorted(bucket, key=len)], size)
    # The left-over groups would always come last otherwise, the longest texts at the very end.
    return [groups[index] for index in generator.permutation(len(groups))]


def _cut(examples: list[ExampleT], size: int) -> Iterator[list[ExampleT]]:
    return (examples[start : start + size] for start in range(0, len(examples), size))
