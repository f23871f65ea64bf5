"""Scores read back from a file, strictly: what is averaged or compared must be what it says."""

import reprlib
from math import isfinite
from pathlib import Path

import numpy as np

from kerastune.dataset.reading import RawTable, load_bytes, parse_table
from kerastune.errors import DataError
from kerastune.scoring import Scores, score_columns
from kerastune.task import Task, get_task

_TOLERANCE = 1e-6


def load_scores(path: str | Path, task: str | Task = "review-sentiment") -> Scores:
    """Read a scores file, as `Scores.save` writes it.

    Args:
        path: The file.
        task: The task, whose labels the columns are of, in its order.

    Returns:
        The scores; labels read out of generated text and tuned thresholds are not in the file.

    Raises:
        DataError: The file cannot be read, its columns are not the task's, an id is empty or there twice, a
            number is none or not finite, or a row's probabilities do not sum to one within 1e-6; the message
            names line and column.
    """
    task, path = get_task(task), Path(path)
    table = parse_table(load_bytes(path), path)
    columns = score_columns(task.labels)
    expected = ["id", *columns]
    if list(table.columns) != expected:
        raise DataError(
            f"{path}: expected the columns {', '.join(expected)} of a scores file of {task.name!r}, "
            f"received {', '.join(table.columns)}; write it with kerastune score"
        )
    if not table.lines:
        raise DataError(f"{path}: column names, but no rows; expected one row at least")
    ids = [str(cell) for cell in table.columns["id"]]
    _require_distinct(ids, table)
    numbers = [[_number(table, row, column) for column in columns] for row in range(len(ids))]
    log_probabilities = np.array(numbers, np.float64)
    sums = np.exp(log_probabilities).sum(axis=1)
    for row in np.flatnonzero(~(abs(sums - 1) <= _TOLERANCE)).tolist():
        raise DataError(
            f"{table.where(row)}, columns {columns[0]} to {columns[-1]}: expected log-probabilities that sum "
            f"to one as probabilities, received a sum of {sums[row]:.6g}; write the file with kerastune score"
        )
    return Scores(tuple(ids), task.labels, log_probabilities)


def _require_distinct(ids: list[str], table: RawTable) -> None:
    seen: dict[str, int] = {}
    for row, name in enumerate(ids):
        if not name:
            raise DataError(f"{table.where(row)}, column 'id': empty; write the row's id")
        if name in seen:
            raise DataError(
                f"{table.where(row)}, column 'id': the id {reprlib.repr(name)} is already that of "
                f"{table.unit} {table.lines[seen[name]]}; ids must differ"
            )
        seen[name] = row


def _number(table: RawTable, row: int, column: str) -> float:
    cell = str(table.columns[column][row])
    try:
        number = float(cell)
    except ValueError:
        number = float("nan")
    # Python takes 1_0 for 10.
    if not isfinite(number) or "_" in cell:
        raise DataError(
            f"{table.where(row)}, column {column!r}: expected a finite number, received {reprlib.repr(cell)}"
        )
    return number
