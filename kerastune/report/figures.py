"""The figures of a report: plain numbers in, a drawing out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kerastune.evaluation import Metrics, wilson_interval
from kerastune.report.drawing import INK, MUTED, SERIES, SURFACE, Canvas, Drawing, bare, bold_weight
from kerastune.report.fonts import Typeface

if TYPE_CHECKING:
    from matplotlib.patches import Rectangle

    from kerastune.calibration import ReliabilityBin

#: The metrics that are shown, by their name in `Metrics`, as readers call them.
METRIC_NAMES: Mapping[str, str] = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "mcc": "MCC",
    "roc_auc": "ROC AUC",
    "log_loss": "Log-loss",
}
_RUNS, _LABELS = SERIES[:2], SERIES[2:]


@dataclass(frozen=True)
class Contestant:
    """Who is measured: a run, or a baseline.

    Args:
        name: What it is called.
        metrics: Its metrics.
        run: The run's place; None for a baseline.
    """

    name: str
    metrics: Metrics
    run: int | None = None

    def interval(self, metric: str) -> tuple[float, float] | None:
        """The 95 % interval of a metric: Wilson's of the accuracy, the bootstrap's of the others."""
        return self.metrics.interval if metric == "accuracy" else self.metrics.intervals.get(metric)


def draw_intervals(contestants: Sequence[Contestant], typeface: Typeface | None) -> Drawing:
    """Draw every contestant's metrics as dots with their 95 % intervals, a panel a metric."""
    shown = [
        metric
        for metric in METRIC_NAMES
        if any(getattr(one.metrics, metric) is not None and one.run is not None for one in contestants)
    ]
    canvas = Canvas("intervals", typeface)
    height = 0.75 + 0.3 * len(contestants)
    with canvas.axes(11.0, height, columns=len(shown), between=0.14, sharey=True) as (figure, panels):
        for axes, metric in zip(panels, shown, strict=True):
            bare(axes, grid="x")
            axes.set_title(METRIC_NAMES[metric] + (" (lower is better)" if metric == "log_loss" else ""))
            for place, one in enumerate(contestants):
                value = getattr(one.metrics, metric)
                if value is None:
                    continue
                colour = MUTED if one.run is None else _RUNS[one.run]
                if (interval := one.interval(metric)) is not None:
                    axes.plot(interval, (place, place), color=colour, linewidth=2.0, alpha=0.55)
                axes.plot(value, place, "o", color=colour, markersize=6.5, markeredgecolor=SURFACE)
            axes.margins(x=0.08)
            axes.locator_params(axis="x", nbins=4)
        panels[0].set_ylim(len(contestants) - 0.4, -0.6)
        names = [canvas.say(one.name, f"run {place}") for place, one in enumerate(contestants, start=1)]
        panels[0].set_yticks(range(len(contestants)), names, color=INK, fontsize=9)
        says = "; ".join(f"{one.name}: accuracy {one.metrics.accuracy:.3f}" for one in contestants)
        return canvas.finish(figure, f"Metrics with 95 % intervals. {says}")


def draw_confusion(
    confusion: Sequence[Sequence[int]],
    labels: Sequence[str],
    typeface: Typeface | None,
    *,
    name: str,
    run: int = 0,
) -> Drawing:
    """Draw a confusion matrix, a row a true label, shaded by the row's share."""
    counts = np.asarray(confusion, dtype=np.float64)
    # An answer that was no label is in no column, so a row may be short of its label's rows.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    size = len(labels)
    canvas = Canvas(name, typeface)
    with canvas.axes(1.5 + 1.35 * size if size < 4 else 5.4, 1.0 + 0.85 * min(size, 5)) as (figure, [axes]):
        for row, column in np.ndindex(size, size):
            share = shares[row, column]
            axes.add_patch(_cell(column, row, _RUNS[run], 0.06 + 0.5 * share))
            middle = (column + 0.5, row + 0.5)
            axes.annotate(
                f"{int(counts[row, column]):,}",
                middle,
                xytext=(0, 1),
                textcoords="offset points",
                ha="center",
                va="bottom" if size < 6 else "center",
                fontsize=12 if size < 4 else 9,
                fontweight=bold_weight(typeface) if row == column else "normal",
            )
            if size < 6:
                axes.annotate(
                    f"{share:.1%}",
                    middle,
                    xytext=(0, -3),
                    textcoords="offset points",
                    ha="center",
                    va="top",
                    fontsize=8,
                )
        axes.set_xlim(0, size)
        axes.set_ylim(size, 0)
        bare(axes)
        axes.spines["bottom"].set_visible(False)
        names = canvas.labels(labels)
        slanted = 30 if size > 4 else 0
        axes.set_xticks(
            np.arange(size) + 0.5, names, color=INK, rotation=slanted, ha="right" if slanted else "center"
        )
        axes.set_yticks(np.arange(size) + 0.5, names, color=INK)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        says = "; ".join(
            f"true {labels[row]} predicted {labels[column]}: {int(counts[row, column])}"
            for row, column in np.ndindex(size, size)
        )
        return canvas.finish(figure, f"Confusion matrix. {says}")


def draw_reliability(
    bins: Mapping[str, Sequence[ReliabilityBin]], typeface: Typeface | None, *, runs: Mapping[str, int]
) -> Drawing:
    """Draw accuracy against confidence, a line each, and under it how many rows have that confidence.

    Args:
        bins: A name, such as `"after calibration"`, -> its bins.
        typeface: The typeface.
        runs: A name -> the run's place; a name that is not there is that of scores before calibration.
    """
    canvas = Canvas("reliability", typeface)
    with canvas.axes(5.4, 4.6, rows=2, sharex=True, height_ratios=[3.6, 1.0]) as (figure, [upper, lower]):
        bare(upper, grid="both")
        bare(lower)
        upper.plot((0, 1), (0, 1), color=MUTED, linewidth=1.0, linestyle=(0, (3, 3)))
        lowest = 1.0
        for place, (name, label) in enumerate(zip(bins, canvas.runs(bins), strict=True)):
            filled = [one for one in bins[name] if one.rows]
            colour = _RUNS[runs[name]] if name in runs else MUTED
            lowest = min(lowest, *(one.low for one in filled))
            confidences = [one.confidence or 0.0 for one in filled]
            accuracies = [one.accuracy or 0.0 for one in filled]
            for one, confidence, accuracy in zip(filled, confidences, accuracies, strict=True):
                interval = wilson_interval(round(one.rows * accuracy), one.rows)
                upper.plot((confidence, confidence), interval, color=colour, linewidth=2.0, alpha=0.3)
            upper.plot(confidences, accuracies, color=colour, linewidth=1.2, alpha=0.7, label=label)
            sizes = [14 + 150 * one.rows / sum(one.rows for one in filled) for one in filled]
            upper.scatter(
                confidences, accuracies, s=sizes, color=colour, edgecolor=SURFACE, linewidth=0.8, zorder=3
            )
            width = 0.8 * (filled[0].high - filled[0].low) / len(bins)
            shift = (place - (len(bins) - 1) / 2) * width
            middles = [(one.low + one.high) / 2 + shift for one in filled]
            lower.bar(middles, [one.rows for one in filled], width=width, color=colour, alpha=0.75)
        upper.set_xlim(lowest - 0.01, 1.01)
        upper.set_ylim(-0.02, 1.02)
        upper.set_ylabel("accuracy")
        lower.set_ylabel("rows")
        lower.set_xlabel("confidence: the probability of the predicted label")
        lower.locator_params(axis="y", nbins=3)
        upper.legend(loc="lower right")
        said = "; ".join(
            f"{name}: "
            + ", ".join(f"{one.accuracy:.2f} at {one.confidence:.2f}" for one in found if one.rows)
            for name, found in bins.items()
        )
        return canvas.finish(figure, f"Reliability diagram, accuracy at confidence. {said}")


def draw_score_histogram(
    probabilities: NDArray[np.float64],
    truth: NDArray[np.int64],
    labels: Sequence[str],
    typeface: Typeface | None,
    *,
    name: str,
    threshold: float | None = None,
) -> Drawing:
    """Draw how the probabilities are spread, a panel a true label.

    With two labels it is the second one's probability in both, else that of the true label.

    Args:
        probabilities: `[N, labels]`.
        truth: `[N]`, the true labels' indices.
        labels: What the labels are called.
        typeface: The typeface.
        name: The figure's name in the page.
        threshold: The probability above which the second of two labels is predicted; None of more.
    """
    canvas = Canvas(name, typeface)
    names = canvas.labels(labels)
    edges = np.linspace(0.0, 1.0, 26)
    two = len(labels) == 2
    means = []
    with canvas.axes(5.4, 0.6 + (2.0 if two else 0.9) * len(labels), rows=len(labels), sharex=True,
                     sharey=True) as (figure, panels):  # fmt: skip
        for place, (axes, label) in enumerate(zip(panels, names, strict=True)):
            values = probabilities[truth == place, 1 if two else place]
            colour = _LABELS[place % len(_LABELS)]
            counts, _ = np.histogram(values, edges)
            axes.bar(edges[:-1], counts, np.diff(edges) * 0.88, align="edge", color=colour, alpha=0.85)
            bare(axes, grid="y")
            axes.locator_params(axis="y", nbins=3, integer=True)
            axes.set_title(f"true label {label}: {len(values):,} rows", color=colour)
            if threshold is not None:
                axes.axvline(threshold, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
            if len(values):
                means.append(f"true label {labels[place]}: mean {values.mean():.2f}")
        if threshold is not None:
            panels[0].annotate(
                f"threshold {threshold:.2f}",
                (threshold, 0.98),
                xytext=(-4 if threshold > 0.5 else 4, 0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="right" if threshold > 0.5 else "left",
                va="top",
                fontsize=8,
            )
        panels[-1].set_xlim(0, 1)
        panels[-1].set_xlabel(f"probability of {names[1]}" if two else "probability of the true label")
        figure.supylabel("rows", fontsize=8.5, color=MUTED)
        return canvas.finish(figure, f"Histogram of the scores by true label. {'; '.join(means)}")


def _cell(column: int, row: int, colour: str, alpha: float) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((column, row), 1, 1, facecolor=colour, alpha=alpha, edgecolor=SURFACE, linewidth=2.0)
