"""The stacks that are installed: each of their backends is looked at in a process of its own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from kerastune.doctor.finding import Finding, State
from kerastune.errors import one_line

_GB = 1e9
_MATRIX_PRODUCT = 64.0


class Candidate(NamedTuple):
    """A stack on a backend.

    Args:
        stack: The stack's name.
        backend: What computes.
        packages: What it needs, by import name.
        extra: What brings them.
        train: Whether the stack is trained on this one, which is its default.
    """

    stack: str
    backend: str
    packages: tuple[str, ...]
    extra: str
    train: bool

    @property
    def name(self) -> str:
        """Such as `keras/jax`."""
        return f"{self.stack}/{self.backend}"


CANDIDATES = (
    Candidate("keras", "jax", ("keras", "keras_hub", "jax", "tokenizers"), "keras", train=True),
    Candidate(
        "keras", "tensorflow", ("keras", "keras_hub", "tensorflow", "tokenizers"), "keras", train=False
    ),
    Candidate("keras", "torch", ("keras", "keras_hub", "torch", "tokenizers"), "keras,hf", train=False),
    Candidate("hf", "torch", ("transformers", "peft", "torch", "tokenizers"), "hf", train=True),
)

Probe = Callable[[Candidate, float], dict[str, Any]]


def run_probe(candidate: Candidate, timeout: float) -> dict[str, Any]:
    """Look at a stack in another process; its answer, or an `error`."""
    words = [candidate.stack, candidate.backend, "train" if candidate.train else "import"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kerastune.doctor.probe", *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        answer = json.loads(done.stdout.splitlines()[-1])
        return answer if isinstance(answer, dict) else {"error": "an answer that is none"}
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {timeout:.0f} s"}
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        return {"error": f"the process ended with status {done.returncode}: {last}"}


def installed(package: str) -> bool:
    """Whether a package is there, without importing it."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def check_stacks(
    timeout: float, probe: Probe = run_probe, has: Callable[[str], bool] = installed
) -> Iterator[Finding]:
    """Import, compute and train with every stack that is installed.

    Args:
        timeout: Seconds for each.
        probe: Looks at one.
        has: Whether a package is installed.
    """
    works = 0
    for candidate in CANDIDATES:
        missing = [package for package in candidate.packages if not has(package)]
        if missing:
            yield Finding(
                area="stacks",
                name=candidate.name,
                state="absent",
                said=f"not installed (no {', '.join(missing)})",
                mend=f"pip install 'kerastune[{candidate.extra}]'",
            )
            continue
        findings = list(_of_answer(candidate, probe(candidate, timeout)))
        works += candidate.train and all(finding.state != "broken" for finding in findings)
        yield from findings
    if not works:
        yield Finding(
            area="stacks",
            name="training",
            state="broken",
            said="no stack that works: tables can be read and reported on, but nothing trained or scored",
            mend="pip install 'kerastune[keras,gemma]', or 'kerastune[hf,gemma]', or 'kerastune[all]'",
        )


def _of_answer(candidate: Candidate, answer: dict[str, Any]) -> Iterator[Finding]:
    if "error" in answer:
        again = f"pip install --force-reinstall 'kerastune[{candidate.extra}]'"
        slow = "no answer" in answer["error"]
        yield _finding(
            candidate,
            "broken",
            one_line(answer["error"], most=300),
            "kerastune doctor --timeout 600" if slow else again,
        )
        return
    if answer["computed"] != _MATRIX_PRODUCT:
        said = f"multiplies wrongly: expected {_MATRIX_PRODUCT}, received {answer['computed']}"
        yield _finding(candidate, "broken", said, "choose another backend with --backend")
        return
    memory = "" if answer["memory"] is None else f" with {answer['memory'] / _GB:.1f} GB"
    said = f"computes on {answer['device']}{memory}; imported in {answer['imported_seconds']:.1f} s"
    idle = answer["kind"] == "cpu" and _nvidia()
    yield _finding(
        candidate,
        "warning" if idle else "ok",
        f"{said}; there is an NVIDIA GPU that it does not use" if idle else said,
        _cuda(candidate.backend) if idle else None,
    )
    kinds = {tuple(decision) for decision in answer["dtypes"].values()}
    for dtype, reason in sorted(kinds):
        families = [name for name, decision in answer["dtypes"].items() if tuple(decision) == (dtype, reason)]
        which = "every model" if len(kinds) == 1 else ", ".join(families)
        yield _finding(candidate, "ok", f"dtype {dtype} for {which}: {reason}")
    if "steps" in answer:
        state: State = "ok" if answer["learns"] else "broken"
        said = (
            f"{answer['steps']} training steps on a small random model in {answer['step_seconds']:.1f} s, "
            f"loss {answer['first_loss']:.3f} to {answer['last_loss']:.3f}"
        )
        mend = "kerastune train --dtype float32, or another --backend" if state == "broken" else None
        yield _finding(candidate, state, said, mend)


def _finding(candidate: Candidate, state: State, said: str, mend: str | None = None) -> Finding:
    return Finding(area="stacks", name=candidate.name, state=state, said=said, mend=mend)


def _nvidia() -> bool:
    return shutil.which("nvidia-smi") is not None and Path("/dev/nvidia0").exists()


def _cuda(backend: str) -> str:
    return {
        "jax": "pip install -U 'jax[cuda12]'",
        "tensorflow": "pip install 'tensorflow[and-cuda]'",
        "torch": "install the CUDA build of torch: pip install torch --index-url <the one for your driver>",
    }[backend]
