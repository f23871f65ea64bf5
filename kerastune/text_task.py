"""Tasks whose answers are texts: which columns of a row are a dialogue, and how it is said.

A row of such a task is a dialogue, whatever its columns: messages, or one exchange made of named fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kerastune.chat.messages import Dialogue
from kerastune.config import LossOn
from kerastune.errors import DataError, TemplateError
from kerastune.preference.task import PREFERENCE, PreferenceTask
from kerastune.task import TASKS, Task


class RowForm(Protocol):
    """How a row of certain columns is a dialogue."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a row of this form has."""

    def dialogue(self, row: Mapping[str, Any]) -> Dialogue:
        """Make the dialogue of a row that has them.

        Raises:
            DataError: The row says none; the message does not name the row.
        """


@dataclass(frozen=True, kw_only=True)
class MessagesForm:
    """A column that holds a list of messages.

    Args:
        column: The column.
        role: The key of a message's role.
        content: The key of its content.
    """

    column: str = "messages"
    role: str = "role"
    content: str = "content"

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def dialogue(self, row: Mapping[str, Any]) -> Dialogue:
        """Make the dialogue of a row; see `RowForm`."""
        messages = row[self.column]
        if not isinstance(messages, list):
            raise DataError(
                f"{self.column!r}: expected a list of messages, received {type(messages).__name__}; write "
                f'[{{"{self.role}": ..., "{self.content}": ...}}, ...]'
            )
        return Dialogue.of([self._named(one) for one in messages])

    def _named(self, message: Any) -> Any:
        """The message with its keys by our names."""
        names = {self.role: "role", self.content: "content"}
        if not isinstance(message, Mapping):
            return message
        return {names.get(key, key): value for key, value in message.items()}


@dataclass(frozen=True, kw_only=True)
class FieldsForm:
    """Columns that are one exchange.

    Args:
        user: The columns of the user's message; where there are several, those that are not empty, a blank
            line between.
        assistant: The column of the answer.
        optional: Columns that a row may lack.
        system: The column of the system message, where a row has one.
    """

    user: tuple[str, ...]
    assistant: str
    optional: tuple[str, ...] = ()
    system: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that no row may lack."""
        return tuple(name for name in (*self.user, self.assistant) if name not in self.optional)

    def dialogue(self, row: Mapping[str, Any]) -> Dialogue:
        """Make the dialogue of a row; see `RowForm`."""
        said = [self._text(row, name) for name in self.user]
        system = self._text(row, self.system) if self.system is not None else ""
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": "\n\n".join(text for text in said if text)})
        messages.append({"role": "assistant", "content": self._text(row, self.assistant)})
        return Dialogue.of(messages)

    def _text(self, row: Mapping[str, Any], name: str) -> str:
        text = row.get(name)
        if text is None and name not in self.columns:
            return ""
        if not isinstance(text, str):
            raise DataError(f"{name!r}: expected text, received {type(text).__name__}; write it as text")
        if not text.strip() and name in self.columns:
            raise DataError(f"{name!r}: empty; write a text, or drop the row")
        return text


@dataclass(frozen=True, kw_only=True)
class TextTask:
    """A task whose answers are texts.

    Args:
        name: The name by which flags, TOML and adapters call it.
        forms: How rows may be written; a row is of the first form whose columns it has.
        template: The template used where none is named; None is the model's own chat template.
        loss_on: What the loss is on where nothing is said; see `kerastune.objective`.
        id_column: The column that names a row.
        max_length: The most tokens of an example where nothing is said.
    """

    name: str
    forms: tuple[RowForm, ...]
    template: str | None = None
    loss_on: LossOn = "assistant"
    id_column: str = "id"
    max_length: int = 1024

    def dialogue(self, row: Mapping[str, Any]) -> Dialogue:
        """Make the dialogue of a row.

        Args:
            row: Column name -> value, as the table has it.

        Raises:
            DataError: The row is of no form of this task, or says no dialogue; the message does not name it.

        Example:
            >>> get_text_task("chat").dialogue({"prompt": "안녕?", "completion": "네!"}).answer
            '네!'
        """
        for form in self.forms:
            if all(column in row for column in form.columns):
                return form.dialogue(row)
        raise DataError(
            f"expected the columns {' or '.join('+'.join(form.columns) for form in self.forms)} of task "
            f"{self.name!r}, received {', '.join(map(str, row)) or 'none'}; rename them"
        )

    def prompt(self, row: Mapping[str, Any]) -> Dialogue:
        """Make the dialogue of a row up to where the model answers; the row may lack the answer.

        Raises:
            DataError: See `dialogue`.
        """
        answers = {form.assistant: "-" for form in self.forms if isinstance(form, FieldsForm)}
        dialogue = self.dialogue({**row, **answers})
        return dialogue if dialogue.answer is None else dialogue.before_answer


TEXT_TASKS: Mapping[str, TextTask] = {
    task.name: task
    for task in (
        TextTask(
            name="chat",
            forms=(
                MessagesForm(),
                MessagesForm(column="conversations", role="from", content="value"),  # ShareGPT's
                FieldsForm(user=("prompt",), assistant="completion", system="system"),
                FieldsForm(  # Alpaca's
                    user=("instruction", "input"), assistant="output", optional=("input",), system="system"
                ),
            ),
        ),
        TextTask(
            name="context-question",
            forms=(FieldsForm(user=("context",), assistant="question"),),
            template="context-question",
        ),
    )
}


#: A task of any kind.
AnyTask = Task | TextTask | PreferenceTask


def find_task(name: str | AnyTask) -> AnyTask:
    """Look a task of any kind up by name; a task comes back as it is.

    Raises:
        TemplateError: There is no task of that name; the message lists those there are.
    """
    if not isinstance(name, str):
        return name
    known: dict[str, AnyTask] = {**TASKS, **TEXT_TASKS, PREFERENCE.name: PREFERENCE}
    if name not in known:
        raise TemplateError(f"unknown task {name!r}; there are: {', '.join(known)}")
    return known[name]


def get_text_task(name: str | TextTask) -> TextTask:
    """Look a task whose answers are texts up by name.

    Raises:
        TemplateError: There is no such task.
    """
    task = find_task(name)
    if isinstance(task, TextTask):
        return task
    rows = "labels and no texts for answers" if isinstance(task, Task) else "pairs of answers for rows"
    raise TemplateError(f"task {task.name!r} has {rows}; expected one of {', '.join(TEXT_TASKS)}")
