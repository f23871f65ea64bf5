"""The training loop, one for every stack: order, schedule, validation, early stopping, checkpoints."""

import hashlib
import itertools
import json
import logging
import math
import reprlib
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastune.batching import Batch, Example, bucket_lengths, epoch_seed, training_steps
from kerastune.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from kerastune.config import TrainSpec
from kerastune.errors import AdapterError, ModelError, OutputError
from kerastune.memory import explained_memory_errors
from kerastune.objective import Objective
from kerastune.planning.estimate import Estimate
from kerastune.progress import progress
from kerastune.schedule import learning_rate_at, total_steps
from kerastune.stack import Stack
from kerastune.stopping import Stopping, Terminated, stopping
from kerastune.validation import validate

HISTORY, CHECKPOINT = "history.jsonl", "checkpoint"
_BEST = "best."
# What of the options has no say in what is trained: a run may go on with another value.
_INDIFFERENT = ("checkpoint_steps", "checkpoint_minutes")
_SHOWN_IDS = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What training came to.

    Args:
        steps: Optimizer steps taken.
        epochs: Epochs trained.
        loss: Mean training loss of the last epoch.
        best_epoch: The epoch whose adapter was kept, from 1.
        validation_loss: Its validation loss, if there were validation rows.
        seconds: Time spent, this session's only where training was resumed.
        examples_per_second: Rate over that time, compilation included.
    """

    steps: int
    epochs: int
    loss: float
    best_epoch: int
    validation_loss: float | None
    seconds: float
    examples_per_second: float


def fit(
    stack: Stack,
    examples: Sequence[Example],
    spec: TrainSpec,
    *,
    objective: Objective,
    pad_id: int,
    folder: Path,
    validation: Sequence[Example] = (),
    identity: str = "",
    plan: Estimate | None = None,
    show: bool = True,
) -> Trained:
    """Train a stack's adapter; where `folder` holds a checkpoint of the same training, go on from it.

    A checkpoint is written every so many steps or minutes, at the end of every epoch, and when SIGINT or
    SIGTERM comes, which are heeded between two steps. What is gone on with ends as what was never stopped.

    With validation rows, the adapter of the epoch with the lowest validation loss is kept.

    Args:
        stack: A stack with an adapter.
        examples: Labelled training examples.
        spec: How to train.
        objective: What the loss is on; the spec's own `loss_on` has been looked at.
        pad_id: The token put at padding.
        folder: The run's folder, for `history.jsonl` and `checkpoint/`.
        validation: Labelled validation examples.
        identity: What else a checkpoint must be of: the base model and the adapter.
        plan: What memory was planned, said where that runs out.
        show: Whether to show a progress bar.

    Raises:
        ModelError: Loss or gradients are not finite (the last sound checkpoint stays), or memory ran out.
        AdapterError: The checkpoint there is damaged, or of another training.
        OutputError: The history or a checkpoint cannot be written.
    """
    examples, validation = objective.examples(examples), objective.examples(validation)
    lengths = bucket_lengths([len(example) for example in examples])
    step_size = spec.batch_size * spec.accumulate
    total = total_steps(len(examples), spec)
    per_epoch = total // spec.epochs
    stack.start_training(spec)
    state = _State(folder, _digest(examples, validation, spec, repr((objective, identity))))
    state.resume(stack)
    begun, first_step = time.perf_counter(), state.step
    step: tuple[Batch, ...] = ()

    def seconds() -> float:
        return max(time.perf_counter() - begun, 1e-9)

    def speed() -> float:
        return (state.step - first_step) * step_size / seconds()

    with (
        stopping() as stop,
        state.saved_when_stopped(stack, stop),
        progress("training", total, start=state.step, show=show) as advance,
    ):
        while state.epochs_ended < spec.epochs and not state.patience_spent(spec.patience):
            epoch = state.epochs_ended
            steps = training_steps(
                examples,
                batch_size=spec.batch_size,
                accumulate=spec.accumulate,
                pad_id=pad_id,
                lengths=lengths,
                whole_text=objective.loss_on == "all",
                seed=epoch_seed(spec.seed, epoch),
                lay_out=objective.lay_out,
            )
            for batches in itertools.islice(steps, state.step - epoch * per_epoch, None):
                step = tuple(objective.batches(batches))
                rate = learning_rate_at(state.step, total, spec)
                with stop.held():
                    with _explained(step[0], "batch_size (and raise accumulate to keep the step)", plan):
                        loss = stack.train_step(step, rate)
                    if not math.isfinite(loss):
                        raise _not_finite(f"the loss is {loss}", state.step + 1, step)
                    if state.step == first_step:
                        # The probe: gradients that overflow show here, and not after an hour.
                        state.require_finite(stack, step)
                    if state.step == 0:
                        objective.check_first_loss(loss)
                    rewards = stack.step_rewards()
                    state.step += 1
                    state.log(
                        step=state.step,
                        epoch=epoch + 1,
                        loss=loss,
                        learning_rate=rate,
                        examples_per_second=speed(),
                        **({} if rewards is None else rewards.as_dict()),
                    )
                advance(note=f"loss {loss:.4f}  lr {rate:.1e}  {speed():.1f} examples/s")
                if state.due(spec):
                    state.save(stack, step)
            watched = None
            if validation:
                watched = validate(stack, validation, objective, batch_size=spec.batch_size, pad_id=pad_id)
            watched_loss, accuracy = (watched.loss, watched.accuracy) if watched else (None, None)
            with stop.held():
                state.end_epoch(stack, epoch + 1, watched_loss)
                state.log(
                    epoch=epoch + 1,
                    mean_loss=state.mean_loss(epoch + 1),
                    validation_loss=watched_loss,
                    validation_accuracy=accuracy,
                )
                state.save(stack, step)
    if state.best:
        stack.load_training_state({**stack.training_state(), **state.best})
    epochs = state.epochs_ended
    return Trained(
        steps=state.step,
        epochs=epochs,
        loss=state.mean_loss(epochs),
        best_epoch=state.best_epoch or epochs,
        validation_loss=state.best_loss,
        seconds=seconds(),
        examples_per_second=speed(),
    )


class _State:
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
            raise _not_finite("the gradients are not finite", max(self.step, self._saved_step + 1), last)
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


def _not_finite(what: str, number: int, step: Sequence[Batch]) -> ModelError:
    """Name the step and its rows: one of them may be what no dtype and no learning rate helps."""
    ids = [example_id for batch in step for example_id in batch.example_ids]
    shown = ", ".join(map(reprlib.repr, ids[:_SHOWN_IDS])) + (", ..." if len(ids) > _SHOWN_IDS else "")
    return ModelError(
        f"{what} at step {number} (rows {shown}); lower learning_rate, or choose dtype float32; the last "
        "sound checkpoint is kept"
    )


def _explained(batch: Batch, lower: str, plan: Estimate | None) -> AbstractContextManager[None]:
    rows, length = batch.token_ids.shape
    return explained_memory_errors(rows, length, lower, plan)


def _digest(
    examples: Sequence[Example], validation: Sequence[Example], spec: TrainSpec, identity: str
) -> str:
    decisive = {name: value for name, value in vars(spec).items() if name not in _INDIFFERENT}
    content = repr((list(examples), list(validation), decisive, identity))
    return hashlib.sha256(content.encode()).hexdigest()
