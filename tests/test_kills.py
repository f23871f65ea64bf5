"""Real processes, killed and started again: a round of `benchmarks/kills.py` on each stack."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "kills.py"


@pytest.mark.parametrize("stack", ["keras", "hf"])
def test_what_is_killed_and_resumed_ends_as_what_was_not(stack):
    words = [sys.executable, SCRIPT, "--here", "--stacks", stack, "--rounds", "1", "--seed", "7"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills in all"] >= 4
    assert found["kills"]["training, at a change of the disk"] >= 1
    assert found["kills"]["scoring, at a change of the disk"] >= 1
