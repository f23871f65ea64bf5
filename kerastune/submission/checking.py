"""Whether a file is a submission: the rows' ids and texts in their order, and labels of the task."""

import reprlib
from pathlib import Path

from kerastune.dataset.labels import LabelReader
from kerastune.dataset.reading import RawTable, load_bytes, parse_table
from kerastune.dataset.table import Dataset
from kerastune.errors import DataError
from kerastune.submission.form import Form, Format, submission_form
from kerastune.submission.rows import arranged, require_same_rows
from kerastune.task import is_integer


def check_submission(
    path: str | Path, dataset: Dataset, *, format: Format | None = None, sample: str | Path | None = None
) -> None:
    """See that a file is a submission for these rows.

    Args:
        path: The submission, ours or another's.
        dataset: The rows it should answer.
        format: What the file is; told by the sample, or else by its extension, when None.
        sample: The sample submission whose columns it should have; the task's when None.

    Raises:
        DataError: The file cannot be read, its columns are not those expected, ids are missing, extra or in
            another order, a text is not the row's, or a label is not the task's.
    """
    path, rows = Path(path), arranged(dataset)
    form = submission_form(path, rows, format=format, sample=sample)
    check_table(parse_table(load_bytes(path), path, form.extension), rows, form)


def check_table(table: RawTable, rows: Dataset, form: Form) -> None:
    """See that a table is a submission for these rows in this order, as `check_submission` does."""
    if tuple(table.columns) != form.columns:
        raise DataError(
            f"{table.name}: expected the columns {', '.join(form.columns)}, "
            f"received {', '.join(table.columns)}"
        )
    require_same_rows(table, rows, way_out="write a row for each row of the input")
    task = rows.task
    reader, integer = LabelReader(task), task.submission.label_type == "integer"
    allowed = ", ".join(map(str, task.labels)) if integer else reader.allowed
    for row, cell in enumerate(map(str, table.columns[task.label_column])):
        if reader.index(cell) is None or (integer and not is_integer(cell)):
            raise DataError(
                f"{table.where(row)}, column {task.label_column!r}: expected one of {allowed}, "
                f"received {reprlib.repr(cell)}"
            )
