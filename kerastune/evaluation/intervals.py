"""How far a number measured on N rows can be trusted: Wilson's interval, and the bootstrap."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kerastune.evaluation.ranking import RocAuc
from kerastune.evaluation.tally import accuracy, macro_f1, matthews

Interval = tuple[float, float]

#: How many resamples a bootstrap interval is made of where one is asked for.
RESAMPLES = 2000
_CELLS = 2**16  # of a block of resamples: half a MB, which stays in the processor's cache


def wilson_interval(successes: int, n: int) -> Interval:
    """The 95 % score interval of a proportion.

    Unlike the normal approximation it holds near 0 and 1 and for few rows (E. B. Wilson, 1927, Probable
    inference, the law of succession, and statistical inference, J. Am. Stat. Assoc. 22, 209-212).

    Args:
        successes: How many of the trials succeeded.
        n: How many trials there were, one or more.

    Returns:
        The lower and the upper bound, from 0 to 1.

    Example:
        >>> [round(bound, 4) for bound in wilson_interval(8, 10)]
        [0.4902, 0.9433]
        >>> [round(bound, 4) for bound in wilson_interval(100, 100)]
        [0.963, 1.0]
    """
    z = 1.959963984540054  # the normal distribution's 97.5 % quantile
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def tally_intervals(tally: NDArray[np.int64], resamples: int, seed: int) -> dict[str, Interval | None]:
    """The bootstrap's 95 % intervals of what a confusion matrix decides.

    Rows drawn with replacement fall into the matrix' cells as a multinomial distribution has it, so that the
    cells are drawn at once, whatever the number of rows (B. Efron, 1979, Bootstrap methods: another look at
    the jackknife, Ann. Stat. 7, 1-26; the bounds are the percentiles of the resamples' values).

    Args:
        tally: `[L, L + 1]` counts, see `kerastune.evaluation.tally`.
        resamples: How many tables are drawn.
        seed: Seed of the draws.

    Returns:
        The intervals of `accuracy`, `macro_f1` and `mcc`; None where no resample has a value.
    """
    rows = tally.sum()
    draws = np.random.default_rng(seed).multinomial(rows, tally.ravel() / rows, size=resamples)
    drawn = draws.reshape(resamples, *tally.shape)
    values = {"accuracy": accuracy(drawn), "macro_f1": macro_f1(drawn), "mcc": matthews(drawn)}
    return {name: _percentiles(found) for name, found in values.items()}


def row_intervals(
    losses: NDArray[np.float64], ranking: RocAuc, resamples: int, seed: int
) -> dict[str, Interval | None]:
    """The bootstrap's 95 % intervals of what every row's probabilities decide.

    Time grows with rows x resamples, memory with neither: resamples are drawn in blocks.

    Args:
        losses: `[N]`, each row's part of the log-loss.
        ranking: The areas under the ROC curves of these rows.
        resamples: How many tables of N rows are drawn with replacement.
        seed: Seed of the draws.

    Returns:
        The intervals of `log_loss` and `roc_auc`; None where no resample has a value.
    """
    found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for weights in _draw_weights(len(losses), resamples, seed):
        found.append((weights @ losses / len(losses), ranking.areas(weights)))
    log_loss, areas = (np.concatenate(values) for values in zip(*found, strict=True))
    return {"log_loss": _percentiles(log_loss), "roc_auc": _percentiles(areas)}


def _draw_weights(rows: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield blocks `[resamples of the block, rows]`: how often each resample has each row."""
    generator = np.random.default_rng(seed)
    block = max(1, _CELLS // rows)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = generator.integers(rows, size=(size, rows))
        drawn += rows * np.arange(size)[:, None]  # so that one count serves the whole block
        yield np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)


def _percentiles(values: NDArray[np.float64]) -> Interval | None:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
