"""Accuracy on parts of a table: by length, by what the texts have in them, by any column."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import regex
from numpy.typing import NDArray

from kerastune.errors import DataError
from kerastune.evaluation.intervals import Interval, wilson_interval

if TYPE_CHECKING:
    from kerastune.dataset.table import Dataset

Mask = NDArray[np.bool_]

#: A column with more values than this is no grouping of the rows.
MOST_VALUES = 30

# What a text is looked through for. Rules of thumb: no morphology, so that nothing has to be installed.
_PATTERNS = {
    # Digits, # and the signs before the watch have the property of emoji as well.
    "emoji": r"[\p{Emoji}--[\u0000-\u2319]]",
    "jamo slang": r"[\u3131-\u318e]",  # ㅋㅋ, ㅠㅠ, ㄹㅇ: letters that stand alone
    "negation": r"(?<![가-힣])안(?=\s|가[요고는지]|[갈간감갔먹와올해하할했한돼되될됨됐좋맛나친])"
    r"|(?<![가-힣])못(?=\s|[가-힣])"
    r"|지\s?(?:는|도|를)?\s?(?:않|못|말)|않|없|아니|아닌|아님|아닙|아냐|전혀|절대|결코|별로"
    r"|\b(?:not|no|never|nothing|without)\b|n['’]t\b",
    "English": r"[A-Za-z]{2,}",
}


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A part of a table.

    Args:
        slice: What the table is cut by: `"length"`, `"emoji"`, `"jamo slang"`, `"negation"`, `"English"`,
            or a column's name.
        value: What the rows of this part have.
        rows: How many they are, one or more.
        accuracy: Share of them predicted right.
        interval: The accuracy's 95 % interval, see `wilson_interval`.
    """

    slice: str
    value: str
    rows: int
    accuracy: float
    interval: Interval

    def as_dict(self) -> dict[str, Any]:
        """All of it in the types of JSON."""
        return asdict(self) | {"interval": list(self.interval)}


def find_slices(
    dataset: Dataset, right: Sequence[bool] | Mask, columns: Sequence[str] = ()
) -> tuple[Slice, ...]:
    """Measure the accuracy on each part of a table; parts without rows are left out.

    Args:
        dataset: The rows.
        right: `[N]`, whether each row is predicted right.
        columns: Columns of the table to cut it by. One of many numbers is cut into thirds.

    Raises:
        DataError: The table has no such column, or one has more than 30 values that are not all numbers.
    """
    correct = np.asarray(right, np.bool_)
    found = []
    for name, value, mask in _parts(dataset, columns):
        rows, count = int(mask.sum()), int(correct[mask].sum())
        if rows:
            found.append(
                Slice(
                    slice=name,
                    value=value,
                    rows=rows,
                    accuracy=count / rows,
                    interval=wilson_interval(count, rows),
                )
            )
    return tuple(found)


def require_columns(dataset: Dataset, columns: Sequence[str]) -> None:
    """Refuse columns that `find_slices` would refuse, before hours are spent on scoring the rows.

    Raises:
        DataError: As `find_slices` does.
    """
    for column in columns:
        list(_by_column(dataset, column))


def _parts(dataset: Dataset, columns: Sequence[str]) -> Iterator[tuple[str, str, Mask]]:
    texts = dataset.texts
    for value, mask in _thirds(np.array([len(text) for text in texts]), " characters"):
        yield "length", value, mask
    for name, pattern in _PATTERNS.items():
        search = regex.compile(pattern, regex.IGNORECASE | regex.VERSION1).search
        has = np.array([search(text) is not None for text in texts])
        yield name, "with", has
        yield name, "without", ~has
    for column in dict.fromkeys(columns):
        for value, mask in _by_column(dataset, column):
            yield column, value, mask


def _by_column(dataset: Dataset, column: str) -> Iterator[tuple[str, Mask]]:
    frame = dataset.frame
    if column not in frame.columns:
        near = difflib.get_close_matches(column, frame.columns, n=1)
        raise DataError(
            f"{dataset.name}: no column {column!r} to slice by; there are: "
            f"{', '.join(map(repr, frame.columns))}" + (f"; is it {near[0]!r}?" if near else "")
        )
    cells = np.array(frame[column].tolist(), dtype=object)
    values, counts = np.unique(cells.astype(str), return_counts=True)
    if len(values) <= MOST_VALUES:
        for value in values[np.argsort(-counts, kind="stable")]:
            yield str(value) or "(empty)", cells == value
        return
    try:
        numbers = np.array([float(cell) for cell in cells])
    except ValueError:
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all():
        raise DataError(
            f"{dataset.name}: column {column!r} has {len(values)} values, too many to slice by; "
            f"expected {MOST_VALUES} at most, or numbers alone, which are cut into thirds"
        )
    yield from _thirds(numbers, "")


def _thirds(numbers: NDArray[Any], unit: str) -> Iterator[tuple[str, Mask]]:
    """Cut rows into thirds by a number, equal numbers together, so that thirds may differ in size."""
    low, high = np.quantile(numbers, [1 / 3, 2 / 3], method="higher")
    yield f"to {low:g}{unit}", numbers <= low
    yield f"over {low:g} to {high:g}{unit}", (numbers > low) & (numbers <= high)
    yield f"over {high:g}{unit}", numbers > high
