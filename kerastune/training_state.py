"""Where training stands: in memory, in the history, and in the checkpoints that it goes on from."""

import json
import logging
import math
import reprlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastune.batching import Batch
from kerastune.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from kerastune.config import TrainSpec
from kerastune.errors import AdapterError, ModelError, OutputError
from kerastune.stack import Stack
from kerastune.stopping import Stopping, Terminated

HISTORY, CHECKPOINT = "history.jsonl", "checkpoint"
_BEST = "best."
_SHOWN_IDS = 8

_log = logging.getLogger(__name__)


class TrainingState:
    """Where training stands, in memory and in the run's folder."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.history, self.checkpoint = folder / HISTORY, folder / CHECKPOINT
        self.digest = digest
        self.step = self.epochs_ended = self._saved_step = 0
        self.best_loss: float | None = None
        self.best_epoch = 0
        self.best: dict[str, Any] = {}
        self._saved_at = time.monotonic()

    def resume(self, stack: Stack) -> None:
        """Take up a checkpoint where there is one; else begin the history anew."""
        found = read_checkpoint(self.checkpoint, self.digest)
        self._cut_history(found.history_bytes if found else 0)
        if found is None:
            return
        self.step, self.epochs_ended, self._saved_step = found.step, found.epochs_ended, found.step
        self.best_loss, self.best_epoch = found.best_loss, found.best_epoch
        self.best = {
            name.removeprefix(_BEST): value
            for name, value in found.variables.items()
            if name.startswith(_BEST)
        }
        stack.load_training_state(
            {name: value for name, value in found.variables.items() if not name.startswith(_BEST)}
        )

    def _cut_history(self, size: int) -> None:
        """Take off what was logged after the checkpoint; it will be logged again."""
        try:
            self.history.parent.mkdir(parents=True, exist_ok=True)
            with self.history.open("ab") as file:
                if file.tell() < size:
                    raise AdapterError(
                        f"{self.history}: shorter than at the checkpoint; delete {self.checkpoint} to "
                        "start anew"
                    )
                file.truncate(size)
        except OSError as error:
            raise OutputError(
                f"{self.history}: cannot write: {error.strerror}; choose another --out"
            ) from error

    def end_epoch(self, stack: Stack, epoch: int, loss: float | None) -> None:
        """Count the epoch, and keep the adapter where the validation loss is the lowest so far."""
        self.epochs_ended = epoch
        if loss is not None and (self.best_loss is None or loss < self.best_loss):
            self.best_loss, self.best_epoch = loss, epoch
            # The optimizer's variables are no part of the adapter that is kept.
            self.best = {
                name: value
                for name, value in stack.training_state().items()
                if not name.startswith("optimizer.")
            }

    def patience_spent(self, patience: int) -> bool:
        """Whether so many epochs have ended without a better validation loss."""
        return patience > 0 and self.best_epoch > 0 and self.epochs_ended - self.best_epoch >= patience

    def log(self, **entry: float | int | None) -> None:
        """Append a line to the history."""
        with self._reported(), self.history.open("a", encoding="utf-8", newline="") as file:
            file.write(json.dumps(entry) + "\n")

    def mean_loss(self, epoch: int) -> float:
        """The mean training loss of an epoch, counted from 1, whichever session took its steps."""
        with self._reported():
            lines = self.history.read_text(encoding="utf-8").splitlines()
        entries = map(json.loads, lines)
        losses = [entry["loss"] for entry in entries if "step" in entry and entry["epoch"] == epoch]
        return float(np.mean(losses)) if losses else math.nan

    def due(self, spec: TrainSpec) -> bool:
        """Whether so many steps or minutes have passed since the last checkpoint."""
        steps, seconds = self.step - self._saved_step, time.monotonic() - self._saved_at
        return (0 < spec.checkpoint_steps <= steps) or (0 < spec.checkpoint_minutes * 60 <= seconds)

    def save(self, stack: Stack, last: Sequence[Batch] = ()) -> None:
        """Write the checkpoint, unless that would put one that is not sound in the place of one that is.

        Args:
            stack: The stack.
            last: The batches of the last step, for the message.

        Raises:
            ModelError: A number in it is not finite.
        """
        variables = self.require_finite(stack, last)
        with self._reported():
            history_bytes = self.history.stat().st_size
        best = {_BEST + name: value for name, value in self.best.items()}
        write_checkpoint(
            self.checkpoint,
            Checkpoint(
                digest=self.digest,
                step=self.step,
                epochs_ended=self.epochs_ended,
                best_loss=self.best_loss,
                best_epoch=self.best_epoch,
                history_bytes=history_bytes,
                variables={**variables, **best},
            ),
        )
        self._saved_step, self._saved_at = self.step, time.monotonic()

    def require_finite(self, stack: Stack, last: Sequence[Batch]) -> dict[str, NDArray[Any]]:
        """Return the stack's training state, in which a gradient that was no number has left its trace."""
        variables = stack.training_state()
        if not all(np.isfinite(value).all() for value in variables.values()):
            raise not_finite("the gradients are not finite", max(self.step, self._saved_step + 1), last)
        return variables

    @contextmanager
    def saved_when_stopped(self, stack: Stack, stop: Stopping) -> Iterator[None]:
        """Write a checkpoint where the block is told to stop, unless in the middle of a step."""
        try:
            yield
        except (KeyboardInterrupt, Terminated):
            if self.step > self._saved_step and not stop.torn:
                self.save(stack)
            if self._saved_step:
                _log.warning(
                    "%s: kept after step %d; start again to go on", self.checkpoint, self._saved_step
                )
            raise

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self.history}: cannot write: {error.strerror}; see to the disk and start the run again, "
                "it goes on from its last checkpoint"
            ) from error


def not_finite(what: str, number: int, step: Sequence[Batch]) -> ModelError:
    """Name the step and its rows: one of them may be what no dtype and no learning rate helps."""
    ids = [example_id for batch in step for example_id in batch.example_ids]
    shown = ", ".join(map(reprlib.repr, ids[:_SHOWN_IDS])) + (", ..." if len(ids) > _SHOWN_IDS else "")
    return ModelError(
        f"{what} at step {number} (rows {shown}); lower learning_rate, or choose dtype float32; the last "
        "sound checkpoint is kept"
    )
