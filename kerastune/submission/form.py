"""What a submission must look like: its columns and format, from the task or from a sample submission."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from kerastune.dataset.reading import RawTable, load_bytes, parse_table
from kerastune.dataset.table import Dataset
from kerastune.errors import ConfigError, DataError, OutputError
from kerastune.submission.rows import require_same_rows

Format = Literal["tsv", "csv"]

_FORMATS: dict[str, Format] = {".tsv": "tsv", ".txt": "tsv", ".csv": "csv"}


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a submission must look like.

    Args:
        columns: The columns, in order.
        format: `"tsv"` (tabs, no quoting) or `"csv"` (RFC 4180).
        sample: The sample submission that says so, if one does.
        sample_sha256: Hash of the sample's bytes.
    """

    columns: tuple[str, ...]
    format: Format
    sample: Path | None = None
    sample_sha256: str | None = None

    @property
    def extension(self) -> str:
        """The extension by which tables of this format are read."""
        return f".{self.format}"


def submission_form(
    path: Path | None,
    rows: Dataset,
    *,
    format: Format | None = None,
    sample: str | Path | None = None,
) -> Form:
    """Find out what a submission must look like, and see that the sample goes with the rows.

    The format is the one that is asked for, else the sample's, else that of the file's extension. The columns
    are the sample's where there is one, else the task's.

    Args:
        path: The submission; None where its name is still to be chosen.
        rows: The rows, in the order of the submission.
        format: The format, over any extension.
        sample: A sample submission; the labels in it are not looked at.

    Raises:
        ConfigError: There is no such format.
        DataError: The input lacks a column, or the sample has other rows than the input, in another order or
            with other texts, or a column that the input does not have, or it has no header.
        OutputError: The file's extension is none of those known, or is not that of the sample's format.
    """
    if format not in (None, "tsv", "csv"):
        raise ConfigError(f"format: expected 'tsv' or 'csv', received {format!r}")
    if sample is None:
        columns = rows.task.submission_columns
        for column in columns:
            if column not in _known(rows):
                raise DataError(
                    f"{rows.name}: no column {column!r}, which a submission of {rows.task.name!r} has; "
                    f"there are: {', '.join(rows.frame.columns)}"
                )
        return Form(columns=columns, format=format or _of_extension(path) or _otherwise(path))
    sample = Path(sample)
    said = _of_extension(sample)
    if said is None:
        raise DataError(f"{sample}: expected a sample that ends in .tsv, .txt or .csv; rename it")
    named = _of_extension(path)
    if format is None and named not in (None, said):
        raise OutputError(
            f"{path}: its name says {named}, the sample {sample} is {said}; choose another --out, or say "
            "--format"
        )
    table = parse_table(load_bytes(sample), sample)
    _check_sample(table, rows)
    return Form(
        columns=tuple(table.columns), format=format or said, sample=sample, sample_sha256=table.sha256
    )


def default_submission_name(now: datetime, format: Format = "tsv") -> str:
    """Name a submission by its date and time.

    Example:
        >>> default_submission_name(datetime(2024, 4, 8, 1, 53, 12))
        'tarr_my_submit_20240408_015312.txt'
    """
    return f"tarr_my_submit_{now:%Y%m%d_%H%M%S}.{'txt' if format == 'tsv' else format}"


def _check_sample(table: RawTable, rows: Dataset) -> None:
    task = rows.task
    for column in (task.id_column, task.label_column):
        if column not in table.columns:
            if set(table.columns) & set(rows.ids):
                raise DataError(
                    f"{table.name}: begins with a row, not with column names; write "
                    f"{', '.join(task.submission_columns)} above it"
                )
            raise DataError(
                f"{table.name}: the sample has no column {column!r}, which a submission of {task.name!r} "
                f"needs; it has: {', '.join(map(repr, table.columns))}"
            )
    way_out = "give the sample that goes with this input"
    for column in table.columns:
        if column not in _known(rows):
            raise DataError(
                f"{table.name}: the sample has the column {column!r}, which {rows.name} does not have; "
                f"{way_out}"
            )
    require_same_rows(table, rows, way_out=way_out)


def _known(rows: Dataset) -> set[str]:
    """The columns that a submission of these rows can have."""
    return {rows.task.id_column, rows.task.label_column, *rows.frame.columns}


def _of_extension(path: Path | None) -> Format | None:
    return None if path is None else _FORMATS.get(path.suffix.lower())


def _otherwise(path: Path | None) -> Format:
    if path is None:
        return "tsv"
    raise OutputError(
        f"{path}: expected a name that ends in .tsv, .txt or .csv; choose another --out, or say --format"
    )
