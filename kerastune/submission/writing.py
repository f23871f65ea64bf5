"""Writing a submission and its manifest: to the side, read back and compared, then renamed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from kerastune.atomic import atomic_file, write_text
from kerastune.dataset.reading import parse_table
from kerastune.dataset.table import Dataset
from kerastune.errors import DataError, OutputError
from kerastune.json_files import json_text
from kerastune.submission.checking import check_table
from kerastune.submission.form import Form, Format, submission_form
from kerastune.submission.rows import arranged, submission_order
from kerastune.task import Label


def write_submission(
    path: str | Path,
    dataset: Dataset,
    labels: Sequence[Label],
    *,
    format: Format | None = None,
    sample: str | Path | None = None,
    extra: Mapping[str, object] | None = None,
) -> Path:
    """Write a label for each row, and beside it `<name>.manifest.json`, which says what it was made from.

    The file has the columns of the sample, or else of the task's schema, UTF-8 without a mark, LF, and an end
    to every line. It is written to the side, read back and compared, and only then given its name.

    Args:
        path: The file: `.tsv` or `.txt` (tabs, no quoting) or `.csv` (RFC 4180).
        dataset: The rows.
        labels: `[N]` labels out of `task.labels`, one a row, in the dataset's order.
        format: `"tsv"` or `"csv"`, over the extension; see `kerastune.submission.submission_form`.
        sample: A sample submission, which must have the dataset's rows; its columns and format are followed.
        extra: What else the manifest should say, such as the adapter's hash; under the key `"extra"`.

    Returns:
        The submission's path.

    Raises:
        ConfigError: There is no such format.
        DataError: A label is not the task's, their number is not the rows', a column is missing, the sample
            has other rows, an id is not of the schema's type, or a cell holds a tab or a line break and the
            file is to be TSV.
        OutputError: The file cannot be written, or its extension is none of these.
    """
    path = Path(path)
    if len(labels) != len(dataset):
        raise DataError(f"{dataset.name}: expected {len(dataset)} labels, one a row, received {len(labels)}")
    rows, labels = arranged(dataset), [labels[row] for row in submission_order(dataset)]
    form = submission_form(path, rows, format=format, sample=sample)
    columns = _filled_columns(rows, labels, form)
    text = _text(rows, columns, form)
    label_column = dataset.task.label_column
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
        table = parse_table(temporary.read_bytes(), path, form.extension)
        check_table(table, rows, form)
        if table.columns[label_column] != columns[label_column]:
            raise OutputError(f"{path}: labels read back are not those written; is the disk sound?")
    manifest = {
        "submission": {"file": path.name, "sha256": table.sha256},
        "format": form.format,
        "columns": form.columns,
        "input": {"file": dataset.source.name if dataset.source else None, "sha256": dataset.sha256},
        "sample": {"file": form.sample.name, "sha256": form.sample_sha256} if form.sample else None,
        "rows": len(dataset),
        "label_counts": dict(sorted(Counter(columns[label_column]).items())),
        "task": dataset.task.name,
        "kerastune": _version(),
        "extra": dict(extra or {}),
    }
    write_text(manifest_path(path), json_text(manifest, default=str))
    return path


def manifest_path(path: Path) -> Path:
    """Where the manifest of a submission is."""
    return path.with_name(f"{path.name}.manifest.json")


def require_submittable(
    path: str | Path | None,
    dataset: Dataset,
    *,
    format: Format | None = None,
    sample: str | Path | None = None,
) -> Form:
    """Refuse what `write_submission` would refuse, before hours are spent on scoring the rows.

    Args:
        path: The submission; None where its name is still to be chosen.
        dataset: The rows.
        format: As for `write_submission`.
        sample: As for `write_submission`.

    Returns:
        What the submission will look like.

    Raises:
        ConfigError: There is no such format.
        DataError: A column is missing, the sample has other rows, or a cell cannot stand in the file.
        OutputError: The file's extension is none of those, or a folder has its name.
    """
    rows = arranged(dataset)
    form = submission_form(None if path is None else Path(path), rows, format=format, sample=sample)
    _text(rows, _filled_columns(rows, [dataset.task.labels[0]] * len(rows), form), form)
    if path is not None and Path(path).is_dir():
        raise OutputError(f"{path}: expected a file's name, received a folder; choose another --out")
    return form


def _filled_columns(rows: Dataset, labels: Sequence[Label], form: Form) -> dict[str, list[str]]:
    task = rows.task
    # Looked up by value, so that 1, numpy's 1 and 1.0 are all written as the task's own 1.
    spelling = {label: str(label) for label in task.labels}
    said = []
    for row, label in enumerate(labels):
        if label not in spelling:
            raise DataError(
                f"{rows.where(row)}: expected a label out of {', '.join(spelling.values())}, "
                f"received {label!r}"
            )
        said.append(spelling[label])
    columns: dict[str, list[str]] = {}
    for column in form.columns:
        if column == task.label_column:
            columns[column] = said
        elif column == task.id_column:
            columns[column] = list(rows.ids)
        else:
            columns[column] = rows.frame[column].tolist()
    return columns


def _text(rows: Dataset, columns: Mapping[str, Sequence[str]], form: Form) -> str:
    lines = [list(columns), *zip(*columns.values(), strict=True)]
    if form.format == "csv":
        return "".join(",".join(map(_quoted, line)) + "\n" for line in lines)
    _refuse_breaks(rows, columns)
    return "".join("\t".join(line) + "\n" for line in lines)


def _refuse_breaks(rows: Dataset, columns: Mapping[str, Sequence[str]]) -> None:
    for column, cells in columns.items():
        for row, cell in enumerate(cells):
            # Not read as a line's end here, but a lone CR is one to most other programs.
            if any(sign in cell for sign in "\t\n\r"):
                raise DataError(
                    f"{rows.where(row)}, column {column!r}: a tab or a line break, which TSV cannot hold; "
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
