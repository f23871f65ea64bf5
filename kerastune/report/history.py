"""What training wrote down on its way: `history.jsonl`, read back."""

import json
from dataclasses import dataclass
from pathlib import Path

from kerastune.errors import DataError
from kerastune.training_state import HISTORY


@dataclass(frozen=True)
class Step:
    """An optimizer step: its number from 1, its loss, and the learning rate it was taken with."""

    step: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Epoch:
    """An epoch's end.

    Args:
        epoch: Its number, from 1.
        step: The last step of it.
        mean_loss: The mean training loss over it.
        validation_loss: The loss on the validation rows; None where there are none.
        validation_accuracy: The accuracy on them; None where it was not measured.
    """

    epoch: int
    step: int
    mean_loss: float
    validation_loss: float | None
    validation_accuracy: float | None


@dataclass(frozen=True)
class History:
    """A training's steps and epochs."""

    steps: tuple[Step, ...]
    epochs: tuple[Epoch, ...]


def read_history(folder: Path) -> History:
    """Read a run's `history.jsonl`; a run without one, which was not trained, has an empty history.

    Raises:
        DataError: A line of it is no entry of a history.
    """
    path = folder / HISTORY
    if not path.is_file():
        return History((), ())
    steps: list[Step] = []
    epochs: list[Epoch] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            if "step" in entry:
                steps.append(Step(int(entry["step"]), float(entry["loss"]), float(entry["learning_rate"])))
            else:
                watched = entry.get("validation_loss"), entry.get("validation_accuracy")
                last = steps[-1].step if steps else 0
                epochs.append(Epoch(int(entry["epoch"]), last, float(entry["mean_loss"]), *watched))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"{path}, line {number}: expected an entry that training wrote, received {line[:60]!r}; "
                "delete the file to report without its curves"
            ) from error
    return History(tuple(steps), tuple(epochs))
