"""The training loop, on a linear model in numpy in the place of a stack."""

import itertools
import json
import math
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest

from kerastune.config import TrainSpec
from kerastune.encoding import Encoded
from kerastune.errors import AdapterError, ModelError, OutputError
from kerastune.objective import Objective
from kerastune.schedule import learning_rate_at, total_steps
from kerastune.stopping import Terminated
from kerastune.training import fit

EXAMPLES = tuple(Encoded(f"r{n}", (2, 3 + n % 4, 5), (7 + n % 2, 1)) for n in range(10))
WATCHED = EXAMPLES[:4]
SPEC = TrainSpec(epochs=3, batch_size=4, accumulate=1, learning_rate=0.1, seed=5)


class Killed(BaseException):
    """The process is gone: nothing more is written."""


class LinearStack:
    """A weight for each token; the loss is the squared distance of a row's sum from its first answer."""

    def __init__(self, fails_at=None, error=Killed, watched=()):
        self.seen, self.rates = [], []
        self.fails_at, self.error, self.watched = fails_at, error, list(watched)

    def start_training(self, _):
        self.weights = np.zeros(16)
        self.momentum = np.zeros(16)

    def _rest(self, batch):
        ones = np.zeros((len(batch.token_ids), 16))
        np.add.at(ones, (np.arange(len(ones))[:, None], batch.token_ids), batch.padding_mask)
        return ones, (ones @ self.weights - batch.answer_ids[:, 0]) * batch.answer_weights[:, 0]

    def train_step(self, step, learning_rate):
        if len(self.seen) == self.fails_at:
            if isinstance(self.error, float):
                return self.error
            raise self.error
        self.seen.append(tuple(name for batch in step for name in batch.example_ids))
        self.rates.append(learning_rate)
        loss = 0.0
        for batch in step:
            ones, rest = self._rest(batch)
            self.momentum = 0.5 * self.momentum + rest @ ones / len(rest)
            loss += float((rest**2).sum() / sum(batch.weight for batch in step))
        self.weights = self.weights - 0.05 * learning_rate * self.momentum
        return loss

    def step_rewards(self):
        return None

    def token_losses(self, batch):
        if self.watched:
            return batch.answer_weights * self.watched.pop(0)
        return self._rest(batch)[1][:, None] ** 2

    def training_state(self):
        return {"adapter.a": self.weights.copy(), "optimizer.0": self.momentum.copy()}

    def load_training_state(self, state):
        self.weights, self.momentum = state["adapter.a"].copy(), state["optimizer.0"].copy()


def train(stack, folder, spec=SPEC, examples=EXAMPLES, validation=WATCHED, identity=""):
    return fit(
        stack,
        examples,
        spec,
        objective=Objective("completion"),
        pad_id=0,
        folder=folder,
        validation=validation,
        identity=identity,
        show=False,
    )


def history(folder):
    entries = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in entry.items() if key != "examples_per_second"} for entry in entries]


def test_order_is_the_seeds_and_another_each_epoch(tmp_path):
    seen = {}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        stack = LinearStack()
        train(stack, tmp_path / name, TrainSpec(epochs=3, batch_size=4, accumulate=1, seed=seed))
        seen[name] = stack.seen
    assert seen["a"] == seen["b"] != seen["c"]
    epochs = [seen["a"][start : start + 3] for start in (0, 3, 6)]
    assert all(sorted(sum(epoch, ())) == sorted(e.example_id for e in EXAMPLES) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_learning_rate_warms_up_and_falls_as_a_cosine(tmp_path):
    spec = TrainSpec(epochs=5, batch_size=2, accumulate=1, learning_rate=0.5, warmup=0.2)
    stack = LinearStack()
    trained = train(stack, tmp_path, spec)
    assert trained.steps == total_steps(10, spec) == len(stack.rates) == 25
    assert stack.rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    done = np.arange(20) / 20
    assert stack.rates[5:] == pytest.approx(0.25 * (1 + np.cos(np.pi * done)))
    assert learning_rate_at(0, 10, TrainSpec(learning_rate=2.0, warmup=0.0)) == 2.0


def test_history_has_a_line_for_each_step_and_each_epoch(tmp_path):
    trained = train(LinearStack(), tmp_path)
    lines = history(tmp_path)
    steps = [line for line in lines if "step" in line]
    epochs = [line for line in lines if "step" not in line]
    assert [line["step"] for line in steps] == list(range(1, 10))
    assert [line["epoch"] for line in steps] == [1] * 3 + [2] * 3 + [3] * 3
    for line in epochs:
        losses = [step["loss"] for step in steps if step["epoch"] == line["epoch"]]
        assert line["mean_loss"] == pytest.approx(np.mean(losses))
    assert epochs[2]["mean_loss"] == trained.loss < epochs[0]["mean_loss"]
    assert min(line["validation_loss"] for line in epochs) == trained.validation_loss


def test_the_best_epoch_is_kept_and_patience_ends_the_rest(tmp_path):
    best = LinearStack(watched=[3.0])
    train(
        best,
        tmp_path / "one",
        TrainSpec(epochs=6, batch_size=4, accumulate=1, learning_rate=0.1),
        validation=(),
    )
    watched = LinearStack(watched=[3.0, 1.0, 2.0, 2.5, 0.5, 0.1])
    states = []
    original = watched.token_losses
    watched.token_losses = lambda batch: (states.append(watched.weights.copy()), original(batch))[1]
    trained = train(
        watched,
        tmp_path / "two",
        TrainSpec(epochs=6, batch_size=4, accumulate=1, patience=2, learning_rate=0.1),
    )
    assert (trained.epochs, trained.best_epoch, trained.validation_loss) == (4, 2, 1.0)
    np.testing.assert_array_equal(watched.weights, states[1])
    assert not np.array_equal(watched.weights, states[3])
    assert watched.seen == best.seen[:12]


@pytest.mark.parametrize("patience", [0, 1])
@pytest.mark.parametrize("killed_at", [1, 3, 4, 8])
@pytest.mark.parametrize("every", [0, 1, 2])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, killed_at, every, patience):
    spec = replace(SPEC, patience=patience, checkpoint_steps=every)
    whole = LinearStack()
    expected = train(whole, tmp_path / "whole", spec)
    with pytest.raises(Killed):
        train(LinearStack(fails_at=killed_at), tmp_path / "killed", spec)
    stack = LinearStack()
    resumed = train(stack, tmp_path / "killed", spec)
    epoch_end = killed_at // 3 * 3
    saved = epoch_end if not every else epoch_end + (killed_at - epoch_end) // every * every
    assert stack.seen == whole.seen[saved:]
    for name, value in whole.training_state().items():
        np.testing.assert_array_equal(stack.training_state()[name], value)
    assert history(tmp_path / "killed") == history(tmp_path / "whole")
    for name in ("steps", "epochs", "loss", "best_epoch", "validation_loss"):
        assert getattr(resumed, name) == getattr(expected, name)


def test_killed_after_the_last_step_of_an_epoch_its_validation_is_still_done(tmp_path):
    spec = replace(SPEC, checkpoint_steps=1)
    train(LinearStack(), tmp_path / "whole", spec)
    stack = LinearStack()

    def killed(_):
        raise Killed

    stack.token_losses = killed
    with pytest.raises(Killed):
        train(stack, tmp_path / "killed", spec)
    train(LinearStack(), tmp_path / "killed", spec)
    assert history(tmp_path / "killed") == history(tmp_path / "whole")


def test_started_again_at_the_very_end_there_is_nothing_to_do(tmp_path):
    expected = train(LinearStack(), tmp_path)
    stack = LinearStack()
    again = train(stack, tmp_path)
    assert stack.seen == []
    assert (again.loss, again.best_epoch) == (expected.loss, expected.best_epoch)


@pytest.mark.parametrize(
    "other",
    [
        {"spec": TrainSpec(epochs=3, batch_size=4, accumulate=1, learning_rate=0.2, seed=5)},
        {"examples": EXAMPLES[1:]},
        {"validation": ()},
        {"identity": "another base"},
    ],
)
def test_a_checkpoint_of_another_training_is_refused_and_left(tmp_path, other):
    with pytest.raises(Killed):
        train(LinearStack(fails_at=4), tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(AdapterError, match="the checkpoint is of other training rows, options") as caught:
        train(LinearStack(), tmp_path, **other)
    assert "\n" not in str(caught.value)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def checkpoints(folder):
    return sorted((folder / "checkpoint").iterdir())


@pytest.mark.parametrize("damage", [b"", b"cut", b"flipped"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage, caplog):
    spec = replace(SPEC, checkpoint_steps=1)
    whole = LinearStack()
    train(whole, tmp_path / "whole", spec)
    with pytest.raises(Killed):
        train(LinearStack(fails_at=5), tmp_path / "killed", spec)
    before, newest = checkpoints(tmp_path / "killed")
    assert (before.name[:13], newest.name[:13]) == ("step_00000004", "step_00000005")
    content = newest.read_bytes()
    damaged = content[: len(content) // 2] if damage == b"cut" else content[:-1] + bytes([content[-1] ^ 1])
    newest.write_bytes(damaged if damage else b"")
    stack = LinearStack()
    train(stack, tmp_path / "killed", spec)
    assert stack.seen == whole.seen[4:]
    np.testing.assert_array_equal(stack.weights, whole.weights)
    assert history(tmp_path / "killed") == history(tmp_path / "whole")
    (said,) = caplog.messages
    assert said.startswith(f"{newest}: damaged (its hash is not that in its name); looking for the")


def test_where_all_checkpoints_are_damaged_it_is_refused(tmp_path):
    with pytest.raises(Killed):
        train(LinearStack(fails_at=8), tmp_path)
    for path in checkpoints(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(AdapterError, match=r"checkpoint: every checkpoint is damaged; delete the folder"):
        train(LinearStack(), tmp_path)


def test_the_last_two_checkpoints_are_kept(tmp_path):
    train(LinearStack(), tmp_path, replace(SPEC, checkpoint_steps=2))
    assert [path.name[:13] for path in checkpoints(tmp_path)] == ["step_00000008", "step_00000009"]


def test_checkpoints_go_by_the_clock_too(tmp_path, monkeypatch):
    clock = itertools.count(step=40.0)
    monkeypatch.setattr("kerastune.training.time.monotonic", lambda: next(clock))
    with pytest.raises(Killed):
        train(LinearStack(fails_at=2), tmp_path, replace(SPEC, checkpoint_minutes=1.0))
    assert [path.name[:13] for path in checkpoints(tmp_path)] == ["step_00000002"]


def test_how_often_is_saved_has_no_say_in_what_is_trained(tmp_path):
    with pytest.raises(Killed):
        train(LinearStack(fails_at=4), tmp_path)
    stack = LinearStack()
    train(stack, tmp_path, replace(SPEC, checkpoint_steps=2, checkpoint_minutes=9.0))
    assert len(stack.seen) == 6


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
@pytest.mark.parametrize("at", [2, 3])
def test_a_signal_ends_the_step_writes_a_checkpoint_and_stops(tmp_path, number, error, at):
    whole = LinearStack()
    train(whole, tmp_path / "whole")
    stack = LinearStack()
    step = stack.train_step

    def signalled(batches, rate):
        if len(stack.seen) == at:
            os.kill(os.getpid(), number)
        return step(batches, rate)

    stack.train_step = signalled
    before = signal.getsignal(number)
    with pytest.raises(error):
        train(stack, tmp_path / "run")
    assert signal.getsignal(number) is before
    assert len(stack.seen) == at + 1
    assert checkpoints(tmp_path / "run")[-1].name.startswith(f"step_{at + 1:08}")
    again = LinearStack()
    train(again, tmp_path / "run")
    assert stack.seen + again.seen == whole.seen
    np.testing.assert_array_equal(again.weights, whole.weights)
    assert history(tmp_path / "run") == history(tmp_path / "whole")


def test_a_second_signal_leaves_the_step_and_what_it_tore_is_not_saved(tmp_path):
    stack = LinearStack()

    def signalled(_batches, _rate):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("not left")

    stack.train_step = signalled
    with pytest.raises(KeyboardInterrupt):
        train(stack, tmp_path)
    assert not (tmp_path / "checkpoint").exists()


def stack_that_loses(folder, after):
    """A stack in whose training a folder is removed, once so many steps are taken."""
    stack = LinearStack()
    step = stack.train_step

    def removing(batches, rate):
        if len(stack.seen) == after:
            shutil.rmtree(folder)
        return step(batches, rate)

    stack.train_step = removing
    return stack


def test_a_checkpoint_that_is_removed_while_training_is_written_again(tmp_path):
    train(stack_that_loses(tmp_path / "checkpoint", after=4), tmp_path)
    assert [path.name[:13] for path in checkpoints(tmp_path)] == ["step_00000006", "step_00000009"]


def test_a_run_whose_folder_is_gone_stops_with_one_line(tmp_path):
    stack = stack_that_loses(tmp_path / "run", after=1)
    with pytest.raises(OutputError, match=r"history\.jsonl: cannot write: No such file or directory; see to"):
        train(stack, tmp_path / "run")


def test_a_history_cut_short_is_refused(tmp_path):
    with pytest.raises(Killed):
        train(LinearStack(fails_at=4), tmp_path)
    (tmp_path / "history.jsonl").write_text("")
    with pytest.raises(AdapterError, match=r"history\.jsonl: shorter than at the checkpoint"):
        train(LinearStack(), tmp_path)
    assert (tmp_path / "history.jsonl").read_text() == ""


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_one_line(tmp_path, loss):
    whole = LinearStack()
    train(whole, tmp_path / "whole")
    with pytest.raises(ModelError) as caught:
        train(LinearStack(fails_at=2, error=loss), tmp_path / "run", replace(SPEC, checkpoint_steps=1))
    rows = ", ".join(map(repr, whole.seen[2]))
    assert str(caught.value) == (
        f"the loss is {loss} at step 3 (rows {rows}); lower learning_rate, or choose dtype float32; the last "
        "sound checkpoint is kept"
    )
    assert [path.name[:13] for path in checkpoints(tmp_path / "run")] == ["step_00000001", "step_00000002"]


@pytest.mark.parametrize("at", [0, 4])
def test_gradients_that_are_no_numbers_are_never_saved(tmp_path, at):
    stack = LinearStack()
    step = stack.train_step

    def overflowing(batches, rate):
        loss = step(batches, rate)
        if len(stack.seen) == at + 1:
            stack.momentum[3] = np.inf
        return loss

    stack.train_step = overflowing
    with pytest.raises(ModelError, match=f"the gradients are not finite at step {at + 1} .rows 'r") as caught:
        train(stack, tmp_path, replace(SPEC, checkpoint_steps=1))
    assert all(repr(name) in str(caught.value) for name in stack.seen[at])
    kept = [] if at == 0 else ["step_00000003", "step_00000004"]
    assert sorted(path.name[:13] for path in tmp_path.glob("checkpoint/*")) == kept


class ResourceExhaustedError(Exception):
    """As TensorFlow's, which is no RuntimeError."""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes\nmore"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        ResourceExhaustedError("OOM when allocating tensor with shape[9]"),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_lower(tmp_path, error):
    with pytest.raises(ModelError) as caught:
        train(LinearStack(fails_at=0, error=error), tmp_path)
    assert str(caught.value) == (
        "out of memory at 4 rows of 8 tokens; lower batch_size (and raise accumulate to keep the step) or "
        "max_length"
    )


def test_other_errors_are_left_as_they_are(tmp_path):
    with pytest.raises(ValueError, match="shapes"):
        train(LinearStack(fails_at=0, error=ValueError("shapes")), tmp_path)


def test_accumulated_batches_are_one_step(tmp_path):
    stack = LinearStack()
    trained = train(stack, tmp_path, TrainSpec(epochs=1, batch_size=2, accumulate=2))
    assert trained.steps == 3
    assert [len(step) for step in stack.seen] in ([4, 4, 2], [4, 2, 4], [2, 4, 4])
