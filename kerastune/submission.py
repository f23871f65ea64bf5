"""The submission: the input's rows in the input's order with a label each, read back before it counts."""

import json
import reprlib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path

from kerastune.atomic import atomic_file, write_text
from kerastune.dataset.labels import LabelReader
from kerastune.dataset.reading import RawTable, load_bytes, parse_table
from kerastune.dataset.table import Dataset
from kerastune.errors import DataError, OutputError
from kerastune.task import Label, Task


def default_submission_name(now: datetime) -> str:
    """Name a submission by its date and time.

    Example:
        >>> default_submission_name(datetime(2024, 4, 8, 1, 53, 12))
        'tarr_my_submit_20240408_015312.txt'
    """
    return f"tarr_my_submit_{now:%Y%m%d_%H%M%S}.txt"


def write_submission(
    path: str | Path,
    dataset: Dataset,
    labels: Sequence[Label],
    *,
    extra: Mapping[str, object] | None = None,
) -> Path:
    """Write a label for each row, and beside it `<name>.manifest.json`, which says what it was made from.

    The file has the task's submission columns, UTF-8 without a mark, LF, and an end to every line. It is
    written to the side, read back and compared, and only then given its name.

    Args:
        path: The file: `.tsv` or `.txt` (tabs, no quoting) or `.csv` (RFC 4180).
        dataset: The rows.
        labels: `[N]` labels out of `task.labels`, one a row.
        extra: What else the manifest should say, such as the adapter's hash; under the key `"extra"`.

    Returns:
        The submission's path.

    Raises:
        DataError: A label is not the task's, their number is not the rows', a column is missing, or a cell
            holds a tab or a line break and the file is to be TSV.
        OutputError: The file cannot be written, or its extension is none of these.
    """
    path = Path(path)
    columns = _filled_columns(dataset, labels)
    text = _text(path, dataset, columns)
    label_column = dataset.task.label_column
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
        table = parse_table(temporary.read_bytes(), path)
        _check(table, dataset)
        if table.columns[label_column] != columns[label_column]:
            raise OutputError(f"{path}: labels read back are not those written; is the disk sound?")
    manifest = {
        "submission": {"file": path.name, "sha256": table.sha256},
        "input": {"file": dataset.source.name if dataset.source else None, "sha256": dataset.sha256},
        "rows": len(dataset),
        "label_counts": dict(sorted(Counter(columns[label_column]).items())),
        "task": dataset.task.name,
        "kerastune": _version(),
        "extra": dict(extra or {}),
    }
    write_text(
        path.with_name(f"{path.name}.manifest.json"),
        json.dumps(manifest, ensure_ascii=False, indent=2, default=str) + "\n",
    )
    return path


def require_submittable(path: Path, dataset: Dataset) -> None:
    """Refuse what `write_submission` would refuse, before hours are spent on scoring the rows.

    Raises:
        DataError: A column is missing, or a cell cannot stand in the file.
        OutputError: The file's extension is none of those, or a folder has its name.
    """
    _text(path, dataset, _filled_columns(dataset, [dataset.task.labels[0]] * len(dataset)))
    if path.is_dir():
        raise OutputError(f"{path}: expected a file's name, received a folder; choose another --out")


def check_submission(path: str | Path, dataset: Dataset) -> None:
    """See that a file is a submission for these rows.

    Args:
        path: The submission, ours or another's.
        dataset: The rows it should answer.

    Raises:
        DataError: The file cannot be read, its columns are not the task's, ids are missing, extra or in
            another order, a text is not the row's, or a label is not the task's.
    """
    path = Path(path)
    _check(parse_table(load_bytes(path), path), dataset)


def _check(table: RawTable, dataset: Dataset) -> None:
    task = dataset.task
    expected = _column_names(task)
    if tuple(table.columns) != expected:
        raise DataError(
            f"{table.name}: expected the columns {', '.join(expected)}, received {', '.join(table.columns)}"
        )
    _check_ids(table, dataset)
    reader = LabelReader(task)
    for column, cells in table.columns.items():
        if column == task.id_column:
            continue
        for row, cell in enumerate(map(str, cells)):
            if column == task.label_column:
                if reader.index(cell) is None:
                    raise DataError(
                        f"{table.where(row)}, column {column!r}: expected one of {reader.allowed}, "
                        f"received {reprlib.repr(cell)}"
                    )
            elif unicodedata.normalize("NFC", cell) != dataset.frame[column].iat[row]:
                raise DataError(
                    f"{table.where(row)}, column {column!r}: expected the text of {dataset.where(row)}, "
                    f"received {reprlib.repr(cell)}"
                )


def _check_ids(table: RawTable, dataset: Dataset) -> None:
    received = tuple(map(str, table.columns[dataset.task.id_column]))
    if received == dataset.ids:
        return
    missing = Counter(dataset.ids) - Counter(received)
    extra = Counter(received) - Counter(dataset.ids)
    faults = [
        f"{ids.total()} ids {fault} ({', '.join(map(repr, list(ids)[:3]))}{', ...' if len(ids) > 3 else ''})"
        for ids, fault in ((missing, "are missing"), (extra, "are not in the input or are there twice"))
        if ids
    ]
    if not faults:
        row = next(
            row for row, pair in enumerate(zip(received, dataset.ids, strict=True)) if len(set(pair)) > 1
        )
        faults = [f"line {table.lines[row]} is {received[row]!r} where {dataset.ids[row]!r} was expected"]
    raise DataError(
        f"{table.name}: the ids are not those of {dataset.name} in its order: {', '.join(faults)}; "
        "write a row for each row of the input"
    )


def _column_names(task: Task) -> tuple[str, ...]:
    return task.submission_columns or (task.id_column, *task.fields, task.label_column)


def _filled_columns(dataset: Dataset, labels: Sequence[Label]) -> dict[str, list[str]]:
    task = dataset.task
    if len(labels) != len(dataset):
        raise DataError(f"{dataset.name}: expected {len(dataset)} labels, one a row, received {len(labels)}")
    # Looked up by value, so that 1, numpy's 1 and 1.0 are all written as the task's own 1.
    spelling = {label: str(label) for label in task.labels}
    said = []
    for row, label in enumerate(labels):
        if label not in spelling:
            raise DataError(
                f"{dataset.where(row)}: expected a label out of {', '.join(spelling.values())}, "
                f"received {label!r}"
            )
        said.append(spelling[label])
    columns: dict[str, list[str]] = {}
    for column in _column_names(task):
        if column == task.label_column:
            columns[column] = said
        elif column == task.id_column:
            columns[column] = list(dataset.ids)
        elif column in dataset.frame:
            columns[column] = dataset.frame[column].tolist()
        else:
            raise DataError(
                f"{dataset.name}: no column {column!r}, which a submission of {task.name!r} has; "
                f"there are: {', '.join(dataset.frame.columns)}"
            )
    return columns


def _text(path: Path, dataset: Dataset, columns: Mapping[str, Sequence[str]]) -> str:
    lines = [list(columns), *zip(*columns.values(), strict=True)]
    if path.suffix.lower() == ".csv":
        return "".join(",".join(map(_quoted, line)) + "\n" for line in lines)
    if path.suffix.lower() in (".tsv", ".txt"):
        _refuse_breaks(dataset, columns)
        return "".join("\t".join(line) + "\n" for line in lines)
    raise OutputError(f"{path}: expected a name that ends in .tsv, .txt or .csv; choose another --out")


def _refuse_breaks(dataset: Dataset, columns: Mapping[str, Sequence[str]]) -> None:
    for column, cells in columns.items():
        for row, cell in enumerate(cells):
            # Not read as a line's end here, but a lone CR is one to most other programs.
            if any(sign in cell for sign in "\t\n\r"):
                raise DataError(
                    f"{dataset.where(row)}, column {column!r}: a tab or a line break, which TSV cannot hold; "
                    "write a .csv, or take it out of the input"
                )


def _quoted(cell: str) -> str:
    """Quote a CSV cell where RFC 4180 asks for it."""
    return '"' + cell.replace('"', '""') + '"' if any(sign in cell for sign in ',"\r\n') else cell


def _version() -> str:
    try:
        return metadata.version("kerastune")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "not installed"
