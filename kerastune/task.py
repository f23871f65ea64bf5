"""Tasks: which columns are fields, which is the label, and how a label is said (its verbalizer)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kerastune.errors import TemplateError
from kerastune.template import Template

#: A label as tables and submissions hold it: an integer, or a name.
Label = int | str


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
        aliases: Further spellings of a label in a table, such as `{"positive": 1}`.
        id_column: The column that names a row.
        metric: The metric that decides, `"accuracy"` or `"macro_f1"`.
        submission_columns: The columns of a submission, in order.

    Raises:
        TemplateError: Two labels are alike, an alias is for no label, or a verbalizer does not say every
            label in a word of its own.
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
    metric: str = "accuracy"
    submission_columns: tuple[str, ...] = ()

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

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns that prompts are made of, each once."""
        return tuple(dict.fromkeys(self.slots.values()))

    def words(self, verbalizer: str | None = None) -> tuple[str, ...]:
        """The words that say the labels, in the order of `labels`.

        Args:
            verbalizer: A name out of `verbalizers`; the task's own default when None.

        Raises:
            TemplateError: There is no verbalizer of that name.
        """
        name = self.verbalizer if verbalizer is None else verbalizer
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
            submission_columns=("id", "comment", "label"),
        ),
    )
}


def get_task(task: str | Task) -> Task:
    """Look a task up by name; a `Task` comes back as it is.

    Raises:
        TemplateError: There is no task of that name; the message lists those there are.

    Example:
        >>> get_task("review-sentiment").labels
        (0, 1)
    """
    if isinstance(task, Task):
        return task
    if task not in TASKS:
        raise TemplateError(f"unknown task {task!r}; there are: {', '.join(TASKS)}")
    return TASKS[task]
