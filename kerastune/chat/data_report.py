"""What a table of dialogues holds before a model sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kerastune.chat.reading import Dialogues
from kerastune.dataset.data_report import Lengths, lengths_of
from kerastune.dataset.leakage import fold_text

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class DialogueCounts:
    """One table's numbers.

    Args:
        rows: Number of dialogues.
        several_turns: Dialogues with more than one answer.
        system: Dialogues with a system message.
        duplicates: Dialogues whose last question and answer an earlier row has.
        answers: Lengths of the answers in characters.
        nfc_rows: Rows that were brought into NFC.
        left: Rows that were left out.
    """

    rows: int
    several_turns: int
    system: int
    duplicates: int
    answers: Lengths
    nfc_rows: int
    left: int

    @classmethod
    def of(cls, rows: Dialogues) -> DialogueCounts:
        """Count a table."""
        turns = [
            [message.content for message in dialogue.messages if message.role == "assistant"]
            for dialogue in rows.dialogues
        ]
        return cls(
            rows=len(rows),
            several_turns=sum(len(answers) > 1 for answers in turns),
            system=sum(dialogue.system is not None for dialogue in rows.dialogues),
            duplicates=len(rows) - len(set(_last_exchanges(rows))),
            answers=lengths_of([len(answer) for answers in turns for answer in answers]),
            nfc_rows=rows.nfc_rows,
            left=len(rows.left),
        )


@dataclass(frozen=True, kw_only=True)
class DialogueReport:
    """The numbers of the tables of a training.

    Args:
        tables: `"train"` and, where there is one, `"validation"` -> the table's numbers.
        overlap: Validation dialogues whose last question a training row has too, but for spaces and case.
    """

    tables: Mapping[str, DialogueCounts]
    overlap: int | None

    def render(self) -> Table:
        """Lay the numbers out as a table for `rich.print`, a column a table."""
        from rich.table import Table

        table = Table("", *self.tables, title="Data")

        def add(title: str, cells: Sequence[object]) -> None:
            table.add_row(title, *map(str, cells))

        counts = list(self.tables.values())
        add("dialogues", [one.rows for one in counts])
        add("with several answers", [one.several_turns for one in counts])
        add("with a system message", [one.system for one in counts])
        add("duplicates", [one.duplicates for one in counts])
        if self.overlap is not None:
            add("question also in train", ["", self.overlap])
        lengths = [one.answers for one in counts]
        add("characters of an answer", [f"median {one.median}, max {one.longest}" for one in lengths])
        add("brought into NFC", [one.nfc_rows for one in counts])
        add("left out", [one.left for one in counts])
        return table


def report_dialogues(train: Dialogues, validation: Dialogues | None = None) -> DialogueReport:
    """Count what is in a training table and, if given, in its validation table."""
    tables = {"train": train} | ({} if validation is None else {"validation": validation})
    overlap = None
    if validation is not None:
        known = {question for question, _ in _last_exchanges(train)}
        overlap = sum(question in known for question, _ in _last_exchanges(validation))
    return DialogueReport(
        tables={name: DialogueCounts.of(rows) for name, rows in tables.items()}, overlap=overlap
    )


def _last_exchanges(rows: Dialogues) -> list[tuple[str, str]]:
    return [
        (fold_text(dialogue.messages[-2].content), fold_text(dialogue.messages[-1].content))
        for dialogue in rows.dialogues
    ]
