"""A run that was stopped, taken up again through the doors: flags, functions, locks."""

import fcntl
import shutil

import numpy as np
import pytest

import kerastune as kt
from kerastune.adapter import adapter_hash
from kerastune.atomic import clear_leftovers
from kerastune.cli import main
from kerastune.errors import ConfigError
from kerastune.keras_stack import KerasStack
from kerastune.locking import locked

OPTIONS = {"epochs": 2, "batch_size": 5, "max_length": 96, "learning_rate": 0.01, "rank": 4}


class Killed(BaseException):
    """The process is gone: nothing more is written."""


@pytest.fixture
def stopped(reviews_file, tiny_model, tmp_path, monkeypatch):
    """A run that was killed in its third step, after a checkpoint of the second."""
    step, taken = KerasStack.train_step, []

    def killed(self, batches, rate):
        if len(taken) == 3:
            raise Killed
        taken.append(step(self, batches, rate))
        return taken[-1]

    monkeypatch.setattr(KerasStack, "train_step", killed)
    flags = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words = [
        "train",
        "--train",
        str(reviews_file),
        "--model",
        str(tiny_model.path),
        "--out",
        str(tmp_path / "r"),
    ]
    with pytest.raises(Killed):
        main([*words, *flags])
    monkeypatch.undo()
    return tmp_path / "r"


def test_resume_needs_only_the_folder_and_ends_with_the_same_bytes(stopped, tiny_run, capsys, tmp_path):
    half = shutil.copytree(stopped, tmp_path / "half")
    assert main(["train", "--resume", "--out", str(stopped)]) == 0
    assert "going on from the checkpoint that is there" in capsys.readouterr().out
    assert adapter_hash(stopped / "adapter") == adapter_hash(tiny_run.folder / "adapter")
    assert not (stopped / "checkpoint").exists()
    assert main(["train", "--resume", "--out", str(half), "--learning-rate", "0.5"]) == 2
    assert "the checkpoint is of other training rows, options" in capsys.readouterr().err


def test_resume_where_there_is_nothing_to_resume(tiny_run, reviews, tmp_path, capsys):
    assert main(["train", "--resume", "--out", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith(
        f"kerastune: {tmp_path}/none/checkpoint: no checkpoint to resume"
    )
    with pytest.raises(
        ConfigError, match="no checkpoint to resume from; see to the name, or leave resume out"
    ):
        kt.train(reviews, out=tmp_path / "none", config=tiny_run.config, resume=True, show=False)
    assert not (tmp_path / "none").exists()


def test_killed_after_the_adapter_was_written_the_rest_is_still_done(
    tiny_run, train_tiny, tmp_path, monkeypatch
):
    def killed(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("kerastune.fine_tuning.write_text", killed)
        with pytest.raises(Killed):
            train_tiny(tmp_path / "r")
    assert (tmp_path / "r" / "adapter").is_dir()
    train_tiny(tmp_path / "r")
    assert (tmp_path / "r" / "manifest.json").is_file()
    assert adapter_hash(tmp_path / "r" / "adapter") == adapter_hash(tiny_run.folder / "adapter")
    with pytest.raises(ConfigError, match="holds a finished run"):
        train_tiny(tmp_path / "r")


def test_killed_while_it_cleaned_up_it_is_finished_and_cleaned(tiny_run, train_tiny, tmp_path):
    run = shutil.copytree(tiny_run.folder, tmp_path / "r")
    (run / "checkpoint").mkdir()
    (run / ".lock").touch()
    (run / ".manifest.json.abcd1234").touch()
    with pytest.raises(ConfigError, match="holds a finished run"):
        train_tiny(run)
    assert {path.name for path in run.iterdir()} == {path.name for path in tiny_run.folder.iterdir()}


def test_two_processes_cannot_train_into_one_folder(train_tiny, tmp_path):
    (tmp_path / "r").mkdir()
    with (tmp_path / "r" / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="r: another process is training into it; wait for its end"):
            train_tiny(tmp_path / "r")
    assert [path.name for path in (tmp_path / "r").iterdir()] == [".lock"]


def test_a_lock_leaves_nothing_and_takes_what_a_killed_process_left(tmp_path):
    with locked(tmp_path / "a" / "b" / ".lock", "taken"):
        assert (tmp_path / "a" / "b" / ".lock").exists()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".lock").touch()
    with locked(tmp_path / "a" / ".lock", "taken"):
        pass
    assert list((tmp_path / "a").iterdir()) == []


def test_what_a_killed_process_left_is_cleared_and_nothing_else(tmp_path):
    (tmp_path / ".config.toml.a1b2c3_4").write_text("half")
    (tmp_path / ".adapter.zzzzzzzz" / "old").mkdir(parents=True)
    (tmp_path / ".adapter.zzzzzzzz" / "old" / "x").write_text("whole")
    for name in (".config.toml.BACKUP12", ".other.a1b2c3_4", "config.toml"):
        (tmp_path / name).write_text("mine")
    clear_leftovers(tmp_path, "config.toml", "adapter")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".config.toml.BACKUP12", ".other.a1b2c3_4", "adapter", "config.toml"
    ]  # fmt: skip
    assert (tmp_path / "adapter" / "x").read_text() == "whole"


def test_the_estimator_goes_on_too(tiny_model, reviews, tmp_path, monkeypatch):
    def estimator():
        return kt.LLMClassifier(
            str(tiny_model.path), lora={"rank": 4}, verbalizer=["별로", "최고"], show=False,
            train={"epochs": 2, "batch_size": 5, "learning_rate": 0.01, "checkpoint_steps": 1},
        )  # fmt: skip

    texts, labels = reviews.texts, reviews.labels
    with pytest.raises(ConfigError, match="no checkpoint to resume from"):
        estimator().fit(texts, labels, folder=tmp_path / "f", resume=True)
    whole = estimator().fit(texts, labels)
    step, taken = KerasStack.train_step, []

    def killed(self, batches, rate):
        if len(taken) == 2:
            raise Killed
        taken.append(step(self, batches, rate))
        return taken[-1]

    with monkeypatch.context() as patched:
        patched.setattr(KerasStack, "train_step", killed)
        with pytest.raises(Killed):
            estimator().fit(texts, labels, folder=tmp_path / "f")
    resumed = estimator().fit(texts, labels, folder=tmp_path / "f", resume=True)
    assert len(resumed.history_) == len(whole.history_)
    for module, update in whole.adapter_.items():
        np.testing.assert_array_equal(resumed.adapter_[module].b, update.b)
    assert not (tmp_path / "f" / "checkpoint").exists()
