"""Classes as users name them, and the task that a model is asked: a known one, or one made of their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from kerastune.dataset import Dataset, read_dataset
from kerastune.errors import ConfigError, DataError, TemplateError
from kerastune.task import Task, get_task
from kerastune.template import Template, get_template

#: The column that holds the text.
TEXT = "text"
_NAME = "classification"


def classification_task(words: Sequence[str]) -> Task:
    """Make a task whose labels are the numbers of classes, said by words.

    Args:
        words: A word for each class.

    Raises:
        TemplateError: There are fewer than two words, or two are alike or empty.

    Example:
        >>> classification_task(["sports", "politics"]).labels
        (0, 1)
    """
    return Task(
        name=_NAME,
        slots={TEXT: TEXT},
        label_column="label",
        labels=tuple(range(len(words))),
        verbalizers={_NAME: tuple(words)},
        verbalizer=_NAME,
        template=_NAME,
    )


def classification_template(words: Sequence[str]) -> Template:
    r"""Make the template that asks for one of the words.

    Example:
        >>> classification_template(["sports", "politics"]).render({"text": "Goal!"}, "sports")
        Rendered(prompt='Goal!\n\nOne of sports, politics:', completion=' sports')
    """
    listed = ", ".join(words).replace("{", "{{").replace("}", "}}")
    return Template(name=_NAME, prompt=f"{{{TEXT}}}\n\nOne of {listed}:", completion=" {label}")


def words_of(classes: Sequence[object], verbalizer: object) -> tuple[str, ...]:
    """The word that says each class.

    Args:
        classes: The classes.
        verbalizer: Class -> word, or a word for each class in order; None takes the classes' names.

    Raises:
        TemplateError: A class has no word.

    Example:
        >>> words_of(["neg", "pos"], {"neg": "bad", "pos": "good"})
        ('bad', 'good')
    """
    if verbalizer is None:
        return tuple(str(int(one) if isinstance(one, float) and one.is_integer() else one) for one in classes)
    if isinstance(verbalizer, Mapping):
        missing = [one for one in classes if one not in verbalizer]
        if missing:
            raise TemplateError(
                f"verbalizer: no word for class {missing[0]!r}; there are words for "
                f"{', '.join(map(repr, verbalizer))}; what numbers the classes, as cross_val_predict does, "
                "needs a list of words in the classes' order"
            )
        return tuple(str(verbalizer[one]) for one in classes)
    if isinstance(verbalizer, str) or not isinstance(verbalizer, Sequence) or len(verbalizer) != len(classes):
        raise TemplateError(
            f"verbalizer: expected a word for each of the classes {', '.join(map(repr, classes))}, "
            f"received {verbalizer!r}"
        )
    return tuple(map(str, verbalizer))


@dataclass(frozen=True, eq=False)
class Classification:
    """A task and what its labels are called.

    Args:
        task: The task.
        template: How it is asked.
        verbalizer: The name of one of its verbalizers; its default when None.
        classes: `[L]`, the classes, sorted.
        order: `[L]`, the place of each class among the task's labels.
        numbered: Whether the task's labels are the classes' places, and not the classes themselves.
    """

    task: Task
    template: Template
    verbalizer: str | None
    classes: NDArray[Any]
    order: NDArray[np.int64]
    numbered: bool

    @classmethod
    def of(
        cls, y: Any, task: str | Task | None, template: str | Template | None, verbalizer: Any
    ) -> "Classification":
        """Settle what is asked.

        Args:
            y: The classes of the training rows.
            task: A task, or None to make one of the classes.
            template: A template; None takes the task's.
            verbalizer: See `LLMClassifier`.

        Raises:
            TemplateError: Two classes are said by one word, or a class by none.
            ConfigError: A known task is given words instead of a verbalizer's name.
            ValueError: `y` holds no classes.
        """
        if task is None:
            check_classification_targets(y)
            classes = np.unique(column_or_1d(y, warn=True))
            if len(classes) < 2:
                raise DataError(f"y: expected two classes or more, received {classes.tolist()}")
            words = words_of(classes.tolist(), verbalizer)
            said = classification_template(words) if template is None else get_template(template)
            return cls(
                classification_task(words), said, None, classes, np.arange(len(classes)), numbered=True
            )
        task = get_task(task)
        if not (verbalizer is None or isinstance(verbalizer, str)):
            raise ConfigError(
                f"verbalizer: expected the name of one of task {task.name!r}'s "
                f"({', '.join(task.verbalizers)}), received {verbalizer!r}"
            )
        labels = np.asarray(task.labels)
        order = np.argsort(labels, kind="stable")
        said = get_template(task.template if template is None else template)
        return cls(task, said, verbalizer, labels[order], order, numbered=False)

    def rows(self, X: Any, y: Any = None) -> Dataset:  # noqa: N803
        """Lay texts out as the task's table.

        Args:
            X: Texts, one a row, or a frame that has the task's fields.
            y: Their classes, if they are known.

        Raises:
            DataError: There is no text, one is missing or empty, or a class is unknown.
        """
        frame = self._frame(X)
        if y is None:
            return read_dataset(frame, self.task, labelled=False)
        labels = column_or_1d(y, warn=True).tolist()
        if len(labels) != len(frame):
            raise DataError(f"y: expected {len(frame)} classes, one a text, received {len(labels)}")
        if self.numbered:
            numbers = {one: number for number, one in enumerate(self.classes.tolist())}
            if unknown := [one for one in labels if one not in numbers]:
                raise DataError(
                    f"y: expected one of {', '.join(map(repr, numbers))}, received {unknown[0]!r}; "
                    "fit has seen no such class"
                )
            labels = [numbers[one] for one in labels]
        frame[self.task.label_column] = labels
        return read_dataset(frame, self.task)

    def _frame(self, X: Any) -> pd.DataFrame:  # noqa: N803
        fields = self.task.fields
        if isinstance(X, pd.DataFrame):
            return pd.DataFrame({name: X[name].tolist() for name in fields if name in X}, dtype=object)
        if isinstance(X, str | bytes) or np.ndim(X) != 1 or len(fields) != 1:
            expected = "texts, one a row" if len(fields) == 1 else f"a frame of {', '.join(fields)}"
            raise DataError(f"X: expected {expected}, received {type(X).__name__} of shape {np.shape(X)}")
        return pd.DataFrame({fields[0]: list(X)}, dtype=object)
