"""The training loop, one for every stack: order, schedule, validation, early stopping, checkpoints."""

import hashlib
import itertools
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from kerastune.batch_shapes import bucket_lengths
from kerastune.batching import Batch, Example, epoch_seed, training_steps
from kerastune.config import TrainSpec
from kerastune.memory import explained_memory_errors
from kerastune.objective import Objective
from kerastune.planning.estimate import Estimate
from kerastune.progress import progress
from kerastune.schedule import learning_rate_at, total_steps
from kerastune.stack import Stack
from kerastune.stopping import stopping
from kerastune.training_state import TrainingState, not_finite
from kerastune.validation import validate

# What of the options has no say in what is trained: a run may go on with another value.
_INDIFFERENT = ("checkpoint_steps", "checkpoint_minutes")


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
    state = TrainingState(folder, _digest(examples, validation, spec, repr((objective, identity))))
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
                        raise not_finite(f"the loss is {loss}", state.step + 1, step)
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


def _explained(batch: Batch, lower: str, plan: Estimate | None) -> AbstractContextManager[None]:
    rows, length = batch.token_ids.shape
    return explained_memory_errors(rows, length, lower, plan)


def _digest(
    examples: Sequence[Example], validation: Sequence[Example], spec: TrainSpec, identity: str
) -> str:
    decisive = {name: value for name, value in vars(spec).items() if name not in _INDIFFERENT}
    content = repr((list(examples), list(validation), decisive, identity))
    return hashlib.sha256(content.encode()).hexdigest()
