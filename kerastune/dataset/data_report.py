"""What a table holds before a model sees it: rows, labels, duplicates, overlap, lengths, truncation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kerastune.dataset.leakage import fold_text
from kerastune.dataset.table import Dataset
from kerastune.task import Label

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

CountTokens = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True)
class Lengths:
    """How long the rows are: quantiles that are lengths of rows that exist."""

    shortest: int
    median: int
    p90: int
    p99: int
    longest: int


@dataclass(frozen=True, kw_only=True)
class TableReport:
    """One table's numbers.

    Args:
        rows: Number of rows.
        label_counts: Rows of each label, in the task's order; None where labels were not read.
        duplicate_rows: Rows whose exact text an earlier row has.
        conflicting_texts: Texts that occur with two labels or more; None where labels were not read.
        characters: Lengths in characters.
        tokens: Lengths in tokens; None where they were not counted.
        truncated_rows: Rows longer than the maximal length; None where there is none, or no tokens.
        nfc_rows: Rows that were brought into NFC.
        encoding: The file's encoding or format.
    """

    rows: int
    label_counts: Mapping[Label, int] | None
    duplicate_rows: int
    conflicting_texts: int | None
    characters: Lengths
    tokens: Lengths | None
    truncated_rows: int | None
    nfc_rows: int
    encoding: str


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """The numbers of a training table and, where there is one, of its test table.

    Args:
        train: The training table's numbers.
        test: The test table's numbers, or None.
        overlap_rows: Test rows whose text is also in train but for spaces and case; None without a test.
        max_length: The longest row, in tokens, that is not truncated; None where that was not asked.
    """

    train: TableReport
    test: TableReport | None
    overlap_rows: int | None
    max_length: int | None

    def render(self) -> Table:
        """Lay the numbers out as a table for `rich.print`, a column a table; what needs a look is yellow."""
        from rich.table import Table

        reports = [report for report in (self.train, self.test) if report is not None]
        table = Table("", "train", "test", title="Data") if self.test else Table("", "train", title="Data")

        def add(title: str, cells: Sequence[object], warn: bool = False) -> None:
            if any(cell is not None for cell in cells):
                said = ("" if cell is None else _say(cell, warn) for cell in cells)
                table.add_row(title, *said)

        add("rows", [report.rows for report in reports])
        add("labels", [report.label_counts for report in reports])
        add("duplicate texts", [report.duplicate_rows for report in reports], warn=True)
        add("texts with two labels", [report.conflicting_texts for report in reports], warn=True)
        if self.test:
            add("also in train", [None, self.overlap_rows], warn=True)
        add("characters", [report.characters for report in reports])
        add("tokens", [report.tokens for report in reports])
        add(f"longer than {self.max_length} tokens", [report.truncated_rows for report in reports], warn=True)
        add("brought into NFC", [report.nfc_rows for report in reports])
        add("encoding", [report.encoding for report in reports])
        return table


def report_data(
    train: Dataset,
    test: Dataset | None = None,
    *,
    count_tokens: CountTokens | None = None,
    max_length: int | None = None,
) -> DataReport:
    """Count what is in a training table and, if given, in its test table.

    Args:
        train: The training rows.
        test: The test rows.
        count_tokens: Texts -> the number of tokens of each; without it lengths are in characters only.
        max_length: The longest row, in tokens, that is not truncated.
    """
    overlap = None
    if test is not None:
        known = {fold_text(text) for text in train.texts}
        overlap = sum(fold_text(text) in known for text in test.texts)
    return DataReport(
        train=_table_report(train, count_tokens, max_length),
        test=None if test is None else _table_report(test, count_tokens, max_length),
        overlap_rows=overlap,
        max_length=max_length,
    )


def _table_report(data: Dataset, count_tokens: CountTokens | None, max_length: int | None) -> TableReport:
    texts = data.texts
    tokens = None if count_tokens is None else count_tokens(texts)
    too_long = None
    if tokens is not None and max_length is not None:
        too_long = sum(count > max_length for count in tokens)
    return TableReport(
        rows=len(data),
        label_counts=_label_counts(data),
        duplicate_rows=len(texts) - len(set(texts)),
        conflicting_texts=_conflicting_texts(data),
        characters=lengths_of([len(text) for text in texts]),
        tokens=None if tokens is None else lengths_of(tokens),
        truncated_rows=too_long,
        nfc_rows=data.nfc_rows,
        encoding=data.encoding,
    )


def _label_counts(data: Dataset) -> dict[Label, int] | None:
    if data.labels is None:
        return None
    counts = Counter(data.labels.tolist())
    return {label: counts[place] for place, label in enumerate(data.task.labels)}


def _conflicting_texts(data: Dataset) -> int | None:
    if data.labels is None:
        return None
    labels_of: defaultdict[str, set[int]] = defaultdict(set)
    for text, label in zip(data.texts, data.labels.tolist(), strict=True):
        labels_of[text].add(label)
    return sum(len(labels) > 1 for labels in labels_of.values())


def lengths_of(lengths: Sequence[int]) -> Lengths:
    """Say how long rows are.

    Args:
        lengths: Each row's length, one at least.
    """
    quantiles = np.quantile(lengths, [0.0, 0.5, 0.9, 0.99, 1.0], method="higher")
    return Lengths(*(int(quantile) for quantile in quantiles))


def _say(cell: object, warn: bool) -> str | Text:
    from rich.text import Text

    if isinstance(cell, Lengths):
        return f"median {cell.median}, 90 % {cell.p90}, max {cell.longest}"
    if isinstance(cell, Mapping):
        return ", ".join(f"{label}: {count}" for label, count in cell.items())
    return Text(str(cell), style="yellow") if warn and cell else str(cell)
