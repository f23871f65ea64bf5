"""The benchmarks' own arithmetic and tables, and the accelerator's script on a small shape."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kerastune.planning import find_shape
from kerastune.planning.cost import floor_flops
from kerastune.session import open_session

SCRIPTS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def side_by_side(monkeypatch):
    """The scripts import one another by name, as they do when they are run."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import side_by_side

    return side_by_side


def test_the_table_and_the_share_of_the_floor(side_by_side, tiny_model, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(side_by_side, "measure_rate", lambda *kind: {"torch": 1e6, "jax": 2e6}[kind[0]])
    args = argparse.Namespace(model=str(tiny_model.path), dtype="float32", json=tmp_path / "figures.json")
    common = {"dtype": "float32", "load_seconds": 1.0, "first_seconds": 2.0, "peak_memory_gb": 0.5}
    sides = {
        "kerastune hf": side_by_side.Measurement(
            what="ours", library="torch", first_row=0, examples=4, seconds=0.5, right=3, **common
        ),
        "peer": side_by_side.Measurement(
            what="theirs", library="jax", first_row=4, examples=2, seconds=4.0, **common
        ),
    }
    side_by_side.report("training", args, "train.tsv", sides, {"second start": 3.0}, training=True)
    printed = capsys.readouterr().out
    header, _, _, peer = (line.strip("| ").split(" | ") for line in printed.splitlines()[:4])
    assert dict(zip(header, peer, strict=False))["kerastune hf is faster by"] == "16.0"
    assert "- second start: 3.0 s" in printed
    assert "- jax multiplies 2048-square matrices at 0 GFLOP/s in float32" in printed
    figures = json.loads(args.json.read_text(encoding="utf-8"))["sides"]
    assert figures["kerastune hf"]["examples_per_second"] == 8
    encoder = open_session(side_by_side.run_config(args, "hf")).encoder
    for name, start, rows, rate, seconds in (("kerastune hf", 0, 4, 1e6, 0.5), ("peer", 4, 2, 2e6, 4.0)):
        examples = encoder.encode(side_by_side.first_rows("train.tsv", rows, start)).examples
        needed = floor_flops(find_shape(args.model)[0], sum(map(len, examples)), rows, 2, training=True)
        assert figures[name]["share_of_floor"] == pytest.approx(needed / seconds / rate)


def test_the_accelerators_script_on_a_small_shape(tmp_path):
    words = [sys.executable, SCRIPTS / "gpu.py", "--shapes", "small", "--sides", "kerastune hf", "trl"]
    words += [
        "--length",
        "16",
        "--batch-size",
        "2",
        "--steps",
        "2",
        "--dtype",
        "float32",
        "--rate-size",
        "64",
    ]
    done = subprocess.run(
        [str(word) for word in [*words, "--json", tmp_path / "found.json"]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    for side in ("kerastune hf", "trl"):
        result = found["sides"][f"small {side}"]
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"| small | {side} |"))
        assert line.split(" | ")[2] == f"{2 * 2 * 16 / result['seconds']:,.0f}"
        assert result["share"] > 0
