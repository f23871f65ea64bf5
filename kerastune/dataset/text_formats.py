"""TSV, CSV and JSON Lines: text to records, each with the line on which it begins.

Only LF and CRLF end a line: U+2028, U+0085 and a vertical tab are characters of a comment.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kerastune.errors import DataError


class Record(NamedTuple):
    """A row's cells and the line, from 1, on which it begins."""

    line: int
    cells: list[object]


class Records(NamedTuple):
    """Column names as found, and the rows, each with as many cells as there are names."""

    header: list[str]
    rows: list[Record]


def parse_tsv(text: str, name: str) -> Records:
    """Split tab-separated text; a quotation mark is a character like any other.

    Raises:
        DataError: There is no header, a line is blank, or it has too many or too few columns.

    Example:
        >>> parse_tsv('id\\tcomment\\n1\\t"NA', "reviews.tsv").rows
        [Record(line=2, cells=['1', '"NA'])]
    """
    lines = numbered_lines(text)
    return _rectangle([Record(number, [*line.split("\t")]) for number, line in lines], name)


def parse_csv(text: str, name: str) -> Records:
    """Split comma-separated text with RFC 4180 quoting: a quoted cell may hold commas and line breaks.

    Raises:
        DataError: A quotation mark is out of place or not closed, or as for `parse_tsv`.
    """
    rows: list[Record] = []
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True)
    # The module's limit of 131,072 characters a cell is global: lift it for this text alone.
    limit = csv.field_size_limit(len(text) + 1)
    begin = 1
    try:
        for cells in reader:
            rows.append(Record(begin, [*cells]))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name}, line {begin}: not CSV: {error}; see to the quotation marks there"
        ) from error
    finally:
        csv.field_size_limit(limit)
    while rows and not any(str(cell).strip() for cell in rows[-1].cells):
        rows.pop()
    return _rectangle(rows, name)


def parse_jsonl(text: str, name: str) -> Records:
    """Read one JSON object a line; the first object's keys are the columns of all.

    Raises:
        DataError: A line is no JSON object, or its keys are doubled or not those of the first.
    """
    header: list[str] = []
    rows: list[Record] = []
    for number, line in numbered_lines(text):
        pairs = json_object(line, f"{name}, line {number}")
        header = header or list(pairs)
        if pairs.keys() != set(header):
            raise DataError(
                f"{name}, line {number}: expected the keys {', '.join(header)}, "
                f"received {', '.join(pairs) or 'none'}; give every object the same keys"
            )
        rows.append(Record(number, [pairs[key] for key in header]))
    return Records(header, rows)


TEXT_FORMATS: Mapping[str, Callable[[str, str], Records]] = {
    ".tsv": parse_tsv,
    ".txt": parse_tsv,
    ".csv": parse_csv,
    ".jsonl": parse_jsonl,
    ".ndjson": parse_jsonl,
}


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """Number a text's lines from 1; blank ones at the end are not lines of the table."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return list(enumerate(lines, start=1))


def _rectangle(rows: list[Record], name: str) -> Records:
    """Take the header off and hold every row to its width."""
    if not rows:
        return Records([], [])
    header = [str(cell) for cell in rows[0].cells]
    for line, cells in rows:
        if not any(str(cell).strip() for cell in cells):
            raise DataError(f"{name}, line {line}: a blank line inside the table; delete it")
        if len(cells) != len(header):
            raise DataError(
                f"{name}, line {line}: expected {len(header)} columns ({', '.join(header)}), received "
                f"{len(cells)}; look there for a separator or a line break inside a cell"
            )
    return Records(header, rows[1:])


def json_object(line: str, where: str) -> dict[str, object]:
    """Read a line that is a JSON object.

    Args:
        line: The line.
        where: How messages name its place.

    Raises:
        DataError: It is none, or has a key twice.
    """
    if not line.strip():
        raise DataError(f"{where}: a blank line inside the table; delete it")

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) != len(keys):
            double = next(key for key in keys if keys.count(key) > 1)
            raise DataError(f"{where}: the key {double!r} is there twice; keep one")
        return dict(pairs)

    try:
        value = json.loads(line, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}, column {error.colno}: not JSON: {error.msg}; mend the line") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON that can be read: {error}; mend the line") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, received {type(value).__name__}; write {{...}}")
    return value
