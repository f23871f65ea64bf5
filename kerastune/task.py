"""Tasks: which columns are fields, which is the label, and how a label is said (its verbalizer)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kerastune.config import LossOn
from kerastune.errors import TemplateError
from kerastune.template import Template

#: A label as tables and submissions hold it: an integer, or a name.
Label = int | str

# As every reader gives it back: one that reads numbers makes 7 of "007" and 1 of "1.0".
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


@dataclass(frozen=True, kw_only=True)
class SubmissionSchema:
    """What a task's submission looks like.

    Args:
        columns: The columns, in order; the id, the fields and the label where none are named.
        id_type: `"integer"` where every id must be a whole number, plainly written; `"text"` otherwise.
        label_type: The same of the labels; an integer label is written and read as `1`, never as `1.0`.
        order: The rows' order: `"input"`, or `"id"` for ascending ids (by value where they are integers).

    Raises:
        TemplateError: A column is there twice.
    """

    columns: tuple[str, ...] = ()
    id_type: Literal["text", "integer"] = "text"
    label_type: Literal["text", "integer"] = "text"
    order: Literal["input", "id"] = "input"

    def __post_init__(self) -> None:
        """Check that the columns differ."""
        if len(set(self.columns)) != len(self.columns):
            raise TemplateError(
                f"a submission's columns must differ, received {', '.join(self.columns)}; name each once"
            )


def is_integer(text: str) -> bool:
    """Whether a cell is a whole number that every program reads as what it is.

    Example:
        >>> [is_integer(text) for text in ("7", "-1", "007", "1.0", "")]
        [True, True, False, False, False]
    """
    return _INTEGER.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is asked of the model about a row.

    Args:
        name: The name by which flags, TOML and adapters call it.
        slots: A template's slot -> the column that fills it. Several slots may share a column, so
            that one task can be said by several templates.
        label_column: The column that holds the label.
        labels: The allowed labels, in the order of every array of label scores.
        verbalizers: A verbalizer's name -> the word that says each label, in the order of `labels`.
        verbalizer: The verbalizer used where none is named.
        template: The name of the template used where none is named.
        loss_on: What the loss is on where nothing is said; see `kerastune.objective`.
        max_length: The most tokens of an example where nothing is said.
        aliases: Further spellings of a label in a table, such as `{"positive": 1}`.
        id_column: The column that names a row.
        metric: The metric that decides, `"accuracy"` or `"macro_f1"`.
        submission: What a submission looks like.

    Raises:
        TemplateError: Two labels are alike, an alias is for no label, a verbalizer does not say every
            label in a word of its own, or the submission has no id or label, or integers that are none.
    """

    name: str
    slots: Mapping[str, str]
    label_column: str
    labels: tuple[Label, ...]
    verbalizers: Mapping[str, tuple[str, ...]]
    verbalizer: str
    template: str
    aliases: Mapping[str, Label] = field(default_factory=dict)
    id_column: str = "id"
    loss_on: LossOn = "label"
    max_length: int = 256
    metric: str = "accuracy"
    submission: SubmissionSchema = field(default_factory=SubmissionSchema)

    def __post_init__(self) -> None:
        """Check that the labels differ and that each of them can be said."""
        spellings = {str(label) for label in self.labels}
        if len(spellings) < 2 or len(spellings) != len(self.labels):
            raise TemplateError(
                f"task {self.name!r}: expected two labels or more, no two of one spelling, "
                f"received {self.labels}"
            )
        for alias, label in self.aliases.items():
            if label not in self.labels:
                raise TemplateError(
                    f"task {self.name!r}: alias {alias!r} is for {label!r}, which is none of the labels "
                    f"{self.labels}"
                )
        for name, words in self.verbalizers.items():
            if len(words) != len(self.labels) or len(set(words)) != len(words) or "" in words:
                raise TemplateError(
                    f"task {self.name!r}: verbalizer {name!r} must say each of the labels "
                    f"{self.labels} in a word of its own, received {words}"
                )
        self.words(self.verbalizer)
        missing = {self.id_column, self.label_column} - set(self.submission_columns)
        if missing:
            raise TemplateError(
                f"task {self.name!r}: a submission needs the column {sorted(missing)[0]!r}, its columns are "
                f"{', '.join(self.submission_columns)}"
            )
        if self.submission.label_type == "integer" and not all(map(is_integer, spellings)):
            raise TemplateError(
                f"task {self.name!r}: a submission's labels are integers, the labels are {self.labels}; "
                "choose label_type 'text'"
            )

    @property
    def submission_columns(self) -> tuple[str, ...]:
        """The columns of a submission, in order."""
        return self.submission.columns or (self.id_column, *self.fields, self.label_column)

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns that prompts are made of, each once."""
        return tuple(dict.fromkeys(self.slots.values()))

    def words(self, verbalizer: str | None = None) -> tuple[str, ...]:
        """The words that say the labels, in the order of `labels`.

        Args:
            verbalizer: A name out of `verbalizers`, or the words themselves with `/` between them; the
                task's own default when None.

        Raises:
            TemplateError: There is no verbalizer of that name.
        """
        name = self.verbalizer if verbalizer is None else verbalizer
        literal = tuple(name.split("/"))
        if name not in self.verbalizers and len(literal) == len(self.labels) == len(set(literal) - {""}):
            return literal
        if name not in self.verbalizers:
            raise TemplateError(
                f"task {self.name!r} has no verbalizer {name!r}; there are: {', '.join(self.verbalizers)}"
            )
        return self.verbalizers[name]

    def values(self, template: Template, row: Mapping[str, str]) -> dict[str, str]:
        """What fills the template's slots for a row.

        Args:
            template: The template that says this task.
            row: Column name -> text.

        Raises:
            TemplateError: The template has a slot that the task does not fill.
        """
        unknown = [slot for slot in template.slots if slot not in self.slots]
        if unknown:
            raise TemplateError(
                f"template {template.name!r} has the slot {{{unknown[0]}}}, which task {self.name!r} "
                f"does not fill (it fills: {', '.join(self.slots)})"
            )
        return {slot: row[self.slots[slot]] for slot in template.slots}


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="review-sentiment",
            slots={"comment": "comment", "instruction": "comment"},
            label_column="label",
            labels=(0, 1),
            verbalizers={
                "별로/최고": ("별로", "최고"),
                "부정/긍정": ("부정", "긍정"),
                "0/1": ("0", "1"),
            },
            verbalizer="별로/최고",
            template="restaurant-cloze",
            submission=SubmissionSchema(columns=("id", "comment", "label"), label_type="integer"),
        ),
    )
}


def get_task(task: str | Task) -> Task:
    """Look a task up by name; a `Task` comes back as it is.

    Raises:
        TemplateError: There is no task of that name, or it is one without labels.

    Example:
        >>> get_task("review-sentiment").labels
        (0, 1)
    """
    if isinstance(task, Task):
        return task
    if task in TASKS:
        return TASKS[task]
    from kerastune.text_task import find_task

    raise TemplateError(
        f"task {find_task(task).name!r} has no labels, which are needed here; its runs are for "
        "kerastune evaluate, generate, chat and merge"
    )
