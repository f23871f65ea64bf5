"""Labelling reviews, ours and what everybody runs, side by side.

- kerastune keras, kerastune hf: the labels' log-probabilities from one forward pass a batch of 32, timed
  from encoding the rows to the last score, the second time.
- keras generate: one greedy `generate` of KerasHub a row, of sequence length 512, read as 0 or 1.
- hf generate, hf generate batched: transformers' `generate` a row, and 32 rows, at a time.
- hf forward: one forward pass of transformers for 32 rows, the whole vocabulary's logits at every token.

All sides have the same adapter, so that generation ends after the label, as a tuned model's does. It is
trained beforehand on the first rows of train.tsv, in a process of its own, unless `--run` names the run
that `--train-into` has made.

Beside the table: `kerastune score` of 100 rows with that run, the whole process from its start, twice.

See `side_by_side.py` for what is the same on all sides. Example:

    python benchmarks/score.py --rows 300 --slow-rows 4
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import hf_peers
import keras_peers
import numpy as np
from numpy.typing import NDArray
from side_by_side import (
    REVIEWS,
    Measurement,
    Side,
    Timer,
    at_least_one,
    first_rows,
    make_parser,
    report,
    run_config,
    run_side,
    write_json,
)

_COMMAND, _COMMAND_ROWS = "kerastune score", 100


def train_adapter(args: argparse.Namespace) -> None:
    """Train the adapter that all sides are given, one epoch."""
    from kerastune.fine_tuning import train

    dataset = first_rows("train.tsv", args.adapter_rows)
    options = {"loss_on": "completion", "epochs": 2, "learning_rate": 1e-3}  # it learns to end, too
    train(dataset, out=args.train_into, config=run_config(args, "keras"), **options)


def measure_ours(args: argparse.Namespace, stack: str) -> Measurement:
    """Score the first rows by likelihood."""
    from kerastune.adapter import read_adapter
    from kerastune.scoring import label_log_probabilities
    from kerastune.session import open_session
    from kerastune.text_layers import spare_text_layers

    spare_text_layers()  # as `kerastune score` does
    config, timer = run_config(args, stack), Timer()
    dataset = first_rows("test.tsv", args.rows)
    with timer.part("load"):
        session = open_session(config)
        session.stack.load_adapter(read_adapter(args.adapter)[0])

    def score() -> NDArray[np.float64]:
        return label_log_probabilities(
            session.stack,
            session.encoder.encode(dataset),
            pad_id=session.encoder.tokenizer.pad_id,
            batch_size=config.score.score_batch_size,
            show=False,
        )

    with timer.part("first"):
        score()
    with timer.part("steady"):
        scores = score()
    info = session.stack.info
    return timer.measurement(
        what=f"likelihood of the labels, batches of at most {config.score.score_batch_size}",
        library=info.backend,
        dtype=info.dtype,
        examples=len(dataset),
        right=int((scores.argmax(axis=1) == dataset.labels).sum()),
        no_label=0,
    )


SIDES: Mapping[str, Side] = {
    "kerastune keras": lambda args: measure_ours(args, "keras"),
    "keras generate": keras_peers.score_generate,
    "kerastune hf": lambda args: measure_ours(args, "hf"),
    "hf generate": hf_peers.score_generate,
    "hf generate batched": hf_peers.score_generate_batched,
    "hf forward": hf_peers.score_forward,
}


def measure_command(run: Path) -> dict[str, float]:
    """Time `kerastune score` as a whole process; the second time it finds the first's compiled programs."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / "rows.tsv", Path(folder) / "labels.tsv"
        lines = (REVIEWS / "test.tsv").read_text(encoding="utf-8").splitlines()[: 1 + _COMMAND_ROWS]
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for name in ("first", "second"):
            words = [
                sys.executable,
                "-m",
                "kerastune",
                "score",
                run,
                "--input",
                table,
                "--out",
                out,
                "--restart",
            ]
            began = time.perf_counter()
            subprocess.run([str(word) for word in words], stdout=sys.stderr, check=True)
            seconds[f"kerastune score of {_COMMAND_ROWS} rows, the {name} time"] = time.perf_counter() - began
            out.unlink()
    return seconds


def main() -> None:
    """Run all sides, or the one that is asked for."""
    parser = make_parser(__doc__, [*SIDES, _COMMAND], rows=300, peer_rows=96, slow_rows=6)
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="score with this run, not a new one")
    parser.add_argument(
        "--adapter-rows", type=at_least_one, default=300, help="rows to train it on (default: %(default)s)"
    )
    parser.add_argument("--train-into", type=Path, metavar="FOLDER", help="only train the run, into here")
    args = parser.parse_args()
    if args.train_into:
        train_adapter(args)
        return
    if args.side:
        args.adapter = args.run / "adapter"
        write_json(args.json, asdict(SIDES[args.side](args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.run is None:
            args.run = Path(folder) / "run"
            command = [sys.executable, __file__, *sys.argv[1:], "--train-into", str(args.run)]
            subprocess.run(command, stdout=sys.stderr, check=True)
        extra = ["--run", str(args.run)]
        measured = {side: run_side(__file__, args, side, extra=extra) for side in SIDES if side in args.only}
        command_seconds = measure_command(args.run) if _COMMAND in args.only else {}
    report("scoring", args, "test.tsv", measured, command_seconds, training=False)


if __name__ == "__main__":
    main()
