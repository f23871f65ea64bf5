"""Temperature and bias: the log-loss on held-out rows, minimised over p' ~ exp(scale * log p + bias)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

#: Bounds of the scale 1/T. A temperature is positive, so the order of the labels never changes; scores that
#: are no better than chance, or that are right by hair's breadths, end at a bound.
SCALE_BOUNDS = (1e-2, 1e2)
_STEPS, _TOLERANCE = 200, 1e-12


def rescale(log_probabilities: Floats, scale: float, bias: ArrayLike) -> Floats:
    """Scale log-probabilities, add a bias a label, and normalise them again.

    Args:
        log_probabilities: `[N, L]`.
        scale: More than 0; 1 leaves them as they are.
        bias: `[L]`; 0 leaves them as they are.

    Returns:
        `[N, L]`, whose probabilities sum to 1 in each row.
    """
    logits = scale * log_probabilities + np.asarray(bias, dtype=np.float64)
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def fit_temperature(log_probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """Fit temperature scaling (Guo et al. 2017, On calibration of modern neural networks, ICML).

    The log-loss is convex in the scale 1/T. One further row's worth of doubt, whose label is every label
    alike, keeps the minimum finite where every row is right (as Platt 1999 does for one score).

    Args:
        log_probabilities: `[N, L]`, finite, of rows that were not trained on.
        labels: `[N]`, the true labels' indices.

    Returns:
        The scale 1/T, within `SCALE_BOUNDS`.

    Example:
        >>> sure = np.log([[0.99, 0.01]] * 4)
        >>> 0 < fit_temperature(sure, np.array([0, 0, 0, 1])) < 1  # right three times of four: less sure
        True
    """
    start = np.r_[1.0, np.zeros(log_probabilities.shape[1])]
    scale = _minimise(log_probabilities, labels, start, free=slice(0, 1))[0]
    return float(np.clip(scale, *SCALE_BOUNDS))


def fit_scale_and_bias(log_probabilities: Floats, labels: NDArray[np.int64]) -> tuple[float, Floats]:
    """Fit a temperature together with a bias a label: vector scaling (Guo et al. 2017) with a shared scale.

    At the minimum the mean probability of each label is its share of the rows (but for the row of doubt, see
    `fit_temperature`).

    Args:
        log_probabilities: `[N, L]`, finite, of rows that were not trained on.
        labels: `[N]`, the true labels' indices.

    Returns:
        The scale 1/T within `SCALE_BOUNDS`, and the bias `[L]`, which sums to 0.
    """
    start = np.r_[1.0, np.zeros(log_probabilities.shape[1])]
    found = _minimise(log_probabilities, labels, start, free=slice(None))
    scale = float(np.clip(found[0], *SCALE_BOUNDS))
    if scale != found[0]:
        # Convex: where the scale ends at its bound, the best bias is the one that goes with the bound.
        start = np.r_[scale, found[1:]]
        found = _minimise(log_probabilities, labels, start, free=slice(1, None))
    bias: Floats = found[1:] - found[1:].mean()
    return scale, bias


def _minimise(log_probabilities: Floats, labels: NDArray[np.int64], start: Floats, *, free: slice) -> Floats:
    """Newton's method on `[scale, bias...]`, each step halved until the log-loss falls enough.

    The Hessian is singular along a bias that is alike for all labels; the least-squares step has no part of
    that. Only what is `free` moves.
    """
    rows, n_labels = log_probabilities.shape
    scores = log_probabilities - log_probabilities.mean(axis=1, keepdims=True)  # smaller numbers
    targets = (rows * np.eye(n_labels)[labels] + 1.0 / n_labels) / (rows + 1)
    point, loss = start, _log_loss(scores, targets, start)
    for _ in range(_STEPS):
        gradient, hessian = (one[free] for one in _derivatives(scores, targets, point))
        step = np.zeros_like(point)
        step[free] = -np.linalg.lstsq(hessian[:, free], gradient, rcond=1e-12)[0]
        slope, share = float(gradient @ step[free]), 1.0
        if slope > -_TOLERANCE:
            break
        while (after := _log_loss(scores, targets, point + share * step)) > loss + 1e-4 * share * slope:
            share /= 2
        point, loss = point + share * step, after
    return point


def _log_loss(scores: Floats, targets: Floats, point: Floats) -> float:
    return -float((targets * rescale(scores, point[0], point[1:])).sum(axis=1).mean())


def _derivatives(scores: Floats, targets: Floats, point: Floats) -> tuple[Floats, Floats]:
    """The gradient `[1 + L]` and the Hessian `[1 + L, 1 + L]` of the log-loss in the scale and the bias."""
    found = np.exp(rescale(scores, point[0], point[1:]))
    away, rows = found - targets, len(found)
    spread = scores - (found * scores).sum(axis=1, keepdims=True)
    scale_scale = np.array([[(found * scores * spread).sum() / rows]])
    scale_bias = (found * spread).mean(axis=0)[None, :]
    bias_bias = np.diag(found.mean(axis=0)) - found.T @ found / rows
    gradient = np.concatenate([[(away * scores).sum() / rows], away.mean(axis=0)])
    return gradient, np.block([[scale_scale, scale_bias], [scale_bias.T, bias_bias]])
