"""The decision: offsets to log-probabilities that are best for the task's metric on validation rows."""

import numpy as np
from numpy.typing import NDArray

from kerastune.calibration.quality import metric_value

Floats = NDArray[np.float64]

_ROUNDS, _GAIN = 50, 1e-12
_RESAMPLES = 500


def tune_offsets(
    log_probabilities: Floats, labels: NDArray[np.int64], metric: str, weights: Floats | None = None
) -> Floats:
    """Find the offsets whose decisions, argmax(log p + offsets), are best by a metric.

    A label's best offset with the others fixed is found exactly: its decisions change only where it passes
    another label of some row, so a value midway between each two such places is tried, and one beyond either
    end. With two labels that is the exact best threshold; with more the labels take turns until none gains.
    Of equals the offset nearest to the one before wins, so that what gains nothing stays 0.

    Args:
        log_probabilities: `[N, L]` of validation rows: never those of training or of the test.
        labels: `[N]`, the true labels' indices.
        metric: `"accuracy"` or `"macro_f1"`.
        weights: `[N]`, how much each row counts; all alike when None.

    Returns:
        `[L]`, the first one 0.

    Example:
        >>> logs = np.log([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])
        >>> offsets = tune_offsets(logs, np.array([0, 0, 1, 1]), "accuracy")
        >>> (logs + offsets).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """
    n_labels = log_probabilities.shape[1]
    counted = np.ones(len(labels)) if weights is None else weights
    truth = np.eye(n_labels)[labels] * counted[:, None]
    offsets, best = np.zeros(n_labels), _value(log_probabilities, truth, counted, metric)
    for _ in range(_ROUNDS):
        before = best
        for label in range(1, n_labels) if n_labels == 2 else range(n_labels):
            tried = offsets.copy()
            tried[label] = _best_offset(log_probabilities, truth, counted, offsets, label, metric)
            # Counted anew from the decisions themselves: sums of weights round, decisions do not.
            value = _value(log_probabilities + tried, truth, counted, metric)
            if value > best + _GAIN:
                offsets, best = tried, value
        if best <= before + _GAIN:
            break
    return np.asarray(offsets - offsets[0])


def gain_of_offsets(
    log_probabilities: Floats,
    labels: NDArray[np.int64],
    offsets: Floats,
    metric: str,
    weights: Floats | None = None,
) -> tuple[float, float]:
    """Measure what offsets gain over none on rows, and how far that can be trusted.

    Args:
        log_probabilities: `[N, L]`.
        labels: `[N]`, the true labels' indices.
        offsets: `[L]`.
        metric: `"accuracy"` or `"macro_f1"`.
        weights: `[N]`, how much each row counts; all alike when None.

    Returns:
        The gain, and its standard error by a paired bootstrap with a fixed seed.
    """
    eye = np.eye(log_probabilities.shape[1])
    truth = eye[labels]
    decided = [eye[scores.argmax(axis=1)] for scores in (log_probabilities + offsets, log_probabilities)]
    # The counts of the metric are sums over rows, so a resample is a row of weights.
    tables = [(said * truth, truth, said) for said in decided]
    counted = np.ones(len(labels)) if weights is None else weights

    def gain(row_weights: Floats) -> float:
        ours, plain = (metric_value(metric, *(row_weights @ one for one in table)) for table in tables)
        return float(ours - plain)

    rng, rows = np.random.default_rng(0), len(labels)
    resampled = [
        gain(counted * np.bincount(rng.integers(0, rows, rows), minlength=rows)) for _ in range(_RESAMPLES)
    ]
    return gain(counted), float(np.std(resampled))


def _value(scores: Floats, truth: Floats, counted: Floats, metric: str) -> float:
    decided = np.eye(scores.shape[1])[scores.argmax(axis=1)]
    return float(
        metric_value(
            metric, (decided * truth).sum(axis=0), truth.sum(axis=0), (decided * counted[:, None]).sum(axis=0)
        )
    )


def _best_offset(
    log_probabilities: Floats, truth: Floats, counted: Floats, offsets: Floats, label: int, metric: str
) -> float:
    """One label's best offset with the others fixed."""
    others = log_probabilities + offsets
    others[:, label] = -np.inf
    margins = others.max(axis=1) - log_probabilities[:, label]  # the offset at which the row changes
    order = np.argsort(margins, kind="stable")
    margins = margins[order]
    instead = np.eye(truth.shape[1])[others.argmax(axis=1)]
    mine = np.zeros_like(instead)
    mine[:, label] = 1
    moved = mine - instead
    # Row n of these: the counts after the first n rows by margin have been given to the label.
    hits, said = (
        (instead * one).sum(axis=0)
        + np.vstack([np.zeros(len(offsets)), np.cumsum((moved * one)[order], axis=0)])
        for one in (truth, counted[:, None])
    )
    values = metric_value(metric, hits, truth.sum(axis=0), said)
    cuts = np.concatenate([[margins[0] - 1], (margins[:-1] + margins[1:]) / 2, [margins[-1] + 1]])
    # Between rows of one margin there is no cut.
    possible = np.concatenate([[True], margins[:-1] < margins[1:], [True]])
    values = np.where(possible, values, -np.inf)
    best = np.flatnonzero(values >= values.max() - _GAIN)
    return float(cuts[best[np.argmin(np.abs(cuts[best] - offsets[label]))]])
