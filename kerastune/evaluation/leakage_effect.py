"""What test rows that are in train, exactly or nearly, make of the accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kerastune.dataset.leakage import find_leakage
from kerastune.evaluation.intervals import Interval, wilson_interval

if TYPE_CHECKING:
    from kerastune.dataset.table import Dataset

_MOST_PAIRS = 100


@dataclass(frozen=True, kw_only=True)
class LeakedPair:
    """A test row and the training row that gives it away.

    Args:
        id: The test row's id.
        text: Its text.
        train_id: The training row's id.
        train_text: Its text.
        similarity: The Jaccard index of their character trigrams; 1 where they are the same text.
    """

    id: str
    text: str
    train_id: str
    train_text: str
    similarity: float


@dataclass(frozen=True, kw_only=True)
class LeakageEffect:
    """How many test rows are in train, and what that makes of the accuracy.

    Args:
        train: The training table's name.
        threshold: The Jaccard index from which on texts are nearly the same.
        exact: Test rows whose text is in train but for spaces and case.
        near: Further rows of which train has nearly the same text.
        accuracy: On all rows.
        interval: Its 95 % interval, see `wilson_interval`.
        accuracy_without: On the rows that are not in train; None where there are none.
        interval_without: Its 95 % interval.
        pairs: The leaked rows with the training rows they are most like, the most similar first, 100 at most.
    """

    train: str
    threshold: float
    exact: int
    near: int
    accuracy: float
    interval: Interval
    accuracy_without: float | None
    interval_without: Interval | None
    pairs: tuple[LeakedPair, ...]

    def as_dict(self) -> dict[str, Any]:
        """All of it in the types of JSON."""
        without = self.interval_without
        return asdict(self) | {
            "interval": list(self.interval),
            "interval_without": without and list(without),
            "pairs": [asdict(pair) for pair in self.pairs],
        }


def measure_leakage(
    train: Dataset, rows: Dataset, right: Sequence[bool] | NDArray[np.bool_]
) -> LeakageEffect:
    """Look for test rows in train, and measure the accuracy with and without them.

    Args:
        train: The training rows.
        rows: The test rows.
        right: `[N]`, whether each test row is predicted right.
    """
    right = np.asarray(right, np.bool_)
    leakage = find_leakage(train, rows)
    clean = right[~leakage.leaked]
    leaked = np.flatnonzero(leakage.leaked)
    leaked = leaked[np.argsort(-leakage.similarity[leaked], kind="stable")]
    texts, train_texts = rows.texts, train.texts
    return LeakageEffect(
        train=train.name,
        threshold=leakage.threshold,
        exact=int(leakage.exact.sum()),
        near=int(leakage.near.sum()),
        accuracy=float(right.mean()),
        interval=wilson_interval(int(right.sum()), len(right)),
        accuracy_without=float(clean.mean()) if len(clean) else None,
        interval_without=wilson_interval(int(clean.sum()), len(clean)) if len(clean) else None,
        pairs=tuple(
            LeakedPair(
                id=rows.ids[row],
                text=texts[row],
                train_id=train.ids[leakage.nearest[row]],
                train_text=train_texts[leakage.nearest[row]],
                similarity=float(leakage.similarity[row]),
            )
            for row in leaked[:_MOST_PAIRS]
        ),
    )
