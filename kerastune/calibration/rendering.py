"""A calibration as text."""

from kerastune.calibration.value import Calibration

_NAMES = {
    "log_loss": "log-loss",
    "ece": "ECE",
    "brier": "Brier",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
}


def render(calibration: Calibration) -> str:
    """Say what a calibration does, and what it did to the rows that it was fitted on.

    Args:
        calibration: The calibration.

    Returns:
        Lines of text.
    """
    fitted = calibration.fitted_on
    labels = [str(label) for label in calibration.labels]
    lines = [
        f"calibrated   {' + '.join(calibration.methods)} on {fitted.source}, {fitted.rows} rows",
        f"temperature  {calibration.temperature:.3f}",
        f"bias         {_by_label(labels, calibration.bias)}",
    ]
    if calibration.threshold is not None:
        lines.append(
            f"threshold    {labels[1]} is predicted above a probability of {calibration.threshold:.3f}"
        )
    elif any(calibration.decision_offsets):
        lines.append(f"decision     {_by_label(labels, calibration.decision_offsets)}")
    lines.append(f"why          {fitted.reason}")
    if fitted.before is not None and fitted.after is not None:
        lines.append(f"{'':<13}{'before':>8}{'after':>8}   (on these rows)")
        lines += [
            f"{name:<13}{getattr(fitted.before, key):>8.4f}{getattr(fitted.after, key):>8.4f}"
            for key, name in _NAMES.items()
        ]
    return "\n".join(lines)


def _by_label(labels: list[str], numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{label}: {number:+.3f}" for label, number in zip(labels, numbers, strict=True))
