"""Rows of pairs, read from JSON Lines or another table, each refused with its place and the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kerastune.chat.reading import TextRows, read_text_rows
from kerastune.dataset.data_report import Lengths, lengths_of
from kerastune.errors import DataError
from kerastune.preference.task import PREFERENCE, Pair, PreferenceTask

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, eq=False, kw_only=True)
class PairRows(TextRows[Pair]):
    """Pairs of a chosen and a rejected answer.

    Args:
        task: The task.
    """

    task: PreferenceTask

    def at_least(self, score: float | None) -> PairRows:
        """Keep the pairs whose chosen answer has this score or a higher one; all when None.

        Raises:
            DataError: A pair has no score, or none is left.
        """
        if score is None:
            return self
        kept = []
        for row, pair in enumerate(self.values):
            if pair.chosen_score is None:
                raise DataError(
                    f"{self.where(row)}: expected a number in {self.task.chosen_score!r}, received none; "
                    "write it, or leave --min-chosen-score out"
                )
            if pair.chosen_score >= score:
                kept.append(row)
        if not kept:
            raise DataError(
                f"{self.name}: no chosen answer has a score of {score:g} or more; lower --min-chosen-score"
            )
        return self.take(kept)


def read_pairs(
    source: str | Path, task: PreferenceTask = PREFERENCE, *, skip_bad_rows: bool = False
) -> PairRows:
    """Read a table of pairs: JSON Lines, TSV, CSV or Parquet.

    Args:
        source: The file.
        task: The task.
        skip_bad_rows: Whether rows that are no pair are left out, and listed, in place of being refused.

    Raises:
        DataError: The table cannot be read; or a row cannot be used: the message names file, line, reason
            and the way out.
    """
    found = read_text_rows(
        Path(source), task.pair, "pair", id_column=task.id_column, skip_bad_rows=skip_bad_rows
    )
    return PairRows(task=task, **vars(found))


@dataclass(frozen=True, kw_only=True)
class PairReport:
    """The numbers of the tables of a training.

    Args:
        tables: `"train"` and, where there is one, `"validation"` -> the table.
    """

    tables: dict[str, PairRows]

    def render(self) -> Table:
        """Lay the numbers out as a table for `rich.print`, a column a table."""
        from rich.table import Table

        table = Table("", *self.tables, title="Data")
        every = list(self.tables.values())
        table.add_row("pairs", *(str(len(rows)) for rows in every))
        table.add_row("prompts that an earlier row has", *(str(_repeated(rows)) for rows in every))
        for side in ("chosen", "rejected"):
            lengths = [_lengths([str(getattr(pair, side).answer) for pair in rows.values]) for rows in every]
            cells = (f"median {one.median}, max {one.longest}" for one in lengths)
            table.add_row(f"characters of a {side} answer", *cells)
        table.add_row("brought into NFC", *(str(rows.nfc_rows) for rows in every))
        table.add_row("left out", *(str(len(rows.left)) for rows in every))
        return table


def _repeated(rows: PairRows) -> int:
    return len(rows) - len({pair.chosen.before_answer for pair in rows.values})


def _lengths(texts: Sequence[str]) -> Lengths:
    return lengths_of([len(text) for text in texts])
