"""The tables of a report as plain rows: labels, slices, data and errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kerastune.dataset.data_report import Lengths
from kerastune.dataset.splits import read_labels
from kerastune.evaluation import INVALID, Slice
from kerastune.report.content import ReportContent, RunContent
from kerastune.report.facts import say


@dataclass(frozen=True)
class LabelRow:
    """How a label fares, a value a run.

    Args:
        label: The label with its word.
        rows: Rows that have it.
        precision: Share of the rows predicted so that have it; None where none is predicted so.
        recall: Share of its rows that are predicted so; None where it has no rows.
        f1: Their harmonic mean; None where the label neither occurs nor is predicted.
    """

    label: str
    rows: int
    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]
    f1: tuple[float | None, ...]


@dataclass(frozen=True)
class SliceRow:
    """A part of the table, measured for each run."""

    slice: str
    value: str
    rows: int
    parts: tuple[Slice, ...]


@dataclass(frozen=True)
class Answer:
    """What a run said of a row: the label (None: no label), its probability, and whether it is right."""

    label: str | None
    confidence: float
    right: bool


@dataclass(frozen=True)
class ErrorRow:
    """A row that one of the runs or both have wrong."""

    id: str
    text: str
    label: str
    answers: tuple[Answer, ...]

    @property
    def who(self) -> str:
        """Whose error it is: `"0"`, `"1"` or `"both"`."""
        wrong = [str(place) for place, answer in enumerate(self.answers) if not answer.right]
        return wrong[0] if len(wrong) == 1 else "both"

    @property
    def confidence(self) -> float:
        """The confidence of the error, the greater one of two."""
        return max(answer.confidence for answer in self.answers if not answer.right)


@dataclass(frozen=True)
class Errors:
    """The errors table.

    Args:
        rows: The most confident errors, the most confident first.
        total: How many errors there are.
        labels: The true labels that occur in it.
    """

    rows: tuple[ErrorRow, ...]
    total: int
    labels: tuple[str, ...]


def label_names(content: ReportContent) -> tuple[str, ...]:
    """The labels with the words that say them, where the runs agree in those: `0 (별로)`."""
    labels = content.rows.task.labels
    words = {tuple(run.card.get("label_words", ())) for run in content.runs}
    if len(words) > 1 or len(next(iter(words))) != len(labels):
        return tuple(map(str, labels))
    return tuple(
        str(label) if str(label) == word else f"{label} ({word})"
        for label, word in zip(labels, next(iter(words)), strict=True)
    )


def label_rows(content: ReportContent) -> tuple[LabelRow, ...]:
    """Precision, recall and F1 of every label, out of the confusion matrices."""
    matrices = [np.asarray(run.evaluated.model.confusion, np.float64) for run in content.runs]
    counts = content.runs[0].evaluated.model.label_counts
    rows = []
    for place, name in enumerate(label_names(content)):
        hits = [float(matrix[place, place]) for matrix in matrices]
        said = [float(matrix[:, place].sum()) for matrix in matrices]
        rows.append(
            LabelRow(
                label=name,
                rows=counts[place],
                precision=tuple(_share(hit, total) for hit, total in zip(hits, said, strict=True)),
                recall=tuple(_share(hit, counts[place]) for hit in hits),
                f1=tuple(
                    _share(2 * hit, total + counts[place]) for hit, total in zip(hits, said, strict=True)
                ),
            )
        )
    return tuple(rows)


def slice_rows(content: ReportContent) -> tuple[SliceRow, ...]:
    """The slices, the same for every run since they are of the same rows."""
    return tuple(
        SliceRow(parts[0].slice, parts[0].value, parts[0].rows, parts)
        for parts in zip(*(run.evaluated.slices for run in content.runs), strict=True)
    )


def collect_errors(content: ReportContent) -> Errors:
    """The rows that a run has wrong, the most confident first, so many as the report has room for."""
    truth, texts, labels = read_labels(content.rows), content.rows.texts, content.rows.task.labels
    wrong = np.flatnonzero(np.any([run.predicted != truth for run in content.runs], axis=0))
    rows = []
    for row in wrong:
        answers = tuple(
            Answer(
                label=None if run.predicted[row] == INVALID else str(labels[run.predicted[row]]),
                confidence=_confidence(run, int(row)),
                right=bool(run.predicted[row] == truth[row]),
            )
            for run in content.runs
        )
        rows.append(ErrorRow(content.rows.ids[row], texts[row], str(labels[truth[row]]), answers))
    rows.sort(key=lambda row: -row.confidence)
    kept = tuple(rows[: content.most_errors])
    there = {row.label for row in kept}
    return Errors(kept, len(rows), tuple(str(label) for label in labels if str(label) in there))


def data_rows(content: ReportContent) -> tuple[tuple[str, tuple[str, ...], bool], ...]:
    """The data report's lines: what, a cell a table, and whether it needs a look."""
    if content.data is None:
        return ()
    report = content.data
    tables = [table for table in (report.train, report.test) if table is not None]

    def line(what: str, field: str, warn: bool = False) -> tuple[str, tuple[str, ...], bool]:
        values = [getattr(table, field) for table in tables]
        return what, tuple(map(_say, values)), warn and any(values)

    lines = [
        line("Rows", "rows"),
        line("Labels", "label_counts"),
        line("Duplicate texts", "duplicate_rows", warn=True),
        line("Texts with two labels", "conflicting_texts", warn=True),
        ("Texts also in train", ("", _say(report.overlap_rows)), bool(report.overlap_rows)),
        line("Characters", "characters"),
        line("Tokens", "tokens"),
        line(f"Longer than {report.max_length} tokens", "truncated_rows", warn=True),
        line("Brought into NFC", "nfc_rows"),
        line("Encoding", "encoding"),
    ]
    return tuple(one for one in lines if any(one[1]))


def _confidence(run: RunContent, row: int) -> float:
    """The probability of what was predicted, or of the likeliest label where that was no label."""
    answer = run.predicted[row]
    return float(run.probabilities[row].max() if answer == INVALID else run.probabilities[row, answer])


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _say(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, Lengths):
        return f"median {cell.median}, 90 % {cell.p90}, longest {cell.longest}"
    if isinstance(cell, Mapping):
        return ", ".join(f"{label}: {count:,}" for label, count in cell.items())
    return say(cell)
