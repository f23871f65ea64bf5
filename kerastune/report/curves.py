"""The figures of training: loss, learning rate, and what validation said after each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kerastune.report.drawing import MUTED, SERIES, SURFACE, Canvas, Drawing, bare
from kerastune.report.fonts import Typeface
from kerastune.report.history import History


def draw_loss(histories: Mapping[str, History], colours: Sequence[int], typeface: Typeface | None) -> Drawing:
    """Draw the loss of every step and its running mean, and what was measured after each epoch.

    Args:
        histories: A run's name -> its history; one or two that have steps.
        colours: Each one's place among the runs.
        typeface: The typeface.
    """
    from matplotlib.ticker import NullFormatter

    canvas = Canvas("loss", typeface)
    lowest, highest = np.inf, -np.inf
    with canvas.axes(5.4, 3.3) as (figure, [axes]):
        bare(axes, grid="y")
        for place, said, history in zip(colours, canvas.runs(histories), histories.values(), strict=True):
            numbers = [step.step for step in history.steps]
            smooth = _running_mean([step.loss for step in history.steps])
            lowest, highest = min(lowest, smooth.min()), max(highest, smooth.max())
            colour = SERIES[place]
            axes.plot(numbers, [step.loss for step in history.steps], color=colour, linewidth=0.7, alpha=0.3)
            axes.plot(numbers, smooth, color=colour, label=_of("training loss", said, histories))
            watched = [(epoch.step, epoch.validation_loss) for epoch in history.epochs]
            watched = [(step, loss) for step, loss in watched if loss is not None]
            if watched:
                axes.plot(
                    *zip(*watched, strict=True),
                    "D--",
                    color=colour,
                    linewidth=1.0,
                    markersize=6,
                    markeredgecolor=SURFACE,
                    label=_of("validation loss", said, histories),
                )
        if len(histories) == 1:
            for epoch in next(iter(histories.values())).epochs[:-1]:
                axes.axvline(epoch.step + 0.5, color=MUTED, linewidth=0.7, linestyle=(0, (1, 3)))
        if lowest > 0 and highest > 20 * lowest:
            axes.set_yscale("log")
            axes.set_ylim(bottom=0.3 * lowest)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("cross-entropy of the answer")
        axes.legend(loc="upper right")
        says = "; ".join(
            f"{name}: {history.steps[0].loss:.3f} at the first step, {history.steps[-1].loss:.3f} at the last"
            for name, history in histories.items()
        )
        return canvas.finish(figure, f"Loss by optimizer step. {says}")


def draw_learning_rate(
    histories: Mapping[str, History], colours: Sequence[int], typeface: Typeface | None
) -> Drawing:
    """Draw the learning rate of every step."""
    canvas = Canvas("learning-rate", typeface)
    with canvas.axes(5.4, 3.3) as (figure, [axes]):
        bare(axes, grid="y")
        for place, said, history in zip(colours, canvas.runs(histories), histories.values(), strict=True):
            rates = [step.learning_rate for step in history.steps]
            axes.plot([step.step for step in history.steps], rates, color=SERIES[place], label=said)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:.3g}")
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("learning rate")
        if len(histories) > 1:
            axes.legend(loc="upper right")
        says = "; ".join(
            f"{name}: {max(step.learning_rate for step in history.steps):.1e} at its highest"
            for name, history in histories.items()
        )
        return canvas.finish(figure, f"Learning rate by optimizer step. {says}")


def draw_validation_accuracy(
    histories: Mapping[str, History], colours: Sequence[int], typeface: Typeface | None
) -> Drawing | None:
    """Draw the accuracy on the validation rows after each epoch; None where it was not measured."""
    watched = {
        name: [(epoch.epoch, epoch.validation_accuracy) for epoch in history.epochs]
        for name, history in histories.items()
    }
    if not any(accuracy is not None for points in watched.values() for _, accuracy in points):
        return None
    canvas = Canvas("validation-accuracy", typeface)
    with canvas.axes(5.4, 3.3) as (figure, [axes]):
        bare(axes, grid="y")
        for place, said, points in zip(colours, canvas.runs(watched), watched.values(), strict=True):
            numbers = [epoch for epoch, accuracy in points if accuracy is not None]
            values = [accuracy for _, accuracy in points if accuracy is not None]
            axes.plot(numbers, values, "o-", color=SERIES[place], markeredgecolor=SURFACE, label=said)
        axes.set_xticks(sorted({epoch for points in watched.values() for epoch, _ in points}))
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy on the validation rows")
        if len(histories) > 1:
            axes.legend(loc="lower right")
        says = "; ".join(
            f"{name}: "
            + ", ".join(f"{accuracy:.3f} after epoch {epoch}" for epoch, accuracy in points if accuracy)
            for name, points in watched.items()
        )
        return canvas.finish(figure, f"Accuracy on the validation rows. {says}")


def _of(what: str, name: str, histories: Mapping[str, History]) -> str:
    return what if len(histories) == 1 else f"{name}: {what}"


def _running_mean(values: Sequence[float]) -> NDArray[np.float64]:
    """The mean over a window about each value, a twentieth of them wide; shorter at the ends."""
    half = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    means: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return means
