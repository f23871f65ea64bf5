"""McNemar's test: whether two classifiers differ on the same rows by more than chance would have it."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerastune.errors import DataError

_EXACT_BELOW = 25  # discordant rows under which the chi-squared distribution is a poor approximation


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Two classifiers on the same rows; only the rows that one of them alone has right tell them apart.

    Args:
        both_right: Rows that both have right.
        only_first: Rows that the first alone has right.
        only_second: Rows that the second alone has right.
        both_wrong: Rows that neither has right.
        p_value: Two-sided: the chance of a difference this large if both were as good.
        statistic: Chi-squared with one degree of freedom; None where the test is exact.
        exact: Whether the p-value is that of the binomial distribution.
    """

    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    p_value: float
    statistic: float | None
    exact: bool

    def as_dict(self) -> dict[str, Any]:
        """All of it in the types of JSON."""
        return asdict(self)


def mcnemar(first_right: ArrayLike, second_right: ArrayLike) -> McNemar:
    """Test whether two classifiers are right equally often on the same rows.

    Under 25 rows that one alone has right, the test is the exact binomial one; from there on chi-squared with
    Edwards' continuity correction (Q. McNemar, 1947, Note on the sampling error of the difference between
    correlated proportions or percentages, Psychometrika 12, 153-157; A. L. Edwards, 1948, Note on the
    "correction for continuity", Psychometrika 13, 185-187). Recommended for classifiers that cannot be
    trained many times by T. G. Dietterich, 1998, Neural Computation 10, 1895-1923.

    Args:
        first_right: `[N]`, whether the first has a row right.
        second_right: `[N]`, whether the second has it right.

    Raises:
        DataError: The shapes differ, or there is no row.

    Example:
        >>> test = mcnemar([True] * 8 + [False] * 2, [True] * 2 + [False] * 7 + [True])
        >>> test.only_first, test.only_second, test.p_value
        (6, 1, 0.125)
    """
    first, second = np.asarray(first_right, np.bool_), np.asarray(second_right, np.bool_)
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise DataError(
            "McNemar's test: expected two classifiers on the same rows, one row at least, received the "
            f"shapes {list(first.shape)} and {list(second.shape)}"
        )
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    exact = b + c < _EXACT_BELOW
    # |b - c| - 1 below 0 would make the smallest difference significant by its square.
    statistic = None if exact else max(abs(b - c) - 1, 0) ** 2 / (b + c)
    return McNemar(
        both_right=int((first & second).sum()),
        only_first=b,
        only_second=c,
        both_wrong=int((~first & ~second).sum()),
        p_value=_binomial(min(b, c), b + c) if statistic is None else math.erfc(math.sqrt(statistic / 2)),
        statistic=statistic,
        exact=exact,
    )


def _binomial(successes: int, n: int) -> float:
    """The two-sided p-value of so few successes, or so many, of n tosses of a fair coin."""
    tail = sum(math.comb(n, count) for count in range(successes + 1))
    return min(1.0, float(2 * tail / 2**n))
