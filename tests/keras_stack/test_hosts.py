"""Two hosts' processes on one CPU, connected by gloo: the same losses, adapter and submission as one's."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.keras_stack.on_hosts import work

ROOT = Path(__file__).parents[2]
#: Mesh, devices a host, how far adapters may be from one device's: split sums are rounded otherwise.
MESHES = {"copies": ("data=2", 1, 1e-5), "split": ("data=2,model=2", 2, 1e-4)}


class Ended(NamedTuple):
    """What came of a process."""

    status: int
    out: str
    error: str


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, make_tiny_model, reviews_file) -> Path:
    folder: Path = tmp_path_factory.mktemp("hosts")
    shutil.copytree(make_tiny_model().path, folder / "model")
    shutil.copy(reviews_file, folder / "reviews.tsv")
    return folder


@pytest.fixture(scope="module")
def alone(inputs) -> Path:
    """What one process comes to."""
    work(inputs, "alone", None)
    return inputs / "alone"


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def on_two_hosts(*words, devices=1, **environment) -> list[Ended]:
    """Run a module in two processes that take each other for hosts."""
    shared = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": free_address(),
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "COLUMNS": "200",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *map(str, words)],
            cwd=ROOT,
            env=os.environ | shared | environment | {"KERAS_DISTRIBUTION_PROCESS_ID": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        # The second's few lines wait in their pipes meanwhile.
        said = [process.communicate(timeout=400) for process in started]
    finally:
        for process in started:
            process.kill()
    return [Ended(process.returncode, *one) for process, one in zip(started, said, strict=True)]


def losses(run: Path) -> np.ndarray:
    entries = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return np.array([entry["loss"] for entry in entries if "loss" in entry])


@pytest.mark.parametrize("name", MESHES)
def test_two_hosts_come_to_what_one_process_does(inputs, alone, name):
    mesh, devices, tolerance = MESHES[name]
    ended = on_two_hosts("tests.keras_stack.on_hosts", json.dumps([str(inputs), name, mesh]), devices=devices)
    assert [one.status for one in ended] == [0, 0], ended
    assert ended[1].out == ended[1].error == ended[0].error == ""
    together = inputs / name
    assert len(losses(alone / "run")) == 4
    np.testing.assert_allclose(losses(together / "run"), losses(alone / "run"), rtol=1e-4)
    found, expected = (load_file(one / "run/adapter/adapter_model.safetensors") for one in (together, alone))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=tolerance, err_msg=key)
    assert max(np.abs(value).max() for key, value in expected.items() if "lora_B" in key) > 0.01
    assert (together / "submission.tsv").read_bytes() == (alone / "submission.tsv").read_bytes()
    numbers, reference = np.load(together / "found.npz"), np.load(alone / "found.npz")
    np.testing.assert_allclose(numbers["scores"], reference["scores"], atol=1e-4)
    assert numbers["written"].tolist() == reference["written"].tolist()
    assert numbers["prefix"] == reference["prefix"] == 3
    assert (
        (together / "device.txt")
        .read_text()
        .startswith(f"2 x cpu; {2 * devices} devices, data=2, model={devices}")
    )


@pytest.fixture(scope="module")
def command(inputs) -> list[str]:
    options = {"model": inputs / "model", "train": inputs / "reviews.tsv", "dtype": "float32"}
    options |= {"batch_size": 5, "epochs": 2, "max_length": 96}
    return [
        "train",
        *(word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "mesh: expected all 2 devices of the 2 hosts, received none; say --mesh data=2, or model=N"),
        (("--mesh", "data=2", "--targets", "q_prog"), "no layer 'q_prog' can be adapted"),
    ],
    ids=["no mesh", "no such layer"],
)
def test_what_is_refused_is_said_once_and_all_end_with_its_status(inputs, command, words, said):
    first, second = on_two_hosts("kerastune", *command, *words, "--out", inputs / "refused")
    assert (first.status, second.status) == (2, 2), (first, second)
    assert first.error.startswith("kerastune: ")
    assert first.error.count("\n") == 1
    assert said in first.error
    assert second.out == second.error == ""


def test_what_is_told_to_stop_keeps_its_step_and_all_end_with_its_status(inputs, command):
    out = inputs / "stopped"
    words = (*command, "--mesh", "data=2", "--out", out)
    first, second = on_two_hosts("tests.keras_stack.faulty", *words, FAULTY="0", FAULT="told to stop")
    assert (first.status, second.status) == (143, 143), (first, second)
    assert "kept after step 2" in first.error
    assert len(losses(out)) == 2
    assert second.out == second.error == ""


def test_an_error_of_the_second_host_is_said_by_the_first(inputs, command):
    words = (*command, "--mesh", "data=2", "--out", inputs / "failed")
    first, second = on_two_hosts("tests.keras_stack.faulty", *words, FAULTY="1", FAULT="no such luck")
    assert (first.status, second.status) == (1, 1), (first, second)
    said = [line for line in first.error.splitlines() if line.startswith("kerastune: ")]
    assert len(said) == 1, first.error
    assert "RuntimeError: process 1: no such luck" in said[0]


ALONE = """
import sys
from kerastune.cli import main
from kerastune.keras_stack import hosts

hosts._MEETING = 1
sys.exit(main(["--help"]))
"""


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_host_that_is_alone_ends_with_one_line(rank):
    said = {"JOB_ADDRESSES": "127.0.0.1:9", "NUM_PROCESSES": "2", "PROCESS_ID": rank}
    if rank == "0":
        said["JOB_ADDRESSES"] = free_address()
    environment = os.environ | {f"KERAS_DISTRIBUTION_{name}": value for name, value in said.items()}
    ended = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "kerastune: the 2 hosts do not find each other: waited 1 s; start the same command on each, and see "
        f"that {said['JOB_ADDRESSES']} can be reached from all\n"
    )
