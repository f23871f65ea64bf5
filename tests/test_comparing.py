"""compare: the same configuration on several stacks, each in a process of its own."""

import pytest

from kerastune.cli import main
from kerastune.comparing import Compared, compare, contenders
from kerastune.config import RunConfig
from kerastune.errors import ConfigError, KerastuneError
from kerastune.parity import Line

OPTIONS = {
    "max_length": 96,
    "batch_size": 5,
    "epochs": 3,
    "learning_rate": 0.01,
    "rank": 4,
    "dtype": "float32",
}


def test_both_stacks_come_to_the_same(tiny_model, reviews_file, tmp_path):
    config = RunConfig().with_options({**OPTIONS, "model": str(tiny_model.path)})
    begun = []
    results = compare(
        config, contenders(["keras", "hf"], ["jax"]), reviews_file, reviews_file, tmp_path,
        on_start=lambda one: begun.append(str(one)),
    )  # fmt: skip
    ours, theirs = results
    assert begun == [ours.name, theirs.name] == ["keras/jax", "hf/torch"]
    assert ours.agreement(theirs) == 1
    assert ours.log_loss == pytest.approx(theirs.log_loss, abs=1e-3)
    assert ours.trainable == theirs.trainable > 0
    assert (ours.rows, ours.accuracy, ours.interval) == (theirs.rows, theirs.accuracy, theirs.interval)
    assert (tmp_path / "keras-jax" / "adapter").is_dir()


def test_a_contender_that_cannot_run_is_named(tmp_path, reviews_file):
    config = RunConfig().with_options({"model": str(tmp_path)})
    with pytest.raises(KerastuneError, match="hf/torch: ended with status 1"):
        compare(config, contenders(["hf"], []), reviews_file, reviews_file, tmp_path / "out")


@pytest.mark.parametrize(
    ("stacks", "backends", "message"),
    [
        (["kears"], ["jax"], "stacks: expected 'keras' or 'hf', received 'kears'"),
        (["keras"], ["cuda"], "backends: expected 'jax', 'tensorflow' or 'torch', received 'cuda'"),
        ([], ["jax"], "received none"),
    ],
)
def test_unknown_contenders_are_refused(stacks, backends, message):
    with pytest.raises(ConfigError, match=message):
        contenders(stacks, backends)


def test_agreement_is_the_share_of_equal_labels():
    ours, theirs = (
        Compared(
            name="x", dtype="float32", rows=4, accuracy=1.0, interval=(0.5, 1.0), log_loss=None,
            predicted=predicted, seconds=1.0, examples_per_second=1.0, peak_memory_gb=1.0, trainable=1,
        )
        for predicted in ((0, 1, 1, 0), (0, 1, 0, 0))
    )  # fmt: skip
    assert ours.agreement(theirs) == 0.75


@pytest.mark.parametrize(("measured", "status"), [(1e-6, 0), (1e-3, 1)])
def test_a_failing_line_is_the_status_of_the_command(monkeypatch, capsys, measured, status):
    line = Line("logits", measured, 1e-5)

    def prove(config, datasets, *, on_line):
        assert config.model.model == "m"
        names = [dataset.source.stem for dataset in datasets]
        assert names == ["train", "more", "validation", "challenge", "test"]
        on_line(line)
        return (line,)

    monkeypatch.setattr("kerastune.parity.prove_parity", prove)
    assert main(["parity", "--model", "m"]) == status
    assert ("FAILS" in capsys.readouterr().out) == bool(status)
