"""The dataset: a task's rows, checked once where they come in."""

import difflib
import json
import numbers
import re
import reprlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kerastune.dataset.labels import LabelReader
from kerastune.dataset.reading import RawTable, frame_table, load_bytes, parse_table
from kerastune.dataset.splits import Indices, stratified_folds, stratified_split
from kerastune.errors import DataError
from kerastune.task import Task, get_task

# Neither is text: a NUL ends strings in other programs, and a lone surrogate cannot be written as UTF-8.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Dataset:
    """Rows of a task, read safely: nothing lost, nothing guessed.

    Args:
        task: What is asked about a row.
        frame: Every column of the input as text, in order, with a RangeIndex. Text is in NFC; ids are as
            they came.
        ids: A name for each row: the id column, or `"1"` to `"N"` where the table has none.
        ids_generated: Whether the ids are such numbers.
        labels: int64 `[N]`, indices into `task.labels`; None where labels were not read.
        name: What messages call the table.
        source: The file; None for a frame.
        sha256: Hash of the file's bytes; None for a frame.
        lines: Where each row begins in the source, from 1.
        unit: What `lines` counts, `"line"` or `"row"`.
        encoding: The text's encoding, `"parquet"`, or `"str"` for a frame.
        nfc_changed: bool `[N]`: the rows that were not in NFC.
    """

    task: Task
    frame: pd.DataFrame
    ids: tuple[str, ...]
    ids_generated: bool
    labels: Indices | None
    name: str
    source: Path | None
    sha256: str | None
    lines: tuple[int, ...]
    unit: str
    encoding: str
    nfc_changed: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    def __repr__(self) -> str:
        """Say what it is in a line; the rows are in `frame`."""
        return f"Dataset({self.name!r}, task={self.task.name!r}, rows={len(self)})"

    @property
    def nfc_rows(self) -> int:
        """How many rows were not in NFC."""
        return int(self.nfc_changed.sum())

    @property
    def texts(self) -> tuple[str, ...]:
        """Each row's fields, a line each where there are several."""
        return tuple("\n".join(row.values()) for row in self.rows())

    def rows(self) -> Iterator[Mapping[str, str]]:
        """Yield each row's fields: column name -> text."""
        fields = self.task.fields
        for cells in zip(*(self.frame[field] for field in fields), strict=True):
            yield dict(zip(fields, cells, strict=True))

    def where(self, row: int) -> str:
        """Name a row (from 0) by its place in the source, as in `"reviews.tsv, line 2"`."""
        return f"{self.name}, {self.unit} {self.lines[row]}"

    def take(self, indices: Sequence[int] | Indices) -> "Dataset":
        """Return the rows of these indices, in this order."""
        places = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            frame=self.frame.iloc[places].reset_index(drop=True),
            ids=tuple(self.ids[place] for place in places),
            labels=None if self.labels is None else self.labels[places],
            lines=tuple(self.lines[place] for place in places),
            nfc_changed=self.nfc_changed[places],
        )

    def split(self, fraction: float = 0.1, seed: int = 0) -> tuple["Dataset", "Dataset"]:
        """Split into (train, validation), `fraction` of each label's rows to the second.

        Raises:
            ConfigError: `fraction` is not between 0 and 1.
            DataError: A label has one row only, or the labels were not read.
        """
        kept, held_out = stratified_split(self, fraction, seed)
        return self.take(kept), self.take(held_out)

    def folds(self, k: int = 5, seed: int = 0) -> Iterator[tuple["Dataset", "Dataset"]]:
        """Yield k pairs (train, validation); every row is in one validation part.

        Raises:
            ConfigError: `k` is less than 2.
            DataError: A label has fewer than k rows, or the labels were not read.
        """
        for kept, held_out in stratified_folds(self, k, seed):
            yield self.take(kept), self.take(held_out)


def read_dataset(
    source: str | Path | pd.DataFrame, task: str | Task = "review-sentiment", *, labelled: bool = True
) -> Dataset:
    """Read a table for a task: as many rows as it has, or an error that names the place.

    TSV (`.tsv`, `.txt`: no quoting), CSV (RFC 4180), JSON Lines and Parquet are told by extension; text
    may be UTF-8 (with or without a mark), UTF-16 with its mark, or cp949. "NA" and "None" are text.

    Args:
        source: A file, or a pandas frame.
        task: A task or its name.
        labelled: Whether to require the label column and parse it. A test table, or one whose labels are
            a competition's placeholders, is read with False.

    Raises:
        DataError: The table cannot be read as it is: the message names file, line, column and the way out.
        TemplateError: There is no task of that name.
        MissingExtraError: It is a Parquet file and pyarrow is not installed.

    Example:
        >>> frame = pd.DataFrame({"id": [7], "comment": ["또 올게요"], "label": [1]})
        >>> data = read_dataset(frame)
        >>> data.ids, data.labels.tolist(), list(data.rows())
        (('7',), [1], [{'comment': '또 올게요'}])
    """
    if isinstance(source, pd.DataFrame):
        return build_dataset(frame_table(source), None, get_task(task), labelled=labelled)
    path = Path(source)
    return build_dataset(parse_table(load_bytes(path), path), path, get_task(task), labelled=labelled)


def build_dataset(table: RawTable, source: Path | None, task: Task, *, labelled: bool = True) -> Dataset:
    """Check a table against its task; see `read_dataset`."""
    _require_columns(table, [*task.fields, *([task.label_column] if labelled else [])])
    if not table.lines:
        raise DataError(f"{table.name}: column names, but no rows; expected one row at least")
    ids = _ids(table, task.id_column)
    changed = np.zeros(len(table.lines), dtype=np.bool_)
    columns: dict[str, list[str]] = {}
    for column, cells in table.columns.items():
        if column == task.id_column:
            columns[column] = list(ids)
            continue
        must_be_text = column in task.fields
        found = [_text(table, row, column, cell, must_be_text) for row, cell in enumerate(cells)]
        columns[column] = [unicodedata.normalize("NFC", text) for text in found]
        changed |= [text != before for text, before in zip(columns[column], found, strict=True)]
    return Dataset(
        task=task,
        # dtype object: pandas keeps the very strings, whichever string type is its default
        frame=pd.DataFrame(columns, dtype=object),
        ids=ids,
        ids_generated=task.id_column not in table.columns,
        labels=_labels(table, columns, task) if labelled else None,
        name=table.name,
        source=source,
        sha256=table.sha256,
        lines=table.lines,
        unit=table.unit,
        encoding=table.encoding,
        nfc_changed=changed,
    )


def _require_columns(table: RawTable, expected: list[str]) -> None:
    for column in expected:
        if column not in table.columns:
            near = difflib.get_close_matches(column, table.columns, n=1)
            raise DataError(
                f"{table.name}: no column {column!r}; there are: {', '.join(map(repr, table.columns))}; "
                + (f"is it {near[0]!r}? Rename it" if near else "rename one, or choose another task")
            )


def _ids(table: RawTable, column: str) -> tuple[str, ...]:
    if column not in table.columns:
        for near in table.columns:
            if near.strip(" \ufeff").casefold() == column.casefold():
                raise DataError(
                    f"{table.name}: column {near!r} is not quite the id column {column!r}; rename it"
                )
        return tuple(str(number) for number in range(1, len(table.lines) + 1))
    first_rows: dict[str, int] = {}
    for row, cell in enumerate(table.columns[column]):
        if not isinstance(cell, str | numbers.Integral) or isinstance(cell, bool) or cell == "":
            raise DataError(
                f"{table.where(row)}, column {column!r}: expected text or a whole number as id, "
                f"received {_kind(cell)}"
            )
        name = _text(table, row, column, cell, must_be_text=False)
        if name in first_rows:
            raise DataError(
                f"{table.where(row)}, column {column!r}: the id {reprlib.repr(name)} is already that of "
                f"{table.unit} {table.lines[first_rows[name]]}; ids must differ"
            )
        first_rows[name] = row
    return tuple(first_rows)


def _text(table: RawTable, row: int, column: str, cell: object, must_be_text: bool) -> str:
    if must_be_text and not isinstance(cell, str):
        raise DataError(
            f"{table.where(row)}, column {column!r}: expected text, received {_kind(cell)}; "
            "write it as text, or drop the row"
        )
    text = _plain(cell)
    if must_be_text and not text.strip():
        raise DataError(f"{table.where(row)}, column {column!r}: empty; write a text, or drop the row")
    if (odd := _NO_TEXT.search(text)) is not None:
        raise DataError(
            f"{table.where(row)}, column {column!r}: character {odd.start() + 1} is {odd[0]!a}, "
            "which is no text; take it out"
        )
    return text


def _labels(table: RawTable, columns: Mapping[str, list[str]], task: Task) -> Indices:
    reader = LabelReader(task)
    labels = np.empty(len(table.lines), dtype=np.int64)
    for row, text in enumerate(columns[task.label_column]):
        place = reader.index(text)
        if place is None:
            received = _kind(table.columns[task.label_column][row])
            raise DataError(
                f"{table.where(row)}, column {task.label_column!r}: expected one of {reader.allowed}, "
                f"received {received}"
            )
        labels[row] = place
    return labels


def _missing(cell: Any) -> bool:
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def _plain(cell: object) -> str:
    """Say a cell of any format as text; whole numbers stay whole."""
    if isinstance(cell, str):
        return str(cell)
    if _missing(cell):
        return ""
    if isinstance(cell, dict | list):
        return json.dumps(cell, ensure_ascii=False, default=str)
    return str(cell)


def _kind(cell: object) -> str:
    """Say what was received, shortly: a value and, where it is no text, its type."""
    if _missing(cell):
        return "a missing value"
    if isinstance(cell, str):
        return reprlib.repr(cell) if cell else "an empty cell"
    return f"{reprlib.repr(cell)} ({type(cell).__name__})"
