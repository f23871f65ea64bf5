"""Label cells to indices, strictly: a spelling that the task does not know is an error, never a guess."""

import re

from kerastune.task import Task

# What an integer looks like once a frame has held it in a float column.
_INTEGER_AS_FLOAT = re.compile(r"(-?[0-9]+)\.0+")


class LabelReader:
    """Reads a task's labels from text.

    Args:
        task: The task whose labels and aliases are understood.

    Example:
        >>> from kerastune.task import get_task
        >>> reader = LabelReader(get_task("review-sentiment"))
        >>> [reader.index(text) for text in ("0", "1", "1.0", "1.5", "positive")]
        [0, 1, 1, None, None]
    """

    def __init__(self, task: Task) -> None:
        """Take the spellings from the task."""
        places = {label: place for place, label in enumerate(task.labels)}
        self._integers = {str(label): place for label, place in places.items() if isinstance(label, int)}
        self._names = {alias: places[label] for alias, label in task.aliases.items()}
        self._names |= {str(label): place for label, place in places.items()}

    @property
    def allowed(self) -> str:
        """The spellings that are understood, for a message."""
        return ", ".join(sorted(self._names, key=lambda name: self._names[name]))

    def index(self, text: str) -> int | None:
        """Return the label's index into `task.labels`, or None where `text` is no label."""
        if (as_float := _INTEGER_AS_FLOAT.fullmatch(text)) is not None:
            return self._integers.get(as_float[1])
        return self._names.get(text)
