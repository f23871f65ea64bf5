"""Scoring with and without the key/value cache of the beginning that all prompts share.

With k examples of each label in front of every row, most of a prompt is the same in all rows. Rows a second
are taken from encoded rows to the last score, the second time over, so that nothing is compiled in it; each
stack is measured in a process of its own, without an adapter. `shots` counts those of each label, `tokens`
those of a prompt on average, `shared` those that all prompts begin with, and `off by` is the largest
difference between the labels' log-probabilities of both ways; "-" stands where sharing does not pay. Example:

    python benchmarks/prefix.py --rows 128 --shots 0 2 8
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from side_by_side import at_least_one, first_rows, machine, write_json

from kerastune.config import RunConfig
from kerastune.environment import versions
from kerastune.few_shot import choose_shots
from kerastune.prefix import pays, shared_prefix
from kerastune.scoring import label_log_probabilities
from kerastune.session import open_session


def measure(args: argparse.Namespace, stack: str) -> list[dict[str, Any]]:
    """Score the first test rows with each number of shots, both ways."""
    config = RunConfig().with_options({"model": args.model, "stack": stack, "dtype": args.dtype})
    session, dataset = open_session(config), first_rows("test.tsv", args.rows)
    pool = first_rows("train.tsv", sys.maxsize)
    found = []
    for k in args.shots:
        shots = choose_shots(pool, k, seed=0, scored=[dataset]) if k else None
        encodings = replace(session.encoder, shots=shots).encode(dataset)
        prompts = [example.prompt_ids for example in encodings.examples]
        shared = len(shared_prefix(prompts))
        seconds, scores = {}, {}
        for reuse in (False, True):
            for _ in range(2):
                began = time.perf_counter()
                scores[reuse] = label_log_probabilities(
                    session.stack,
                    encodings,
                    pad_id=session.encoder.tokenizer.pad_id,
                    batch_size=config.score.score_batch_size,
                    reuse_prefix=reuse,
                )
                seconds[reuse] = time.perf_counter() - began
        found.append(
            {
                "stack": f"{stack}/{session.stack.info.backend}",
                "dtype": session.stack.info.dtype,
                "shots": k,
                "shared_tokens": shared,
                "tokens": float(np.mean([len(prompt) for prompt in prompts])),
                "reused": pays(shared, len(prompts)),
                "without": len(dataset) / seconds[False],
                "with": len(dataset) / seconds[True],
                "difference": float(np.abs(scores[True] - scores[False]).max()),
                "right": float((scores[True].argmax(axis=1) == dataset.labels).mean()),
            }
        )
    return found


def report(args: argparse.Namespace, found: list[dict[str, Any]]) -> None:
    """Print a line for each stack and number of shots."""
    table = Table(title="the shared beginning: rows a second")
    for column in ("stack", "shots", "tokens", "shared", "without", "with", "gain", "off by"):
        table.add_column(column, justify="left" if column == "stack" else "right")
    for line in found:
        table.add_row(
            f"{line['stack']} {line['dtype']}",
            str(line["shots"]),
            f"{line['tokens']:.0f}",
            str(line["shared_tokens"]),
            f"{line['without']:.2f}",
            f"{line['with']:.2f}" if line["reused"] else "-",
            f"{line['with'] / line['without']:.2f}" if line["reused"] else "",
            f"{line['difference']:.1e}",
        )
    console = Console(markup=False, highlight=False)
    console.print(table)
    said = machine()
    console.print(f"{said['cpu']}, {said['cores']} cores; {args.model}, {args.rows} rows, without an adapter")
    console.print(", ".join(f"{name} {version}" for name, version in versions().items()), soft_wrap=True)
    if args.json:
        write_json(args.json, {"machine": said, "versions": versions(), "lines": found})


def main() -> None:
    """Run every stack, or the one that is asked for in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stacks", nargs="+", choices=("keras", "hf"), default=["keras", "hf"])
    parser.add_argument("--model", default="gemma3-270m", help="model or folder (default: %(default)s)")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--rows", type=at_least_one, default=128, help="rows scored (default: %(default)s)")
    parser.add_argument("--shots", type=int, nargs="+", default=[0, 2, 8], help="of each label")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--side", choices=("keras", "hf"), help="run this stack only, in this process")
    args = parser.parse_args()
    if args.side:
        write_json(args.json, {"lines": measure(args, args.side)})
        return
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for stack in args.stacks:
            result = Path(folder) / f"{stack}.json"
            command = [sys.executable, __file__, *sys.argv[1:], "--side", stack, "--json", str(result)]
            subprocess.run(command, stdout=sys.stderr, env=os.environ, check=True)
            found += json.loads(result.read_text(encoding="utf-8"))["lines"]
    report(args, found)


if __name__ == "__main__":
    main()
