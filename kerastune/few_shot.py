"""Few-shot: labelled rows in front of every prompt, so that the model sees what is asked of it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kerastune.atomic import write_text
from kerastune.dataset import Dataset
from kerastune.dataset.splits import read_labels
from kerastune.errors import AdapterError, ConfigError, DataError
from kerastune.json_files import json_text
from kerastune.task import Task
from kerastune.template import Template

SHOTS = "shots.json"


@dataclass(frozen=True)
class Shot:
    """A labelled row that is shown.

    Args:
        row_id: The row's id in its table.
        fields: Column name -> text.
        label: Its label, an index into the task's.
    """

    row_id: str
    fields: Mapping[str, str]
    label: int


@dataclass(frozen=True)
class Shots:
    """Rows to show in front of every prompt, in this order.

    Args:
        shots: The rows.
        separator: The text after each of them.
    """

    shots: tuple[Shot, ...]
    separator: str = "\n\n"

    def __len__(self) -> int:
        """Return how many rows are shown."""
        return len(self.shots)

    def render(self, task: Task, template: Template, verbalizer: str | None = None) -> str:
        """Render the rows as training renders them: prompt, answer, and then the separator.

        Args:
            task: The rows' task.
            template: The template of the prompts that they stand in front of.
            verbalizer: A name out of the task's verbalizers; its default when None.
        """
        words = task.words(verbalizer)
        rendered = (
            template.render(task.values(template, shot.fields), words[shot.label]) for shot in self.shots
        )
        return "".join(prompt + completion + self.separator for prompt, completion in rendered)

    def others(self, dataset: Dataset) -> Dataset:
        """Return the rows that are not shown: a row whose answer stands in its prompt teaches nothing."""
        rows = enumerate(dataset.rows())
        return dataset.take([place for place, fields in rows if not self.shows(fields)])

    def shows(self, fields: Mapping[str, str]) -> bool:
        """Whether a row of these fields is among those shown, whatever its spaces and its label."""
        return _said(fields) in self._texts

    @cached_property
    def _texts(self) -> frozenset[tuple[str, ...]]:
        return frozenset(_said(shot.fields) for shot in self.shots)


def choose_shots(dataset: Dataset, k: int, seed: int = 0, *, scored: Iterable[Dataset] = ()) -> Shots:
    """Choose k rows of each label to show.

    The labels take turns, in an order that is drawn anew each turn, so that neither the first nor the last
    row shown always has the same one. More shots of one seed begin with the rows that fewer show.

    Args:
        dataset: Labelled rows to choose from, such as the training rows.
        k: Rows of each label.
        seed: Decides rows and order.
        scored: Tables that will be scored with these shots. What is a row there is not chosen: its own
            answer would stand in its prompt.

    Returns:
        The task's labels times k rows, no two of them of the same text.

    Raises:
        ConfigError: k is less than 1.
        DataError: A label has too few rows, or the labels were not read.

    Example:
        >>> import pandas as pd
        >>> from kerastune.dataset import read_dataset
        >>> table = pd.DataFrame({"comment": list("가나다라"), "label": [0, 1, 0, 1]})
        >>> shots = choose_shots(read_dataset(table), k=1)
        >>> sorted(shot.label for shot in shots.shots)
        [0, 1]
    """
    if k < 1:
        raise ConfigError(f"shots: expected 1 or more rows of each label, received {k}")
    draws = np.random.default_rng(seed)
    labels, rows = read_labels(dataset), list(dataset.rows())
    taken = {_said(row) for table in scored for row in table.rows()}
    names = dataset.task.labels
    left = [iter(draws.permutation(np.flatnonzero(labels == label))) for label in range(len(names))]
    shots: list[Shot] = []
    for turn in range(k):
        for label in map(int, draws.permutation(len(names))):
            row = next((row for row in left[label] if _said(rows[row]) not in taken), None)
            if row is None:
                raise DataError(
                    f"{dataset.name}: label {names[label]!r} has {turn} rows to show that are not scored, "
                    f"expected {k}; show fewer rows of each label, or choose them from a larger table"
                )
            taken.add(_said(rows[row]))
            shots.append(Shot(dataset.ids[row], rows[row], label))
    return Shots(tuple(shots))


def _said(fields: Mapping[str, str]) -> tuple[str, ...]:
    """A row's texts, for telling whether two rows say the same."""
    return tuple(" ".join(text.split()) for text in fields.values())


def write_shots(path: Path, shots: Shots) -> None:
    """Write the rows that are shown as JSON.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(path, json_text(asdict(shots), default=dict))


def read_shots(path: Path) -> Shots:
    """Read what `write_shots` wrote.

    Raises:
        AdapterError: The file is missing or damaged.
    """
    try:
        return shots_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AdapterError(f"{path}: cannot be read: {error}; make the run anew") from error


def shots_of(table: Mapping[str, Any]) -> Shots:
    """Make the value of what `dataclasses.asdict` made of it."""
    return Shots(tuple(Shot(**shot) for shot in table["shots"]), table["separator"])
