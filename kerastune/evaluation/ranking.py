"""The area under the ROC curve, for weighted rows and many weightings at once."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class RocAuc:
    """How well probabilities rank the rows: the chance that a row of a label outranks one of another.

    With two labels it is that of the second label; with more, the mean over the labels of each against the
    rest. Ties count half (J. A. Hanley, B. J. McNeil, 1982, The meaning and use of the area under a receiver
    operating characteristic curve, Radiology 143, 29-36). Labels without rows are left out of the mean; with
    one label only there is no area.

    Args:
        probabilities: `[N, L]`.
        truth: `[N]`, indices of labels.

    Example:
        >>> RocAuc(np.array([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]]), np.array([0, 0, 1, 1])).area
        0.75
    """

    def __init__(self, probabilities: Floats, truth: NDArray[np.int64]) -> None:
        """Rank the rows once; every weighting goes through the ranks."""
        ranked = [1] if probabilities.shape[1] == 2 else np.unique(truth).tolist()
        self._labels = [_Ranks(probabilities[:, label], truth == label) for label in ranked]
        self._rows = len(truth)

    @property
    def area(self) -> float | None:
        """The area with each row counted once; None where there is none."""
        area = float(self.areas(np.ones((1, self._rows)))[0])
        return None if np.isnan(area) else area

    def areas(self, weights: Floats) -> Floats:
        """The areas under several weightings of the rows.

        Args:
            weights: `[B, N]`, how often each row counts.

        Returns:
            `[B]`, NaN where there is no area.
        """
        areas = np.stack([label.areas(weights) for label in self._labels])
        defined = ~np.isnan(areas)
        count = defined.sum(axis=0)
        total = np.where(defined, areas, 0.0).sum(axis=0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


class _Ranks:
    """One label against the rest, each side in the order of the label's probability."""

    def __init__(self, scores: Floats, positive: NDArray[np.bool_]) -> None:
        order = np.argsort(scores, kind="stable")
        ordered = positive[order]
        self._positives, self._negatives = order[ordered], order[~ordered]
        # How many negatives are under each positive, and how many are not over it: ties count half.
        steps = scores[self._negatives]
        self._under = np.searchsorted(steps, scores[self._positives], "left")
        self._not_over = np.searchsorted(steps, scores[self._positives], "right")
        self._ties = not np.array_equal(self._under, self._not_over)

    def areas(self, weights: Floats) -> Floats:
        # np.take, which is several times as fast here as indexing.
        positives = np.take(weights, self._positives, axis=1)
        passed = np.zeros((len(weights), len(self._negatives) + 1))
        np.cumsum(np.take(weights, self._negatives, axis=1), axis=1, out=passed[:, 1:])
        wins = np.einsum("bn,bn->b", positives, np.take(passed, self._under, axis=1))
        if self._ties:
            wins = (wins + np.einsum("bn,bn->b", positives, np.take(passed, self._not_over, axis=1))) / 2
        pairs = positives.sum(axis=1) * passed[:, -1]
        return np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1.0), np.nan)
