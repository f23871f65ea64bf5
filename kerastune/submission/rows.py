"""The rows that a table answers: their order, and whether another table has the same."""

import reprlib
import unicodedata
from collections import Counter
from collections.abc import Sequence

from kerastune.dataset.reading import RawTable
from kerastune.dataset.table import Dataset
from kerastune.errors import DataError
from kerastune.task import Task, is_integer

_SHOWN = 3


def submission_order(dataset: Dataset) -> list[int]:
    """The rows of a submission as indices into the dataset, in the order that its task declares.

    Raises:
        DataError: The task's ids are integers, and one here is none.
    """
    schema = dataset.task.submission
    if schema.id_type == "integer":
        for row, name in enumerate(dataset.ids):
            if not is_integer(name):
                raise DataError(
                    f"{dataset.where(row)}, column {dataset.task.id_column!r}: expected a whole number as "
                    f"id, without zeros before it, received {reprlib.repr(name)}"
                )
    rows = list(range(len(dataset)))
    if schema.order == "id":
        rows.sort(key=lambda row: int(dataset.ids[row]) if schema.id_type == "integer" else dataset.ids[row])
    return rows


def arranged(dataset: Dataset) -> Dataset:
    """The rows in the order of a submission; see `submission_order`."""
    order = submission_order(dataset)
    return dataset if order == list(range(len(dataset))) else dataset.take(order)


def require_ids(
    received: Sequence[str],
    expected: Sequence[str],
    *,
    name: str,
    of: str,
    lines: Sequence[int],
    way_out: str,
) -> None:
    """Refuse ids that are not those expected, in their order.

    Args:
        received: A table's ids.
        expected: The ids it should have.
        name: The table, for the message.
        of: What has the expected ids, for the message.
        lines: The table's lines, one an id.
        way_out: What to do.

    Raises:
        DataError: Ids are missing, extra or in another order; the message names the first of them.
    """
    if tuple(received) == tuple(expected):
        return
    missing = Counter(expected) - Counter(received)
    extra = Counter(received) - Counter(expected)
    faults = [
        f"{ids.total()} ids {fault} ({', '.join(map(reprlib.repr, list(ids)[:_SHOWN]))}"
        f"{', ...' if len(ids) > _SHOWN else ''})"
        for ids, fault in ((missing, "are missing"), (extra, "are not in the input or are there twice"))
        if ids
    ]
    if not faults:
        row = next(row for row, pair in enumerate(zip(received, expected, strict=True)) if len(set(pair)) > 1)
        faults = [
            f"line {lines[row]} is {reprlib.repr(received[row])} where {reprlib.repr(expected[row])} was "
            "expected"
        ]
    raise DataError(f"{name}: the ids are not those of {of} in its order: {', '.join(faults)}; {way_out}")


def require_same_rows(table: RawTable, dataset: Dataset, *, way_out: str) -> None:
    """Refuse a table whose ids or whose texts are not the rows'.

    Raises:
        DataError: As `require_ids` says, or a text differs from the row's.
    """
    task: Task = dataset.task
    ids = [str(cell) for cell in table.columns[task.id_column]]
    require_ids(ids, dataset.ids, name=table.name, of=dataset.name, lines=table.lines, way_out=way_out)
    for column, cells in table.columns.items():
        if column in (task.id_column, task.label_column):
            continue
        for row, cell in enumerate(map(str, cells)):
            if unicodedata.normalize("NFC", cell) != dataset.frame[column].iat[row]:
                raise DataError(
                    f"{table.where(row)}, column {column!r}: expected the text of {dataset.where(row)}, "
                    f"received {reprlib.repr(cell)}"
                )
