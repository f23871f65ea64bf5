"""From runs' folders and a labelled table to a report's content; a model is loaded only where it must be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastune.adapter_card import CARD, read_json
from kerastune.calibration import Calibration
from kerastune.cross_validation import Spread
from kerastune.dataset import DataReport, Dataset, read_dataset, report_data
from kerastune.errors import ConfigError, DataError, KerastuneError
from kerastune.evaluated_scores import METRICS, stored_scores
from kerastune.evaluating import assess
from kerastune.evaluation import read_answers, require_columns
from kerastune.json_files import read_object
from kerastune.report.content import Repeats, ReportContent, RunContent
from kerastune.report.history import read_history
from kerastune.run import ADAPTER, MANIFEST, Run
from kerastune.scoring import Scores
from kerastune.training_rows import require_known_labels, training_rows


def gather(
    folder: Path, file: Path, against: Path | None = None, *, columns: Sequence[str] = (), show: bool = True
) -> ReportContent:
    """Gather what a report says.

    A run's scores of the table are taken from its folder where `kerastune evaluate` left them; else the table
    is scored.

    Args:
        folder: The run's folder.
        file: The labelled table.
        against: Another run's folder, to stand beside the first.
        columns: Columns of the table whose values are slices.
        show: Whether to show progress.

    Raises:
        ConfigError: A folder is no run, both are the same, or the runs' labels differ.
        DataError: The table cannot be read, or holds no labels.
    """
    folders = [folder] if against is None else [folder, against]
    if against is not None and folder.resolve() == against.resolve():
        raise ConfigError(f"--against {against}: expected another run, received the same; choose two")
    runs = [Run.load(one) for one in folders]
    rows = read_dataset(file, runs[0].config.task)
    for run in runs[1:]:
        other = read_dataset(file, run.config.task)
        if other.task.labels != rows.task.labels:
            raise ConfigError(
                f"{run.folder}: its labels are {other.task.labels}, those of {folder} are "
                f"{rows.task.labels}; compare runs of one task"
            )
    require_columns(rows, columns)
    trains, notes = zip(*(training_rows(run) for run in runs), strict=True)
    for train in trains:
        if train is not None:
            require_known_labels(train, rows)
    scores = [_scores(one, rows, show) for one in folders]
    names = _names(runs)
    contents = []
    for place, (run, name) in enumerate(zip(runs, names, strict=True)):
        # The second run's baselines are the first's, unless it learnt from other rows.
        again = place > 0 and _hash(trains[place]) == _hash(trains[0])
        others = {} if place else dict(zip(names[1:], scores[1:], strict=True))
        evaluated = assess(
            scores[place],
            rows,
            None if again else trains[place],
            columns=columns,
            against=others,
            notes=notes[place],
        )
        adapter = run.folder / ADAPTER
        contents.append(
            RunContent(
                name=name,
                config=run.config,
                card=read_json(adapter / CARD),
                manifest={**run.provenance(), **_manifest(run)},
                history=read_history(run.folder),
                repeats=_repeats(run, rows),
                evaluated=evaluated,
                probabilities=scores[place].probabilities,
                uncalibrated=_uncalibrated(scores[place], run.calibration),
                predicted=read_answers(scores[place]),
                calibration=run.calibration,
            )
        )
    data = None if trains[0] is None else _data_report(runs[0], trains[0], rows)
    return ReportContent(rows=rows, runs=tuple(contents), data=data)


def _scores(folder: Path, rows: Dataset, show: bool) -> Scores:
    """A run's scores; its model, where it was needed, is gone before another's is loaded."""
    run = Run.load(folder)
    return stored_scores(run, rows) or run.score(rows, show=show)


def _repeats(run: Run, rows: Dataset) -> tuple[Repeats, ...]:
    """What `kerastune evaluate --folds` and `--seeds` left of these very rows, where they did."""
    try:
        entries = json.loads((run.folder / METRICS).read_text(encoding="utf-8")).values()
        entry = next(entry for entry in entries if entry["table"]["sha256"] == rows.sha256)
        folds, seeds, found = entry["folds"], entry["seeds"], []
        if folds:
            name = f"{folds['k']} folds of the training table"
            found += [Repeats(name, key, _spreads(spread)) for key, spread in folds["summary"].items()]
        if seeds:
            found.append(Repeats(f"{len(seeds['runs'])} seeds", "model", _spreads(seeds["summary"])))
    # None there, or of an earlier version: they are no more than a help.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return ()
    return tuple(found)


def _spreads(summary: Mapping[str, Any]) -> dict[str, Spread | None]:
    return {metric: spread and Spread(**spread) for metric, spread in summary.items()}


def _hash(rows: Dataset | None) -> str | None:
    return None if rows is None else rows.sha256


def _data_report(run: Run, train: Dataset, rows: Dataset) -> DataReport:
    """The data report, with lengths in tokens where the base model's tokenizer is at hand."""
    from kerastune.models import resolve_model
    from kerastune.session import data_report, make_encoder

    try:
        encoder = make_encoder(run.config, resolve_model(run.config.model.model))
    except KerastuneError:
        return report_data(train, rows)
    return data_report(encoder, train, rows)


def _uncalibrated(scores: Scores, calibration: Calibration | None) -> NDArray[np.float64] | None:
    """The probabilities before calibration: an affine map of log-probabilities can be taken back."""
    if calibration is None:
        return None
    raw = (scores.log_probabilities - np.asarray(calibration.bias)) / calibration.scale
    probabilities: NDArray[np.float64] = np.exp(raw - np.logaddexp.reduce(raw, axis=1, keepdims=True))
    return probabilities


def _names(runs: Sequence[Run]) -> list[str]:
    """The folders' names; with their parents' where those are alike."""
    names = [run.folder.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = ["/".join(run.folder.resolve().parts[-2:]) for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def _manifest(run: Run) -> dict[str, Any]:
    """The run's manifest; empty where there is none, as of a run that trained nothing."""
    path = run.folder / MANIFEST
    return read_object(path, DataError, "make the run anew, or delete it") if path.is_file() else {}
