"""The memory that a training is planned to need, and the peak that it has: each case in a process of its own.

For each case the peak of the resident memory is taken until the model is loaded and while it is trained,
beside what `kerastune.planning` said of both; `peak` is the larger one's ratio to the plan's, which should
be within 20 percent of 1. What the numbers in `kerastune/planning/runtimes.py` would have to be for each
case to be met exactly is printed after it, so that they can be set anew where a stack has changed. Rows are
reviews put together until they have the case's length. Example:

    python benchmarks/memory.py
    python benchmarks/memory.py --case hf:bfloat16:8:128:label --model SmolLM2-135M-Instruct.Q4_1.gguf
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from side_by_side import REVIEWS, machine, markdown, write_json

from kerastune.dataset import Dataset, read_dataset
from kerastune.fine_tuning import train
from kerastune.planning.runtimes import MIB, runtime_of
from kerastune.text_layers import spare_text_layers
from kerastune.training_plan import Plan

_CASES = (
    "hf:bfloat16:8:56:label", "hf:bfloat16:8:128:label", "hf:float32:8:56:label", "hf:float32:8:128:label",
    "keras:float32:8:56:label", "keras:float32:8:128:label", "keras:float32:4:64:all", "hf:bfloat16:4:64:all",
)  # fmt: skip
_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training, planned and measured, in bytes."""

    name: str
    planned_loading: int
    planned_training: int
    weights: int
    activations: int
    logits: int
    loading: int
    loaded: int
    training: int


def rows_of_length(rows: int, length: int) -> Dataset:
    """Rows that are longer than a length, so that the encoder cuts them all to it."""
    texts = read_dataset(REVIEWS / "train.tsv").texts
    joined = [
        " ".join(texts[(7 * row + place) % len(texts)] for place in range(length // 8 + 2))
        for row in range(rows)
    ]
    return read_dataset(
        pd.DataFrame(
            {"id": map(str, range(rows)), "comment": joined, "label": [row % 2 for row in range(rows)]}
        )
    )


def resident(name: str) -> int:
    """`VmHWM`, the most resident memory so far, or `VmRSS`, that of now, in bytes; Linux alone tells both."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {name}")


def measure(case: str, model: str) -> Case:
    """Train a few steps in this process."""
    spare_text_layers()  # as the command does
    stack, dtype, batch_size, length, loss_on = case.split(":")
    seen: dict[str, Any] = {}

    def on_plan(plan: Plan) -> None:
        seen.update(plan=plan.memory, loading=resident("VmHWM"), loaded=resident("VmRSS"))
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak

    with tempfile.TemporaryDirectory() as folder:
        train(
            rows_of_length(_STEPS * int(batch_size), int(length)),
            out=Path(folder) / "run",
            show=False,
            on_plan=on_plan,
            model=model,
            stack=stack,
            dtype=dtype,
            batch_size=int(batch_size),
            max_length=int(length),
            loss_on=loss_on,
        )
    plan = seen["plan"]
    return Case(
        name=case,
        planned_loading=plan.loading,
        planned_training=plan.training,
        weights=plan.weights,
        activations=plan.activations,
        logits=plan.logits,
        loading=seen["loading"],
        loaded=seen["loaded"],
        training=resident("VmHWM"),
    )


def line(case: Case) -> list[str]:
    """A case as a line of the table."""
    peak, planned = max(case.loading, case.training), max(case.planned_loading, case.planned_training)
    pairs = [
        f"{found / 1e9:.2f} / {said / 1e9:.2f}"
        for found, said in ((case.loading, case.planned_loading), (case.training, case.planned_training))
    ]
    stack = case.name.split(":", maxsplit=1)[0]
    runtime = runtime_of(stack, "torch" if stack == "hf" else "jax", "cpu")
    off = case.training - case.planned_training
    return [
        case.name,
        *pairs,
        f"{planned / peak:.2f}",
        f"{(case.loaded - case.weights) / MIB:.0f} ({runtime.imported / MIB:.0f})",
        f"{runtime.compiled / MIB + off / MIB:.0f} ({runtime.compiled / MIB:.0f})",
        f"{runtime.activations * (1 + off / case.activations):.2f} ({runtime.activations:.2f})",
    ]


def main() -> None:
    """Measure every case, or the one that is asked for in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--case", action="append", metavar="STACK:DTYPE:ROWS:TOKENS:LOSS", help="may be repeated"
    )
    parser.add_argument("--model", default="gemma3-270m", help="model or folder (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--side", metavar="CASE", help="measure this case in this process")
    args = parser.parse_args()
    if args.side:
        write_json(args.json, asdict(measure(args.side, args.model)))
        return
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "case.json"
        for case in args.case or _CASES:
            words = [sys.executable, __file__, "--side", case, "--model", args.model, "--json", str(result)]
            subprocess.run(words, stdout=sys.stderr, check=True)
            cases.append(Case(**json.loads(result.read_text(encoding="utf-8"))))
    header = [
        args.model, "loading (GB), found / planned", "training (GB), found / planned", "planned / found",
        "imported (MiB) would be", "or compiled (MiB)", "or activations",
    ]  # fmt: skip
    said = machine()
    print(markdown(header, [line(case) for case in cases]))
    print(f"\n{said['date']}, {said['cpu']}, {said['cores']} cores")
    if args.json:
        write_json(
            args.json, {"machine": said, "model": args.model, "cases": [asdict(case) for case in cases]}
        )


if __name__ == "__main__":
    main()
