"""Training, ours and what everybody runs, side by side.

- kerastune keras, kerastune hf: the defaults (batch size 8, loss on the label, lengths chosen from the
  rows), warmed up with two steps of each length, timed from encoding the rows to the last step.
- keras notebook: KerasHub's `fit` on "Instruction:\\n{comment}\\n\\nResponse:\\n{label}" with its
  preprocessor at 512 tokens, batch size 1, loss over every token, AdamW at 5e-5; jit_compile stays Keras'
  own choice.
- keras best: the same at the rows' own length, batch size 8, loss on the answer, compiled.
- trl: `SFTTrainer` with its defaults on prompts and completions, from the beginning of `train` to its end.
- trl best: without checkpointing, batches of 8, loss on the completion, in the dtype that is fast here.

Beside the table: how long a process takes from its start to its first step on the Keras stack, the first
time and when it is started again on the same shapes, whose programs JAX has then kept.

See `side_by_side.py` for what is the same on all sides. Examples:

    python benchmarks/train.py
    python benchmarks/train.py --only "kerastune hf" trl "trl best" --rows 320
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import hf_peers
import keras_peers
from side_by_side import (
    Measurement,
    Side,
    Timer,
    first_rows,
    make_parser,
    report,
    run_config,
    run_side,
    write_json,
)

from kerastune.batch_shapes import bucket_lengths
from kerastune.batching import Batch, training_steps
from kerastune.dataset import Dataset
from kerastune.objective import Objective
from kerastune.session import Session, open_session
from kerastune.text_layers import spare_text_layers

_STARTING = "start"


def measure_ours(args: argparse.Namespace, stack: str) -> Measurement:
    """Train on the first rows, once."""
    timer = Timer()
    dataset = first_rows("train.tsv", args.rows)
    with timer.part("load"):
        session = _begin(args, stack)
    rate = session.config.train.learning_rate
    with timer.part("first"):
        of_each_shape = {step[0].token_ids.shape: step for step in _steps(session, dataset)}
        for step in of_each_shape.values():
            for _ in range(2):
                session.stack.train_step(step, rate)
    with timer.part("steady"):
        for step in _steps(session, dataset):
            session.stack.train_step(step, rate)
    lengths = " or ".join(str(length) for _, length in sorted(of_each_shape))
    info = session.stack.info
    return timer.measurement(
        what=f"batch size {session.config.train.batch_size}, rows of {lengths} tokens, loss on the label",
        library=info.backend,
        dtype=info.dtype,
        examples=len(dataset),
    )


def _begin(args: argparse.Namespace, stack: str) -> Session:
    spare_text_layers()  # as `kerastune train` does
    session = open_session(run_config(args, stack))
    session.stack.add_lora(session.config.lora, session.config.train.seed)
    session.stack.start_training(session.config.train)
    return session


def _steps(session: Session, dataset: Dataset) -> Iterator[tuple[Batch, ...]]:
    spec = session.config.train
    encodings = session.encoder.encode(dataset)
    objective = Objective.of(spec.loss_on, session.encoder.task.loss_on, encodings.label_ids)
    examples = objective.examples(encodings.examples)
    batches = training_steps(
        examples,
        batch_size=spec.batch_size,
        pad_id=session.encoder.tokenizer.pad_id,
        lengths=bucket_lengths([len(example) for example in examples]),
        seed=spec.seed,
    )
    return (tuple(objective.batches(step)) for step in batches)


SIDES: Mapping[str, Side] = {
    "kerastune keras": lambda args: measure_ours(args, "keras"),
    "keras notebook": keras_peers.train_notebook,
    "keras best": keras_peers.train_best,
    "kerastune hf": lambda args: measure_ours(args, "hf"),
    "trl": hf_peers.train_trl,
    "trl best": hf_peers.train_trl_best,
}


def measure_starts(args: argparse.Namespace) -> dict[str, float]:
    """Time two processes from their start to the end of their first step; the second finds programs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            __file__,
            "--side",
            _STARTING,
            "--model",
            args.model,
            "--dtype",
            args.dtype,
        ]
        command += ["--rows", str(args.rows)]
        seconds = {}
        for name in ("first start, to the first step", "second start, to the first step"):
            began = time.perf_counter()
            with subprocess.Popen(
                command,
                env={**os.environ, "JAX_COMPILATION_CACHE_DIR": folder},
                stdout=subprocess.PIPE,
                text=True,
            ) as process:
                assert process.stdout is not None
                process.stdout.readline()  # said after the first step
                seconds[name] = time.perf_counter() - began
            if process.returncode:
                raise SystemExit(f"{name}: the process ended with status {process.returncode}")
    return seconds


def main() -> None:
    """Run all sides, or the one that is asked for."""
    args = make_parser(__doc__, [*SIDES, _STARTING], rows=160, peer_rows=40, slow_rows=6).parse_args()
    if args.side == _STARTING:
        session = _begin(args, "keras")
        step = next(_steps(session, first_rows("train.tsv", args.rows)))
        print(session.stack.train_step(step, session.config.train.learning_rate), flush=True)
        return
    if args.side:
        write_json(args.json, asdict(SIDES[args.side](args)))
        return
    measured = {side: run_side(__file__, args, side) for side in SIDES if side in args.only}
    starts = measure_starts(args) if _STARTING in args.only else {}
    report("training", args, "train.tsv", measured, starts, training=True)


if __name__ == "__main__":
    main()
