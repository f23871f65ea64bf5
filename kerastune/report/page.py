"""From a report's content to its page: figures drawn, numbers said, one HTML file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kerastune.calibration import brier_score, expected_calibration_error, reliability_bins
from kerastune.dataset.splits import read_labels
from kerastune.evaluation import evaluate
from kerastune.extras import require
from kerastune.report.content import ReportContent, RunContent
from kerastune.report.curves import draw_learning_rate, draw_loss, draw_validation_accuracy
from kerastune.report.facts import facts
from kerastune.report.figures import (
    METRIC_NAMES,
    Contestant,
    draw_confusion,
    draw_intervals,
    draw_reliability,
    draw_score_histogram,
)
from kerastune.report.fonts import EXTRA, Typeface, find_typeface, font_faces
from kerastune.report.tables import collect_errors, data_rows, label_names, label_rows, slice_rows

_PAGE = Path(__file__).parent / "page"
_FAMILY = "Report"  # what report.css calls the embedded typeface
_TRUST: Mapping[str, Callable[[Any, Any], float | None]] = {
    "ece": expected_calibration_error,
    "brier": brier_score,
    "log_loss": lambda probabilities, truth: evaluate(probabilities, truth).log_loss,
}
_BASELINES = {"tfidf": "TF-IDF", "majority": "Majority"}


def render(content: ReportContent) -> str:
    """Make a report's page: HTML with everything in it, which asks the network for nothing.

    Args:
        content: What it says.

    Raises:
        MissingExtraError: The extra `report` is not installed.
    """
    jinja2 = require("jinja2", EXTRA)
    typeface = find_typeface()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "count": _count,
        "percent": _percent,
        "p_value": _p_value,
        "baseline_name": lambda key: _BASELINES.get(key, key),
        "file_name": lambda path: Path(path).name,
        "diagonal": lambda matrix: sum(matrix[place][place] for place in range(len(matrix))),
    }
    script = (_PAGE / "report.js").read_text(encoding="utf-8")
    context = {
        "content": content,
        "runs": content.runs,
        "rows": content.rows,
        "table": Path(content.rows.name).name,
        "metric_names": _measured(content),
        "brief": _brief(content.runs[0]),
        "notes": tuple(dict.fromkeys(note for run in content.runs for note in run.evaluated.notes)),
        "contestants": (ranked := contestants(content)),
        "trust": [_trust(run, content) for run in content.runs],
        "labels": label_names(content),
        "label_rows": label_rows(content),
        "slices": slice_rows(content),
        "data": data_rows(content),
        "facts": facts(content),
        "errors": collect_errors(content),
        "figures": _figures(content, ranked, typeface),
        "style": (_PAGE / "report.css").read_text(encoding="utf-8"),
        "script": script,
        # No script but this one runs, and nothing is fetched, whatever a review says.
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    template = environment.get_template("report.html.jinja")
    # The page is written twice: only then is it known which characters the typeface must bring.
    body = template.render(context, font_faces="")
    return str(template.render(context, font_faces=font_faces(typeface, body, _FAMILY)))


def contestants(content: ReportContent) -> tuple[Contestant, ...]:
    """The runs and the baselines, the best accuracy first; a baseline that both runs share stands once."""
    found = [Contestant(run.name, run.evaluated.model, place) for place, run in enumerate(content.runs)]
    for run in content.runs:
        for key, metrics in run.evaluated.baselines.items():
            name, known = _BASELINES.get(key, key), [one.metrics for one in found if one.run is None]
            if metrics not in known:
                taken = any(one.name == name for one in found)
                found.append(Contestant(f"{name} ({run.name})" if taken else name, metrics))
    return tuple(sorted(found, key=lambda one: -one.metrics.accuracy))


def _measured(content: ReportContent) -> dict[str, str]:
    """The metrics that a run has a value of; generated labels have no probabilities to be measured by."""
    models = [run.evaluated.model for run in content.runs]
    return {
        name: title
        for name, title in METRIC_NAMES.items()
        if any(getattr(model, name) is not None for model in models)
    }


def _brief(run: RunContent) -> list[tuple[str, str]]:
    """The lines of what was run that a reader looks for first."""
    stack, train, lora = run.manifest.get("stack", {}), run.manifest.get("train", {}), run.config.lora
    model = run.config.model
    lines = [
        ("Stack", f"{stack.get('stack', model.stack)} / {stack.get('backend', model.backend)}"),
        ("Dtype", f"{stack.get('dtype', model.dtype)} on {stack.get('device', 'the CPU or GPU')}"),
        ("LoRA", f"rank {lora.rank} on {', '.join(lora.targets)}"),
        ("Seed", str(run.config.train.seed)),
    ]
    if "trainable" in stack:
        lines.insert(3, ("Trainable", f"{stack['trainable']:,} of {stack['parameters']:,}"))
    if train:
        lines.append(("Trained on", f"{Path(train['source']).name}, {train['rows']:,} rows"))
    if run.card.get("label_words"):
        lines.append(("Labels said", " / ".join(run.card["label_words"])))
    return lines


def _trust(run: RunContent, content: ReportContent) -> dict[str, tuple[float | None, float | None]]:
    """What the probabilities are worth: a measure's value now, and that before calibration."""
    truth, before = read_labels(content.rows), run.uncalibrated
    return {
        name: (measure(run.probabilities, truth), None if before is None else measure(before, truth))
        for name, measure in _TRUST.items()
    }


def _figures(
    content: ReportContent, ranked: Sequence[Contestant], typeface: Typeface | None
) -> dict[str, Any]:
    """Every figure that there is something to draw for, by name; lists are a figure a run."""
    truth, names, runs = read_labels(content.rows), label_names(content), content.runs
    histories = {run.name: run.history for run in runs if run.history.steps}
    places = [place for place, run in enumerate(runs) if run.history.steps]
    bins = {run.name: reliability_bins(run.probabilities, truth) for run in runs}
    colours = {run.name: place for place, run in enumerate(runs)}
    if len(runs) == 1 and runs[0].uncalibrated is not None:
        bins = {
            "before calibration": reliability_bins(runs[0].uncalibrated, truth),
            "after calibration": bins[runs[0].name],
        }
        colours = {"after calibration": 0}
    return {
        "intervals": draw_intervals(ranked, typeface),
        "confusion": [
            draw_confusion(
                run.evaluated.model.confusion, names, typeface, name=f"confusion-{place}", run=place
            )
            for place, run in enumerate(runs)
        ],
        "reliability": draw_reliability(bins, typeface, runs=colours),
        "histograms": [
            draw_score_histogram(
                run.probabilities,
                truth,
                names,
                typeface,
                name=f"scores-{place}",
                threshold=_threshold(run, len(names)),
            )
            for place, run in enumerate(runs)
        ],
        "loss": draw_loss(histories, places, typeface) if histories else None,
        "learning_rate": draw_learning_rate(histories, places, typeface) if histories else None,
        "validation_accuracy": draw_validation_accuracy(histories, places, typeface) if histories else None,
    }


def _threshold(run: RunContent, n_labels: int) -> float | None:
    if run.calibration is not None:
        return run.calibration.threshold
    return 0.5 if n_labels == 2 else None


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _count(value: int) -> str:
    return f"{value:,}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
