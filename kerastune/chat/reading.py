"""Rows of dialogues, read from JSON Lines or another table, each refused with its place and the reason."""

import hashlib
import json
import numbers
import reprlib
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from kerastune.chat.messages import Dialogue
from kerastune.dataset.decoding import decode
from kerastune.dataset.reading import load_bytes, parse_table
from kerastune.dataset.text_formats import json_object, numbered_lines
from kerastune.errors import DataError
from kerastune.text_task import TextTask, get_text_task

Row = Mapping[str, Any]
ValueT = TypeVar("ValueT")
_JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True, eq=False, kw_only=True)
class TextRows(Generic[ValueT]):
    """Rows of a task whose answers are texts.

    Args:
        values: What each row says.
        ids: A name for each row: the id column, or `"1"` to `"N"` where the table has none.
        name: What messages call the table.
        sha256: Hash of the file's bytes.
        lines: Where each row is in the source, from 1.
        unit: What `lines` counts, `"line"` or `"row"`.
        nfc_rows: How many rows were brought into NFC.
        left: What was left out: the place and the reason, a line each.
        skip_bad_rows: Whether rows that cannot be used are left out and not refused, here and later.
    """

    values: tuple[ValueT, ...]
    ids: tuple[str, ...]
    name: str
    sha256: str
    lines: tuple[int, ...]
    unit: str = "line"
    nfc_rows: int = 0
    left: tuple[str, ...] = ()
    skip_bad_rows: bool = False

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.values)

    def where(self, row: int) -> str:
        """Name a row (from 0) by its place in the source, as in `"chat.jsonl, line 2"`."""
        return f"{self.name}, {self.unit} {self.lines[row]}"

    def take(self, indices: Sequence[int]) -> Self:
        """Return the rows of these indices, in this order."""
        return replace(
            self,
            values=tuple(self.values[index] for index in indices),
            ids=tuple(self.ids[index] for index in indices),
            lines=tuple(self.lines[index] for index in indices),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Dialogues(TextRows[Dialogue]):
    """Dialogues, in each of which the assistant has the last word.

    Args:
        task: The task.
    """

    task: TextTask

    @property
    def dialogues(self) -> tuple[Dialogue, ...]:
        """A dialogue a row."""
        return self.values


def read_dialogues(
    source: str | Path, task: str | TextTask = "chat", *, skip_bad_rows: bool = False
) -> Dialogues:
    """Read a table of dialogues: JSON Lines, or fields in TSV, CSV or Parquet.

    Args:
        source: The file.
        task: A task whose answers are texts, or its name.
        skip_bad_rows: Whether rows that are no dialogue of the task are left out, and listed, in place of
            being refused.

    Raises:
        DataError: The table cannot be read; or a row cannot be used: the message names file, line, reason
            and the way out.
        TemplateError: There is no such task.
    """
    task = get_text_task(task)

    def dialogue_of(row: Row) -> Dialogue:
        dialogue = task.dialogue(row)
        dialogue.require_answer()
        return dialogue

    found = read_text_rows(
        Path(source), dialogue_of, "dialogue", id_column=task.id_column, skip_bad_rows=skip_bad_rows
    )
    return Dialogues(task=task, **vars(found))


def read_text_rows(
    path: Path, value_of: Callable[[Row], ValueT], what: str, *, id_column: str, skip_bad_rows: bool
) -> TextRows[ValueT]:
    """Read a table whose rows may differ in their columns.

    Args:
        path: The file.
        value_of: Makes of a row what it says; a `DataError` of its need not name the row.
        what: What a row is called.
        id_column: The column that names a row.
        skip_bad_rows: Whether rows that cannot be used are left out, and listed.

    Raises:
        DataError: The table cannot be read, a row cannot be used, or none is left.
    """
    payload = load_bytes(path)
    values: dict[str, ValueT] = {}
    lines: list[int] = []
    left: list[str] = []
    changed = 0
    unit, rows = _rows(payload, path)
    for number, (line, row) in enumerate(rows, start=1):
        try:
            name, value = _read(row, f"{path}, {unit} {line}", value_of, id_column, number, values)
        except DataError as error:
            if not skip_bad_rows:
                raise DataError(f"{error}; --skip-bad-rows leaves such rows out") from error
            left.append(str(error))
            continue
        values[name] = value
        lines.append(line)
        changed += not unicodedata.is_normalized("NFC", json.dumps(row, ensure_ascii=False, default=str))
    if not values:
        raise DataError(
            f"{path}: expected one {what} at least, received none"
            + (f"; {len(left)} rows were left out, the first: {left[0]}" if left else "; write some rows")
        )
    return TextRows(
        values=tuple(values.values()),
        ids=tuple(values),
        name=str(path),
        sha256=hashlib.sha256(payload).hexdigest(),
        lines=tuple(lines),
        unit=unit,
        nfc_rows=changed,
        left=tuple(left),
        skip_bad_rows=skip_bad_rows,
    )


def _rows(payload: bytes, path: Path) -> tuple[str, Iterable[tuple[int, Row | DataError]]]:
    """What the rows' numbers count, and each number with its row, or with what is wrong with it."""
    if path.suffix.lower() in _JSON_LINES:
        return "line", _json_rows(payload, path)
    table = parse_table(payload, path)
    cells = zip(*table.columns.values(), strict=True)
    rows = (dict(zip(table.columns, row, strict=True)) for row in cells)
    return table.unit, zip(table.lines, rows, strict=True)


def _json_rows(payload: bytes, path: Path) -> Iterator[tuple[int, Row | DataError]]:
    # Not as the tables of labelled rows are read: rows of dialogues may differ in their keys.
    text, _ = decode(payload, str(path))
    for line, content in numbered_lines(text):
        try:
            yield line, json_object(content, f"{path}, line {line}")
        except DataError as error:
            yield line, error


def _read(
    row: Row | DataError,
    where: str,
    value_of: Callable[[Row], ValueT],
    id_column: str,
    number: int,
    taken: Container[str],
) -> tuple[str, ValueT]:
    """A row's id and what it says, or what is wrong with it and where."""
    if isinstance(row, DataError):
        raise row
    try:
        name, value = _row_id(row, id_column, number), value_of(row)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    if name in taken:
        raise DataError(
            f"{where}: the id {reprlib.repr(name)} is already that of another row; ids must differ"
        )
    return name, value


def _row_id(row: Row, column: str, number: int) -> str:
    if column not in row:
        return str(number)
    name = row[column]
    if not isinstance(name, str | numbers.Integral) or isinstance(name, bool) or name == "":
        raise DataError(f"{column!r}: expected text or a whole number as id, received {reprlib.repr(name)}")
    return str(name)
