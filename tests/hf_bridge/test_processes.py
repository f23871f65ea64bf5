"""Two processes of torchrun, connected by gloo: the same loss curve, adapter and submission as one's."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.hf_bridge.launched import OPTIONS, work
from tests.preference.test_runs import PAIRS
from tests.tiny_models import PRESET_GEMMA3

ROOT = Path(__file__).parent.parent.parent
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, make_tiny_model, reviews_file) -> Path:
    folder: Path = tmp_path_factory.mktemp("launched")
    shutil.copytree(make_tiny_model(**PRESET_GEMMA3).path, folder / "model")
    shutil.copy(reviews_file, folder / "reviews.tsv")
    keys = ("prompt", "chosen", "rejected")
    rows = [{"id": f"p{n}", **dict(zip(keys, pair, strict=False))} for n, pair in enumerate(PAIRS[:5])]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "pairs.jsonl").write_text(text + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def alone(inputs) -> Path:
    """What one process comes to."""
    work(inputs, "alone", None)
    return inputs / "alone"


def torchrun(*words, **environment) -> subprocess.CompletedProcess:
    """Run a module in two processes, each on one thread."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    return subprocess.run(
        [*command, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def losses(run: Path) -> np.ndarray:
    """The loss of every step, and those of the validation."""
    entries = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    names = ("loss", "validation_loss", "validation_accuracy", "preference_accuracy", "reward_margin")
    return np.array([entry[name] for entry in entries for name in names if entry.get(name) is not None])


def require_same_adapter(mine: Path, other: Path) -> None:
    found, expected = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (mine, other))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("shard", [None, "fsdp"])
def test_two_processes_come_to_what_one_does(inputs, alone, shard):
    name = str(shard)
    # With a cache of its own, it finds no reference of the pairs that another has computed.
    own = str(inputs / f"{name}_cache")
    words = json.dumps([str(inputs), name, shard])
    done = torchrun("tests.hf_bridge.launched", words, KERASTUNE_CACHE=own)
    assert done.returncode == 0, done.stderr
    together = inputs / name
    for run in ("run", "pairs"):
        assert len(losses(alone / run)) >= 4
        np.testing.assert_allclose(losses(together / run), losses(alone / run), atol=TOLERANCE)
        require_same_adapter(together / run, alone / run)
    assert (together / "submission.tsv").read_bytes() == (alone / "submission.tsv").read_bytes()
    mine, expected = (
        json.loads((folder / "run" / "metrics.json").read_text())["reviews"]["model"]
        for folder in (together, alone)
    )
    assert mine["accuracy"] == expected["accuracy"]
    assert mine["log_loss"] == pytest.approx(expected["log_loss"], abs=TOLERANCE)
    numbers, reference = np.load(together / "numbers.npz"), np.load(alone / "numbers.npz")
    for key in set(reference.files) - {"held"}:
        np.testing.assert_allclose(numbers[key], reference[key], atol=10 * TOLERANCE, err_msg=key)
    assert float(numbers["held"]) == pytest.approx(0.5 if shard else 1.0, abs=0.05)


@pytest.fixture(scope="module")
def command(inputs) -> list[str]:
    """What trains as `alone` was trained, on the command line."""
    options = OPTIONS | {"model": inputs / "model", "checkpoint_steps": 1}
    flags = [(f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if name != "show"]
    files = ("--train", str(inputs / "reviews.tsv"), "--validation", str(inputs / "reviews.tsv"))
    return ["train", *files, *(word for flag in flags for word in flag)]


def test_a_process_that_is_killed_ends_all_and_what_it_was_in_is_gone_on_with(inputs, alone, command):
    out = inputs / "killed"
    ended = torchrun("tests.hf_bridge.faulty", *command, "--out", out, FAULTY="1", FAULT="killed")
    assert ended.returncode != 0
    assert ended.stderr.count("kerastune: another process of the launch has ended") == 1, ended.stderr
    assert len(list((out / "checkpoint").iterdir())) > 0
    assert not (out / "adapter").exists()
    done = torchrun("kerastune", "train", "--resume", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("going on from the checkpoint that is there") == 1
    assert "on hf/torch, 2 x cpu, float32" in done.stdout
    np.testing.assert_allclose(losses(out), losses(alone / "run"), atol=TOLERANCE)
    require_same_adapter(out, alone / "run")


def test_what_is_told_to_stop_finishes_its_step_and_keeps_it(inputs, command):
    out = inputs / "stopped"
    words = ("--checkpoint-steps", "0", "--out", out)
    ended = torchrun("tests.hf_bridge.faulty", *command, *words, FAULTY="0", FAULT="told to stop")
    said = [line.partition("kerastune: ")[2] for line in ended.stderr.splitlines() if "kerastune: " in line]
    kept = f"{out / 'checkpoint'}: kept after step 3; start again to go on"
    assert said == [kept, "told to stop (SIGTERM)"], ended.stderr


@pytest.mark.parametrize("shard", [(), ("--shard", "fsdp")], ids=["whole", "fsdp"])
def test_an_error_of_the_second_process_is_said_once_by_the_first(inputs, command, shard):
    out = inputs / f"failed{len(shard)}"
    fault = "out of memory"
    ended = torchrun("tests.hf_bridge.faulty", *command, *shard, "--out", out, FAULTY="1", FAULT=fault)
    assert ended.returncode != 0
    said = [line for line in ended.stderr.splitlines() if "kerastune: " in line]
    assert len(said) == 1, ended.stderr
    assert "kerastune: out of memory at 3 rows of" in said[0]
