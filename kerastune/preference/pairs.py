"""Preference pairs as token ids, and their batches: two rows a pair, the chosen answers' first."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kerastune.batching import Batch, make_batch
from kerastune.encoding import Encoded
from kerastune.preference.loss import Array


@dataclass(frozen=True)
class EncodedPair:
    """One prompt with two answers, as token ids.

    Args:
        chosen: The prompt with the better answer.
        rejected: The same prompt with the other one.
        reference: The answers' log-probabilities under the frozen reference, where they are known.
    """

    chosen: Encoded
    rejected: Encoded
    reference: tuple[float, float] | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        """Return the number of tokens of the longer side."""
        return max(len(self.chosen), len(self.rejected))

    @property
    def example_id(self) -> str:
        """The row's id."""
        return self.chosen.example_id

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The prompt, which both sides have."""
        return self.chosen.prompt_ids

    @property
    def completion_ids(self) -> tuple[int, ...]:
        """The longer answer."""
        return max(self.chosen.completion_ids, self.rejected.completion_ids, key=len)

    @property
    def trained(self) -> Sequence[int]:
        """The places of the trained tokens of the side that has the most."""
        return max(self.chosen.trained, self.rejected.trained, key=len)


def make_pair_batch(
    pairs: Sequence[EncodedPair],
    *,
    rows: int,
    length: int,
    pad_id: int,
    answers: int,
    whole_text: bool = False,
) -> Batch:
    """Lay pairs out as `make_batch` lays out examples: `2 x rows` rows, padding after either half.

    Args:
        pairs: At most `rows` pairs.
        rows: How many pairs there is room for.
        length: Tokens of a row.
        pad_id: The token put at padding.
        answers: Answer positions of a row.
        whole_text: Whether the prompt is trained too.
    """
    chosen, rejected = (
        make_batch(half, rows=rows, length=length, pad_id=pad_id, answers=answers, whole_text=whole_text)
        for half in ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
    )
    reference = np.zeros((2, rows), np.float32)
    reference[:, : len(pairs)] = np.array([pair.reference or (0.0, 0.0) for pair in pairs], np.float32).T
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(chosen, name), getattr(rejected, name)])
        for name in ("token_ids", "padding_mask", "answer_positions", "answer_ids", "answer_weights")
    }
    return replace(chosen, **arrays, reference=reference.reshape(-1))


@dataclass(frozen=True)
class PairArrays:
    """What makes scores and a loss of a batch's answers, a number a row.

    Args:
        reference: `[B]`, what is taken off a row's log-probability.
        divisors: `[B]`, what that is divided by.
        weights: `[B]`, 1 at rows of pairs and 0 at padding.
    """

    reference: Array
    divisors: Array
    weights: Array

    @classmethod
    def of(cls, batch: Batch) -> "PairArrays":
        """Find them for a batch whose `preference` is set."""
        if batch.preference is None:
            raise ValueError("expected a batch of pairs, received one of single rows")
        tokens = batch.answer_weights.sum(axis=1)
        weights = (tokens > 0).astype(np.float32)
        known = batch.preference.has_reference and batch.reference is not None
        reference = batch.reference if known else np.zeros_like(tokens)
        # A row of padding would have a probability of 1, whose log odds are no number; 1 / e stands in.
        return cls(reference + (1 - weights), batch.preference.divisors(tokens), weights)
