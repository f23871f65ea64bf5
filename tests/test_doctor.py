"""The doctor on faked machines, and its small model on a real stack."""

import json
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from kerastune import doctor
from kerastune.cli import main
from kerastune.doctor import Diagnosis, Finding, stacks, surroundings
from kerastune.doctor.small_model import write_small_model
from kerastune.doctor.stacks import CANDIDATES, check_stacks, run_probe
from kerastune.doctor.versions import check_versions
from kerastune.models.folder import check_folder

GOOD = {
    "imported_seconds": 1.0, "kind": "cpu", "device": "cpu", "memory": None, "computed": 64.0,
    "dtypes": {"gemma3_text": ["float32", "why"], "llama": ["float32", "why"]},
    "steps": 3, "step_seconds": 0.5, "first_loss": 4.0, "last_loss": 3.5, "learns": True,
}  # fmt: skip


def states(findings):
    return {(finding.name, finding.state) for finding in findings}


def only(findings, state):
    return [finding for finding in findings if finding.state == state]


def test_a_machine_where_all_works():
    findings = list(check_stacks(1.0, lambda *_: GOOD, lambda _: True))
    assert states(findings) == {(candidate.name, "ok") for candidate in CANDIDATES}
    said = [finding.said for finding in findings]
    assert "dtype float32 for every model: why" in said
    assert "3 training steps on a small random model in 0.5 s, loss 4.000 to 3.500" in said


def test_a_core_install_can_train_nothing_and_says_what_brings_it():
    findings = list(check_stacks(1.0, lambda *_: pytest.fail("probed"), lambda _: False))
    assert [finding.state for finding in findings] == ["absent"] * 4 + ["broken"]
    assert findings[0].mend == "pip install 'kerastune[keras]'"
    assert findings[-1].mend.startswith("pip install 'kerastune[keras,gemma]'")
    assert all(finding.mend for finding in findings)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": "ImportError: libcuda\n is gone"}, "ImportError: libcuda is gone"),
        (GOOD | {"computed": 63.0}, "multiplies wrongly: expected 64.0, received 63.0"),
        (GOOD | {"learns": False, "last_loss": float("nan")}, "loss 4.000 to nan"),
    ],
)
def test_what_is_broken_has_what_mends_it(answer, said):
    findings = list(check_stacks(1.0, lambda *_: answer, lambda _: True))
    broken = only(findings, "broken")
    assert len(broken) >= 2
    assert said in broken[0].said
    assert all(finding.mend for finding in broken)
    assert Diagnosis(tuple(findings)).broken


def test_an_idle_gpu_is_a_warning_with_the_build_that_uses_it(monkeypatch):
    monkeypatch.setattr(stacks, "_nvidia", lambda: True)
    warnings = only(check_stacks(1.0, lambda *_: GOOD, lambda _: True), "warning")
    assert [finding.name for finding in warnings] == [candidate.name for candidate in CANDIDATES]
    assert warnings[0].mend == "pip install -U 'jax[cuda12]'"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("import time; time.sleep(60)", "no answer within 1 s"),
        ("import os; os.abort()", "the process ended with status -6: nothing was said"),
        ("import sys; sys.exit('no such symbol')", "the process ended with status 1: no such symbol"),
    ],
)
def test_a_process_that_hangs_or_dies_takes_nobody_along(monkeypatch, script, error):
    run = subprocess.run
    monkeypatch.setattr(
        stacks.subprocess, "run", lambda _, **options: run([sys.executable, "-c", script], **options)
    )
    begun = time.monotonic()
    assert run_probe(CANDIDATES[0], 1.0) == {"error": error}
    assert time.monotonic() - begun < 30


def test_versions_that_do_not_go_together():
    installed = {"kerastune": "0.1.0", "numpy": "2.1.0", "transformers": "5.1.0", "peft": "0.17.1",
                 "jax": "0.10.2", "jaxlib": "0.9.0", "torchvision": "0.20.0"}  # fmt: skip
    needs = {
        "kerastune": ["numpy>=2.0", 'peft>=0.18; extra == "hf"', 'torch>=2.6; extra == "hf"', "rich>=13"],
        "jax": ["jaxlib<=0.10.2,>=0.10.2", 'colorama; sys_platform == "never"'],
        "transformers": ['numpy<2; extra == "odd"'],
    }
    broken = only(check_versions(installed.get, lambda name: needs.get(name, [])), "broken")
    assert {(finding.name, finding.mend) for finding in broken} == {
        ("kerastune and peft", "pip install 'peft>=0.18'"),
        ("kerastune and rich", "pip install 'rich>=13'"),
        ("jax and jaxlib", "pip install 'jaxlib<=0.10.2,>=0.10.2'"),
        ("transformers and peft", "pip install 'peft>=0.18'"),
    }


def test_what_is_installed_here_goes_together():
    assert [finding.said for finding in check_versions() if finding.state != "ok"] == []


@pytest.mark.parametrize(("free", "state"), [(1e8, "broken"), (1e9, "warning"), (1e11, "ok")])
def test_disk_space(monkeypatch, free, state, tmp_path):
    monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    found = surroundings._disk("cache", tmp_path / "not" / "made")
    assert found.state == state
    assert (found.mend is None) == (state == "ok")


def test_a_folder_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(surroundings.os, "access", lambda *_: False)
    found = surroundings._disk("runs", tmp_path)
    assert (found.state, found.said) == ("broken", f"{tmp_path} cannot be written")
    assert found.mend


def test_tokens_are_said_to_be_there_and_no_more(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_SECRETabcdef")
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", "/nowhere")
    found = list(surroundings.check_tokens())
    assert [(finding.state, finding.said) for finding in found] == [
        ("ok", "yes, from the environment"), ("absent", "no")
    ]  # fmt: skip
    assert "SECRET" not in repr(found)


@pytest.mark.parametrize("broken", [False, True])
def test_the_command(monkeypatch, capsys, broken):
    finding = Finding(
        area="a", name="b", state="broken" if broken else "ok", said="[c]", mend="d" if broken else None
    )
    monkeypatch.setattr(
        doctor, "diagnose",
        lambda _, on_finding: (on_finding and on_finding(finding), Diagnosis((finding,)))[1],
    )  # fmt: skip
    assert main(["doctor", "--json"]) == int(broken)
    told = json.loads(capsys.readouterr().out)
    assert told["broken"] is broken
    assert told["findings"][0]["said"] == "[c]"
    assert main(["doctor"]) == int(broken)
    out = capsys.readouterr().out
    assert "b: [c]" in out
    assert ("1 broken" if broken else "nothing is broken") in out
    assert ("-> d" in out) is broken


def test_the_small_model_is_a_model_and_trains(tmp_path):
    from kerastune.doctor.probe import main as probe

    files = write_small_model(tmp_path)
    assert check_folder(tmp_path) == "hf"
    assert files.model_type == "llama"
    found = probe("hf", "torch", True)
    assert found["computed"] == 64.0
    assert found["learns"]
    assert np.isfinite(found["last_loss"])
    assert found["dtypes"]["gemma3_text"][0] in ("float32", "bfloat16")
