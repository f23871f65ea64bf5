"""What `evaluate` writes into a run's folder: the metrics, and every row's label and scores."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastune.atomic import write_text
from kerastune.dataset import Dataset
from kerastune.dataset.reading import RawTable, load_bytes, parse_table
from kerastune.dataset.splits import read_labels
from kerastune.errors import DataError
from kerastune.evaluation import INVALID, read_answers
from kerastune.json_files import json_text
from kerastune.run import Run
from kerastune.scoring import Scores, score_columns
from kerastune.task import Label, Task, get_task

#: The file with every number of the latest evaluation, see `kerastune.evaluating`.
METRICS = "metrics.json"


@dataclass(frozen=True, eq=False)
class EvaluatedRows:
    """A labelled table's rows as a run scored them.

    Args:
        scores: Their scores.
        labels: `[N]`, the true labels' indices.
        predicted: `[N]`, the predicted labels' indices, -1 where generated text was no label.
    """

    scores: Scores
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]


def scores_name(table: str) -> str:
    """The name of the file with a table's rows.

    Example:
        >>> scores_name("test")
        'evaluated_test.tsv'
    """
    return f"evaluated_{table}.tsv"


def save_evaluated(path: Path, scores: Scores, rows: Dataset) -> None:
    """Write a TSV: id, label, the predicted label, and one log-probability (natural, in nats) for each label.

    Where labels were read out of generated text, the third column is `generated` in place of `predicted`, and
    empty where the text was no label. Where a tuned threshold decides, further columns hold what it adds to
    each label's log-probability.

    Args:
        path: The file.
        scores: The rows' scores.
        rows: The rows, with their labels.

    Raises:
        DataError: The labels were not read.
        OutputError: The file cannot be written.
    """
    names = [str(label) for label in scores.labels]
    header = ["id", "label", _answer_column(scores.generated is not None), *score_columns(scores.labels)]
    offsets: list[str] = []
    if scores.decision_offsets is not None:
        header += _offset_columns(scores.labels)
        offsets = [repr(float(value)) for value in scores.decision_offsets]
    numbers_of = scores.log_probabilities.tolist()
    lines = [
        [name, names[label], "" if answer == INVALID else names[answer], *map(repr, numbers), *offsets]
        for name, label, answer, numbers in zip(
            scores.ids, read_labels(rows), read_answers(scores), numbers_of, strict=True
        )
    ]
    write_text(path, "".join("\t".join(line) + "\n" for line in [header, *lines]))


def write_metrics(folder: Path, tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Write `metrics.json`, wholly or not at all.

    Args:
        folder: The run's folder.
        tables: A table's name -> the results on it, in the types of JSON.

    Raises:
        OutputError: The file cannot be written.
        ValueError: A number is not finite.
    """
    write_text(folder / METRICS, json_text(tables, allow_nan=False))


def read_evaluated(path: Path, task: str | Task) -> EvaluatedRows:
    """Read what `save_evaluated` wrote.

    Args:
        path: The file.
        task: The task that the rows are of.

    Raises:
        DataError: The file cannot be read, or is damaged or of another task.
    """
    task = get_task(task)
    table = parse_table(load_bytes(path), path)
    generated = _answer_column(True) in table.columns
    columns, offset_columns = score_columns(task.labels), _offset_columns(task.labels)
    offset_columns = offset_columns if offset_columns[0] in table.columns else []
    header = ["id", "label", _answer_column(generated), *columns, *offset_columns]
    if list(table.columns) != header or not table.lines:
        raise DataError(
            f"{path}: expected rows with the columns {', '.join(header)}, received "
            f"{len(table.lines)} rows with {', '.join(table.columns)}; run kerastune evaluate again"
        )
    places = {str(label): place for place, label in enumerate(task.labels)}
    answers = places | ({"": INVALID} if generated else {})
    try:
        log_probabilities = _numbers(table, columns)
        labels = np.array([places[str(cell)] for cell in table.columns["label"]], np.int64)
        predicted = np.array([answers[str(cell)] for cell in table.columns[header[2]]], np.int64)
        offsets = _numbers(table, offset_columns)[0] if offset_columns else None
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: damaged: {error} is out of place; run kerastune evaluate again") from error
    ids = tuple(map(str, table.columns["id"]))
    scores = Scores(ids, task.labels, log_probabilities, predicted if generated else None, offsets)
    return EvaluatedRows(scores, labels, predicted)


def describe_table(run: Run, rows: Dataset, file: str) -> dict[str, Any]:
    """Describe a table for `metrics.json`: which rows, what scored them, and the file with their scores.

    Args:
        run: The run that scored.
        rows: The table.
        file: The name of the file with the rows, beside `metrics.json`.
    """
    return {
        "source": None if rows.source is None else str(rows.source.resolve()),
        "sha256": rows.sha256,
        "rows": len(rows),
        "labels": list(rows.task.labels),
        "scores": file,
        "scored_by": _scored_by(run),
    }


def stored_scores(run: Run, rows: Dataset) -> Scores | None:
    """Find the scores that `evaluate` left of exactly these rows by exactly this run.

    Args:
        run: The run, with the options that it would score with.
        rows: The rows, read from a file.

    Returns:
        The scores; None where there are none, or where they cannot be read.
    """
    try:
        entries = json.loads((run.folder / METRICS).read_text(encoding="utf-8"))
        tables = [entry["table"] for entry in entries.values()]
        names = [
            table["scores"]
            for table in tables
            if rows.sha256 is not None
            and table["sha256"] == rows.sha256
            and table["scored_by"] == _scored_by(run)
        ]
        found = [read_evaluated(run.folder / name, run.config.task).scores for name in names]
    # Of another version, or damaged. They only save time: the rows are scored again.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        return None
    return next((scores for scores in found if scores.ids == rows.ids), None)


def require_same_rows(scores: Scores, rows: Dataset, name: str) -> None:
    """Require that scores are of these rows, in this order, and of their labels.

    Args:
        scores: The scores.
        rows: The rows.
        name: What the message calls the scores.

    Raises:
        DataError: They are of others; the first row that differs is named.
    """
    if scores.labels != rows.task.labels:
        raise DataError(
            f"{name}: expected scores of the labels {rows.task.labels} of {rows.task.name!r}, received "
            f"{scores.labels}; score that table with both runs"
        )
    if len(scores.ids) != len(rows):
        raise DataError(
            f"{name}: expected scores of the {len(rows)} rows of {rows.name}, received "
            f"{len(scores.ids)} rows; score that table with both runs"
        )
    for row, (received, expected) in enumerate(zip(scores.ids, rows.ids, strict=True)):
        if received != expected:
            raise DataError(
                f"{name}, row {row + 1}: expected the id {expected!r} of {rows.name}, received {received!r}; "
                "score that table with both runs"
            )


def _scored_by(run: Run) -> dict[str, Any]:
    made_of, model = run.provenance(), asdict(run.config.model)
    return {
        "base": made_of["base_fingerprint"],
        "adapter": made_of["adapter_sha256"],
        "calibration": made_of.get("calibration_sha256"),
        "mode": run.config.score.mode,
        **{name: model[name] for name in ("stack", "backend", "dtype")},
    }


def _answer_column(generated: bool) -> str:
    return "generated" if generated else "predicted"


def _offset_columns(labels: Sequence[Label]) -> list[str]:
    return [f"decision_offset_{label}" for label in labels]


def _numbers(table: RawTable, columns: list[str]) -> NDArray[np.float64]:
    numbers = np.array([[float(str(cell)) for cell in table.columns[column]] for column in columns]).T
    if not np.isfinite(numbers).all():
        raise ValueError("a number that is not finite")
    return numbers
