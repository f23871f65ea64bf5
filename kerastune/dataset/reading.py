"""A file or a frame to columns of cells as they were found: as many rows as there were."""

import difflib
import hashlib
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kerastune.dataset.decoding import decode
from kerastune.dataset.text_formats import TEXT_FORMATS
from kerastune.errors import DataError
from kerastune.extras import require


@dataclass(frozen=True, eq=False)
class RawTable:
    """A table as it was found; its cells have their format's types, which is text for TSV and CSV.

    Args:
        name: What messages call the table.
        columns: Column name (NFC) -> its cells, in the table's order.
        lines: Where each row begins: file lines from 1, or row numbers from 1.
        unit: What `lines` counts, `"line"` or `"row"`.
        encoding: The text's encoding, `"parquet"`, or `"str"` for a frame.
        sha256: Hash of the file's bytes; None for a frame.
    """

    name: str
    columns: dict[str, list[object]]
    lines: tuple[int, ...]
    unit: str
    encoding: str
    sha256: str | None

    def where(self, row: int) -> str:
        """Name a row (from 0) by its place in the source."""
        return f"{self.name}, {self.unit} {self.lines[row]}"


def load_bytes(path: Path) -> bytes:
    """Read a table's file whole.

    Raises:
        DataError: There is no such file (near names are suggested), or it is a folder or unreadable.
    """
    if path.is_dir():
        raise DataError(f"{path}: expected a file, received a folder; name the table inside it")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {_way_to(path)}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; see to its permissions") from error


def parse_table(payload: bytes, path: Path, extension: str | None = None) -> RawTable:
    """Parse a file's bytes.

    Args:
        payload: The bytes.
        path: The file's path, its name in messages.
        extension: The extension of the format, such as `".csv"`; the path's own when None.

    Raises:
        DataError: The extension is unknown, or the bytes are not a whole table of that format.
        MissingExtraError: It is a Parquet file and pyarrow is not installed.
    """
    extension, name = (path.suffix if extension is None else extension).lower(), str(path)
    digest = hashlib.sha256(payload).hexdigest()
    if extension == ".parquet":
        return _parse_parquet(payload, name, digest)
    if extension not in TEXT_FORMATS:
        raise DataError(
            f"{name}: expected a file that ends in {', '.join([*TEXT_FORMATS, '.parquet'])}, "
            f"received {extension or 'no extension'}; convert or rename it"
        )
    text, encoding = decode(payload, name)
    found, rows = TEXT_FORMATS[extension](text, name)
    header = _header(name, found)
    columns = {column: [row.cells[place] for row in rows] for place, column in enumerate(header)}
    return RawTable(name, columns, tuple(row.line for row in rows), "line", encoding, digest)


def frame_table(frame: pd.DataFrame) -> RawTable:
    """Take a pandas frame's cells as they are; a named index is a column like the others.

    Raises:
        DataError: Two columns have one name, or there is none.
    """
    name = "the frame"
    if any(level is not None for level in frame.index.names):
        _header(name, [*map(str, frame.index.names), *map(str, frame.columns)])
        frame = frame.reset_index()
    header = _header(name, [str(column) for column in frame.columns])
    columns = {column: frame.iloc[:, place].tolist() for place, column in enumerate(header)}
    return RawTable(name, columns, tuple(range(1, len(frame) + 1)), "row", "str", None)


def _parse_parquet(payload: bytes, name: str, digest: str) -> RawTable:
    pyarrow, parquet = require("pyarrow", "parquet"), require("pyarrow.parquet", "parquet")
    try:
        table = parquet.read_table(pyarrow.BufferReader(payload))
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{name}: not a whole Parquet file ({reason}); write or fetch it again") from error
    header = _header(name, table.column_names)
    # Through Arrow and not through pandas, where an integer column with a gap turns into floats.
    columns = {column: table.column(place).to_pylist() for place, column in enumerate(header)}
    return RawTable(name, columns, tuple(range(1, table.num_rows + 1)), "row", "parquet", digest)


def _header(name: str, found: list[str]) -> list[str]:
    """Normalise column names to NFC (macOS writes NFD) and see that each is there once."""
    if not found:
        raise DataError(f"{name}: empty; expected column names and rows")
    header = [unicodedata.normalize("NFC", column) for column in found]
    column, count = Counter(header).most_common(1)[0]
    if count > 1:
        raise DataError(f"{name}: {count} columns are named {column!r}; rename or drop all but one")
    return header


def _way_to(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()])
    return f"is it {' or '.join(near)}?" if near else f"see what is in {path.parent}"
