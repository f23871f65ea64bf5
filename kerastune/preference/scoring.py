"""The log-probabilities of pairs' answers, as a model is now."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kerastune.batch_shapes import bucket_lengths
from kerastune.batching import Batch
from kerastune.memory import explained_memory_errors
from kerastune.preference.loss import PreferenceLoss
from kerastune.preference.pairs import EncodedPair, make_pair_batch
from kerastune.progress import progress
from kerastune.stack import Stack

#: A pair's id -> the log-probabilities of the chosen answer and of the rejected one.
LogProbabilities = Mapping[str, tuple[float, float]]


def answer_log_probabilities(
    stack: Stack, batches: Sequence[Batch], what: str, *, show: bool = True
) -> dict[str, tuple[float, float]]:
    """Sum the log-probabilities of answers' tokens, as the model is now.

    Args:
        stack: The model.
        batches: Batches of pairs.
        what: What is under way, for the progress bar.
        show: Whether to show it.

    Returns:
        A pair's id -> the chosen and the rejected answer's.
    """
    found: dict[str, tuple[float, float]] = {}
    with progress(what, sum(len(batch.example_ids) for batch in batches), show=show) as advance:
        for batch in batches:
            rows, length = batch.token_ids.shape
            with explained_memory_errors(rows, length, "batch_size"):
                sums = -stack.token_losses(batch).sum(axis=1, dtype=np.float64)
            pairs = len(batch.example_ids)
            chosen, rejected = sums.reshape(2, -1)[:, :pairs].tolist()
            found |= dict(zip(batch.example_ids, zip(chosen, rejected, strict=True), strict=True))
            advance(pairs)
    return found


def by_length(pairs: Sequence[EncodedPair], batch_size: int, pad_id: int) -> list[Batch]:
    """Batches from the shortest pairs to the longest, for pairs that are not trained on."""
    lengths = bucket_lengths([len(pair) for pair in pairs])
    ordered = sorted(pairs, key=len)
    answers = max(len(pair.completion_ids) for pair in pairs)
    batches = []
    for start in range(0, len(ordered), batch_size):
        part = ordered[start : start + batch_size]
        length = next(length for length in lengths if len(part[-1]) <= length)
        batches.append(make_pair_batch(part, rows=batch_size, length=length, pad_id=pad_id, answers=answers))
    return batches


def scores_of(
    pairs: Sequence[EncodedPair],
    found: LogProbabilities,
    loss: PreferenceLoss,
    reference: LogProbabilities | None = None,
) -> NDArray[np.float64]:
    """Make scores of log-probabilities.

    Args:
        pairs: The pairs.
        found: Their answers' log-probabilities.
        loss: What says how an answer is scored.
        reference: Those under the reference; what the pairs hold when None.

    Returns:
        `[2 x pairs]`, the chosen answers' first.
    """
    values = np.array([found[pair.example_id] for pair in pairs]).T
    if loss.has_reference:
        known = [pair.reference if reference is None else reference[pair.example_id] for pair in pairs]
        values = values - np.array(known, np.float64).T
    tokens = np.array([[len(pair.chosen.trained), len(pair.rejected.trained)] for pair in pairs], np.float32)
    return (values / loss.divisors(tokens.T)).reshape(-1)
