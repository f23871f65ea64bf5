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


PROGRAM = """HloModule jit_run

%body (p: f32[9]) -> f32[9] {
  %p = f32[9]{0} parameter(0)
}

ENTRY %main.9_spmd (a: f32[4,8], b: pred[]) -> (f32[8,8], f32[2]) {
  %a = f32[4,8]{1,0} parameter(0), sharding={devices=[2,1]<=[2]}
  %b = pred[] parameter(1)
  %whole = f32[8,8]{1,0} all-gather(%a), channel_id=1, replica_groups=[1,2]<=[2], dimensions={0}
  %sums = (f32[2]{0}, bf16[3]{0}) all-reduce(%c, %d), channel_id=2, to_apply=%add
  %more = s32[] all-reduce(%e), channel_id=3, to_apply=%add
  ROOT %both = (f32[8,8]{1,0}, f32[2]{0}) tuple(%whole, %f)
}
"""


def test_the_collectives_of_a_compiled_program(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import collectives

    program = collectives.read_program(PROGRAM)
    assert program.arguments == 4 * 8 * 4 + 1  # of the entry's parameters alone
    assert program.collectives == {"all-gather": (1, 256), "all-reduce": (2, 2 * 4 + 3 * 2 + 4)}
    assert str(program) == "1 all-gather, 0.3 kB; 2 all-reduce, 0.0 kB"


def test_what_a_mesh_is_expected_to_do(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import scaling

    of = {machine.name: machine for machine in scaling.MACHINES}
    plan, mesh = scaling.plan("llama-3.1-70b", of["8 x H100"])
    # 141 GB of bfloat16 fit on no device, and with the activations of 8 rows on no two.
    assert (str(mesh), plan.fits) == ("data=2,model=4", True)
    fewer = scaling.plan("gemma-2-27b", of["TPU v5e-8"])[0]
    assert (fewer.fits, fewer.work.batch_size) == (True, fewer.largest_batch)
    assert fewer.largest_batch < 8
    assert not scaling.plan("gemma-2-27b", of["2 x T4"])[0].fits
    found = scaling.speed(plan, mesh, of["8 x H100"], 0.4)
    # 2 operations a parameter and token, and less for what waits.
    most = 8 * 989e12 * 0.4 / (2 * plan.work.shape.backbone)
    assert 0.8 * most < found.scoring < most
    assert 0.4 * most < found.training < 0.5 * most
    assert found.device_hours(1e6, 8) == pytest.approx(8 * 64e6 / found.scoring / 3600)
    twice = scaling.speed(plan, mesh, of["8 x H100"], 0.8)
    assert found.scoring < twice.scoring < 2 * found.scoring  # transfers are no faster
    assert scaling.ring(1, 1e9, 1e9) == 0
    assert scaling.ring(4, 1e9, 1e9) == 1.5
