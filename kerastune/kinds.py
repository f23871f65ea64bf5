"""The kinds of tasks: how each reads its rows and opens its session. Another kind is another line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastune.chat.reading import Dialogues, read_dialogues
from kerastune.config import RunConfig
from kerastune.dataset import Dataset, read_dataset
from kerastune.errors import ConfigError
from kerastune.preference.reading import PairRows, read_pairs
from kerastune.preference.session import open_preference_session
from kerastune.preference.task import PreferenceTask
from kerastune.session import ModelSession, open_session
from kerastune.task import Task
from kerastune.text_session import open_text_session
from kerastune.text_task import AnyTask, TextTask, find_task

#: Rows of any kind.
Rows = Dataset | Dialogues | PairRows


@dataclass(frozen=True)
class Kind:
    """What differs from one kind of task to another.

    Args:
        read: Reads a table for a task; the last argument says whether rows that cannot be used are left out.
        open: Finds a configuration's base model and makes its encoder.
    """

    read: Callable[[Path, Any, bool], Rows]
    open: Callable[[RunConfig], ModelSession[Any]]


def _read_labelled(path: Path, task: Task, skip_bad_rows: bool) -> Dataset:
    if skip_bad_rows:
        raise ConfigError(
            f"--skip-bad-rows is not for task {task.name!r}, whose tables are read with nothing left out; "
            "mend the rows"
        )
    return read_dataset(path, task)


def _read_dialogues(path: Path, task: TextTask, skip_bad_rows: bool) -> Dialogues:
    return read_dialogues(path, task, skip_bad_rows=skip_bad_rows)


def _read_pairs(path: Path, task: PreferenceTask, skip_bad_rows: bool) -> PairRows:
    return read_pairs(path, task, skip_bad_rows=skip_bad_rows)


KINDS: Mapping[type, Kind] = {
    Task: Kind(_read_labelled, open_session),
    TextTask: Kind(_read_dialogues, open_text_session),
    PreferenceTask: Kind(_read_pairs, open_preference_session),
}


def kind_of(task: str | AnyTask) -> Kind:
    """Find a task's kind.

    Raises:
        TemplateError: There is no task of that name.
    """
    return KINDS[type(find_task(task))]


def read_rows(path: str | Path, task: str, *, skip_bad_rows: bool = False) -> Rows:
    """Read a table for a task of any kind."""
    return kind_of(task).read(Path(path), find_task(task), skip_bad_rows)
