"""Fitting: which methods, in which order, and what they did to the scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastune.calibration.decision import gain_of_offsets, tune_offsets
from kerastune.calibration.priors import prior_bias, target_priors
from kerastune.calibration.quality import Quality, measure_quality
from kerastune.calibration.scaling import fit_scale_and_bias, fit_temperature, rescale
from kerastune.calibration.unlabelled import batch_bias, contextual_bias
from kerastune.errors import ConfigError, DataError

Floats = NDArray[np.float64]

#: The methods, in the order in which they are applied; of each group one at most.
METHODS = (("contextual", "batch"), ("temperature", "bias"), ("prior",))
#: Rows that the rarest label needs before each label gets a bias of its own: ten for each of the two numbers
#: that its rows decide, bias and scale (the rule of Peduzzi et al. 1996 for logistic regression).
ROWS_A_LABEL = 20


@dataclass(frozen=True)
class Fit:
    """What fitting came to; see `Calibration`."""

    methods: tuple[str, ...]
    scale: float
    bias: Floats
    decision_offsets: Floats
    reason: str
    before: Quality | None
    after: Quality | None


def choose_methods(labels: NDArray[np.int64] | None, n_labels: int) -> tuple[tuple[str, ...], str]:
    """Choose the methods where none is asked for, and say why.

    Args:
        labels: `[N]`, the true labels' indices; None where there are none.
        n_labels: How many labels the task has.

    Raises:
        ConfigError: There are no labels, so nothing but methods that suppose something could be fitted.
    """
    if labels is None:
        raise ConfigError(
            "methods: rows without labels cannot say how sure to be; expected 'contextual' or 'batch'"
        )
    rarest = int(np.bincount(labels, minlength=n_labels).min())
    said = f"the rarest label has {rarest} rows"
    if rarest >= ROWS_A_LABEL:
        return ("bias",), f"{said}, enough for a bias of each label beside the temperature"
    return ("temperature",), f"{said}, fewer than the {ROWS_A_LABEL} that a bias of each label would need"


def check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """Check methods' names and put them in the order in which they are applied.

    Raises:
        ConfigError: A name is unknown or twice there, or two methods would do the same thing.

    Example:
        >>> check_methods(["temperature", "contextual"])
        ('contextual', 'temperature')
    """
    known = [name for group in METHODS for name in group]
    for name in methods:
        if name not in known:
            raise ConfigError(f"methods: expected {' or '.join(map(repr, known))}, received {name!r}")
    groups = [[name for name in methods if name in group] for group in METHODS]
    for group in groups:
        if len(group) > 1:
            raise ConfigError(f"methods: expected one of {' and '.join(map(repr, group))}, received both")
    if not methods:
        raise ConfigError(f"methods: expected {' or '.join(map(repr, known))}, received none")
    return tuple(name for group in groups for name in group)


def fit_calibration(
    log_probabilities: Floats,
    labels: NDArray[np.int64] | None,
    methods: Sequence[str] | None = None,
    *,
    metric: str = "accuracy",
    tune_threshold: bool = True,
    content_free: Floats | None = None,
    unlabelled: Floats | None = None,
    priors: str | Sequence[float] = "uniform",
) -> Fit:
    """Fit a calibration to scores of held-out rows.

    Args:
        log_probabilities: `[N, L]`, normalised, of rows that were not trained on.
        labels: `[N]`, the true labels' indices; None where there are none, for contextual and batch.
        methods: Names out of `METHODS`; None chooses, see `choose_methods`.
        metric: What the decision offsets are tuned for, `"accuracy"` or `"macro_f1"`.
        tune_threshold: Whether to tune decision offsets; they stay 0 where they gain no more than twice their
            gain's standard error, since the best offsets of a few rows are worse than none on others.
        content_free: `[M, L]` of inputs that say nothing, for contextual.
        unlabelled: `[M, L]` of the rows to be scored later, for batch (these very rows when None) and for
            `priors="em"`.
        priors: The label shares that prior takes the scores to: `"uniform"`, a share a label, or `"em"`,
            which estimates those of `unlabelled`. Rows then count as if their labels had those shares.

    Raises:
        ConfigError: Methods or priors are refused, or lack what they need.
        DataError: The labels are of one class only, or a method needs rows of every label.
    """
    n_labels = log_probabilities.shape[1]
    chosen, reason = choose_methods(labels, n_labels) if methods is None else (check_methods(methods), "")
    _require_labels(labels, n_labels, chosen)
    finite = np.isfinite(log_probabilities).all(axis=1)
    if not finite.all():
        row = int(finite.argmin())
        raise DataError(
            f"log-probabilities of row {row + 1}: expected finite numbers, received "
            f"{log_probabilities[row].tolist()}"
        )
    scale, bias, weights = 1.0, np.zeros(n_labels), None
    for method in chosen:
        now = rescale(log_probabilities, scale, bias)
        factor, added = 1.0, np.zeros(n_labels)
        if method == "contextual":
            if content_free is None:
                raise ConfigError("methods: 'contextual' needs the scores of content-free inputs")
            added = contextual_bias(content_free)
        elif method == "batch":
            added = batch_bias(now if unlabelled is None else unlabelled)
        elif method == "temperature" and labels is not None:
            factor = fit_temperature(now, labels)
        elif method == "bias" and labels is not None:
            factor, added = fit_scale_and_bias(now, labels)
        elif labels is not None:
            shares = np.bincount(labels, minlength=n_labels) / len(labels)
            others = None if unlabelled is None else rescale(unlabelled, scale, bias)
            target = target_priors(priors, shares, others)
            added, weights = prior_bias(shares, target), (target / shares)[labels]
            reason = "; ".join(filter(None, [reason, f"label shares {target.round(3).tolist()}"]))
        scale, bias = scale * factor, factor * bias + added
    if labels is None:
        return Fit(chosen, scale, bias, np.zeros(n_labels), reason or "as asked for", None, None)
    after = rescale(log_probabilities, scale, bias)
    offsets, said = np.zeros(n_labels), "as asked for, the likeliest label is predicted"
    if tune_threshold:
        offsets, said = _decide(after, labels, metric, weights)
    return Fit(
        methods=chosen,
        scale=scale,
        bias=bias,
        decision_offsets=offsets,
        reason="; ".join([reason or "methods as asked for", said]),
        before=measure_quality(log_probabilities, labels, weights=weights),
        after=measure_quality(after, labels, offsets, weights=weights),
    )


def _decide(
    log_probabilities: Floats, labels: NDArray[np.int64], metric: str, weights: Floats | None
) -> tuple[Floats, str]:
    offsets = tune_offsets(log_probabilities, labels, metric, weights)
    if not offsets.any():
        return offsets, f"the likeliest label is already the best decision for {metric}"
    gain, error = gain_of_offsets(log_probabilities, labels, offsets, metric, weights)
    said = f"the best threshold gains {gain:.4f} {metric} here (standard error {error:.4f})"
    if gain > 2 * error:
        return offsets, said
    return np.zeros(len(offsets)), f"{said}, too little to be trusted: the likeliest label is predicted"


def _require_labels(labels: NDArray[np.int64] | None, n_labels: int, methods: Sequence[str]) -> None:
    """See that there are the labels that the methods need."""
    needing = [name for name in methods if name not in METHODS[0]]
    if labels is None:
        if needing:
            raise ConfigError(f"methods: {needing[0]!r} needs rows with labels; read them with labelled=True")
        return
    counts = np.bincount(labels, minlength=n_labels)
    if (counts > 0).sum() < 2:
        raise DataError(
            f"all {len(labels)} rows have one label; calibration needs rows of two labels or more"
        )
    if not counts.all() and not {"bias", "prior"}.isdisjoint(methods):
        raise DataError(
            f"no row has label number {int(counts.argmin()) + 1} of {n_labels}; bias and prior need rows of "
            "every label: use temperature"
        )
