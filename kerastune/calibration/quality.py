"""How far probabilities can be taken at their word: calibration error, Brier score, reliability bins."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BINS = 15


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Probabilities and decisions against the truth.

    Args:
        log_loss: Mean negative natural logarithm of the true label's probability.
        ece: Expected calibration error; see `expected_calibration_error`.
        brier: Brier score; see `brier_score`.
        accuracy: Share of rows decided right, with the decision offsets where there are any.
        macro_f1: Unweighted mean of the F1 of every label that occurs in the truth or the decisions.
    """

    log_loss: float
    ece: float
    brier: float
    accuracy: float
    macro_f1: float


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Rows whose likeliest label has a probability within `(low, high]`.

    Args:
        low: Lower bound, not included (0 is, in the first bin).
        high: Upper bound.
        rows: How many rows there are.
        confidence: The mean probability of the likeliest label; None where there is no row.
        accuracy: The share of rows of which that is the true label; None where there is no row.
    """

    low: float
    high: float
    rows: int
    confidence: float | None
    accuracy: float | None


def reliability_bins(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Sort rows by the probability of their likeliest label into bins of equal width.

    Args:
        probabilities: `[N, L]`, rows summing to 1.
        labels: `[N]`, the true labels' indices.
        bins: How many bins there are over (0, 1].

    Returns:
        All bins in order, those without a row too.

    Example:
        >>> [one] = [b for b in reliability_bins([[0.9, 0.1], [0.05, 0.95]], [0, 0], bins=5) if b.rows]
        >>> one.rows, round(one.confidence, 3), one.accuracy
        (2, 0.925, 0.5)
    """
    rows, sums, hits = _binned(*_arrays(probabilities, labels, None), bins)
    edges = np.linspace(0, 1, bins + 1)
    return tuple(
        ReliabilityBin(
            low=float(edges[place]),
            high=float(edges[place + 1]),
            rows=int(rows[place]),
            confidence=float(sums[place] / rows[place]) if rows[place] else None,
            accuracy=float(hits[place] / rows[place]) if rows[place] else None,
        )
        for place in range(bins)
    )


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS, weights: ArrayLike | None = None
) -> float:
    """The mean distance between confidence and accuracy over equal-width bins of the likeliest label.

    M. P. Naeini, G. Cooper & M. Hauskrecht 2015, Obtaining well calibrated probabilities using Bayesian
    binning, AAAI; in this form C. Guo, G. Pleiss, Y. Sun & K. Q. Weinberger 2017, On calibration of modern
    neural networks, ICML. With few rows it is more than 0 even for perfect probabilities.

    Args:
        probabilities: `[N, L]`, rows summing to 1.
        labels: `[N]`, the true labels' indices.
        bins: How many bins there are.
        weights: `[N]`, how much each row counts; all alike when None.

    Returns:
        From 0 to 1.

    Example:
        >>> round(expected_calibration_error([[0.9, 0.1], [0.9, 0.1]], [0, 1]), 3)
        0.4
    """
    rows, sums, hits = _binned(*_arrays(probabilities, labels, weights), bins)
    return float(np.abs(sums - hits).sum() / rows.sum())


def brier_score(probabilities: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The mean squared distance between probabilities and truth (Brier 1950).

    As scikit-learn has it: of two labels the second one's (from 0 to 1), of more the sum over labels (from 0
    to 2).

    Args:
        probabilities: `[N, L]`, rows summing to 1.
        labels: `[N]`, the true labels' indices.
        weights: `[N]`, how much each row counts; all alike when None.

    Example:
        >>> round(brier_score([[0.8, 0.2], [0.4, 0.6]], [0, 1]), 3)
        0.1
    """
    shares, truth, counted = _arrays(probabilities, labels, weights)
    squares = ((shares - np.eye(shares.shape[1])[truth]) ** 2).sum(axis=1)
    return float(np.average(squares, weights=counted)) / (2 if shares.shape[1] == 2 else 1)


def measure_quality(
    log_probabilities: ArrayLike,
    labels: ArrayLike,
    decision_offsets: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Quality:
    """Measure log-probabilities, and the decisions that follow from them, against the truth.

    Args:
        log_probabilities: `[N, L]`, normalised.
        labels: `[N]`, the true labels' indices.
        decision_offsets: `[L]`, added to log-probabilities for the decision alone; none when None.
        weights: `[N]`, how much each row counts; all alike when None.
    """
    logs = np.asarray(log_probabilities, dtype=np.float64)
    probabilities, truth, counted = _arrays(np.exp(logs), labels, weights)
    decided = (logs if decision_offsets is None else logs + np.asarray(decision_offsets)).argmax(axis=1)
    confusion = np.zeros((logs.shape[1], logs.shape[1]))
    np.add.at(confusion, (truth, decided), counted)
    hits, there, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return Quality(
        log_loss=-float(np.average(logs[np.arange(len(truth)), truth], weights=counted)),
        ece=expected_calibration_error(probabilities, truth, weights=counted),
        brier=brier_score(probabilities, truth, weights=counted),
        accuracy=float(metric_value("accuracy", hits, there, said)),
        macro_f1=float(metric_value("macro_f1", hits, there, said)),
    )


def metric_value(metric: str, hits: Floats, there: Floats, said: Floats) -> Floats:
    """A task's metric out of counts by label, in the last axis.

    Args:
        metric: `"accuracy"` or `"macro_f1"`.
        hits: `[..., L]`, rows of the label that were decided so.
        there: `[..., L]`, rows of the label.
        said: `[..., L]`, rows decided so.

    Returns:
        `[...]`.
    """
    if metric == "accuracy":
        return np.asarray(hits.sum(axis=-1) / there.sum(axis=-1))
    both = there + said
    occurs = both > 1e-9
    f1 = np.where(occurs, 2 * hits / np.where(occurs, both, 1.0), 0.0)
    return np.asarray(f1.sum(axis=-1) / occurs.sum(axis=-1))


def _arrays(
    probabilities: ArrayLike, labels: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, NDArray[np.int64], Floats]:
    truth = np.asarray(labels, dtype=np.int64)
    counted = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
    return np.asarray(probabilities, dtype=np.float64), truth, counted


def _binned(
    probabilities: Floats, truth: NDArray[np.int64], counted: Floats, bins: int
) -> tuple[Floats, Floats, Floats]:
    """Each bin's rows, sum of confidences and right answers, rows counted by weight."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    # side="left" puts a probability that is an edge into the bin below it; rounding may pass 1.
    places = np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="left") - 1
    places = np.clip(places, 0, bins - 1)

    def summed(values: Floats) -> Floats:
        return np.bincount(places, weights=values, minlength=bins).astype(np.float64)

    return summed(counted), summed(counted * confidence), summed(counted * right)
