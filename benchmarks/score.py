"""Labelling reviews, ours and the well-known notebook recipe side by side.

The recipe: one greedy `generate` of KerasHub a row, of sequence length 512, whose text after
the prompt is read as 0 or 1; jit_compile stays Keras' own choice. It warms up with one generate.

Ours: the labels' log-probabilities from one forward pass a batch of 32. It warms up with one batch of each
length, and is timed from encoding the rows to the last score.

Both sides have the same adapter, so that the recipe's generation ends after the label, as a tuned model's
does: an untuned one would write on to max_length, which the table would show as answers that are no label.
It is trained beforehand on the first rows of train.tsv, in a process of its own, unless `--adapter` names
one: the `adapter` folder of what `--train-into` has made.

See `side_by_side.py` for what is the same on both sides. Example:

    python benchmarks/score.py --backend jax --rows 300 --recipe-rows 4
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from side_by_side import (
    Measurement,
    Timer,
    at_least_one,
    first_rows,
    load_recipe,
    make_parser,
    parse,
    report,
    run_config,
    run_side,
    write_json,
)

_MAX_LENGTH = 512


def train_adapter(args: argparse.Namespace, out: Path) -> None:
    """Train the adapter that both sides are given, one epoch."""
    from kerastune.fine_tuning import train

    dataset = first_rows("train.tsv", args.adapter_rows)
    train(dataset, out=out, config=run_config(args), epochs=1, learning_rate=1e-3)


def measure_ours(args: argparse.Namespace) -> Measurement:
    """Score the first rows by likelihood."""
    from kerastune.adapter import read_adapter
    from kerastune.batching import bucket_lengths, scoring_batches
    from kerastune.encoding import Encoded
    from kerastune.scoring import label_log_probabilities
    from kerastune.session import open_session

    config, timer = run_config(args), Timer()
    batch_size = config.score.score_batch_size
    dataset = first_rows("test.tsv", args.rows)
    with timer.part("load"):
        session = open_session(config)
        session.stack.load_adapter(read_adapter(args.adapter)[0])
    pad_id = session.encoder.tokenizer.pad_id
    with timer.part("first"):
        encodings = session.encoder.encode(dataset)
        prompts = [Encoded(row.example_id, row.prompt_ids, ()) for row in encodings.examples]
        batches = scoring_batches(
            prompts,
            batch_size=batch_size,
            pad_id=pad_id,
            lengths=bucket_lengths([len(prompt) for prompt in prompts]),
        )
        of_each_shape = {batch.token_ids.shape: batch for _, batch in batches}
        for batch in of_each_shape.values():
            session.stack.label_logits(batch, [ids[0] for ids in encodings.label_ids])
    with timer.part("steady"):
        scores = label_log_probabilities(
            session.stack, session.encoder.encode(dataset), pad_id=pad_id, batch_size=batch_size, show=False
        )
    lengths = " or ".join(str(length) for _, length in sorted(of_each_shape))
    info = session.stack.info
    return timer.measurement(
        what=f"likelihood of the labels, batch size {batch_size}, prompts of {lengths} tokens",
        device=info.device,
        dtype=info.dtype,
        examples=len(dataset),
        right=int((scores.argmax(axis=1) == dataset.labels).sum()),
        no_label=0,
    )


def measure_recipe(args: argparse.Namespace) -> Measurement:
    """Generate an answer a row, as the notebook does."""
    dataset = first_rows("test.tsv", args.recipe_rows)
    timer = Timer()
    with timer.part("load"):
        causal_lm, device, dtype = load_recipe(args)
        give_adapter(causal_lm.backbone, args.adapter)
        causal_lm.compile(sampler="greedy")
    prompts = [f"Instruction:\n{row['comment']}\n\nResponse:\n" for row in dataset.rows()]
    with timer.part("first"):
        causal_lm.generate(prompts[0], max_length=_MAX_LENGTH)
    with timer.part("steady"):
        answers = [
            causal_lm.generate(prompt, max_length=_MAX_LENGTH).removeprefix(prompt).strip()
            for prompt in prompts
        ]
    return timer.measurement(
        what=f"keras_hub generate, a row at a time, max_length {_MAX_LENGTH}",
        device=device,
        dtype=dtype,
        examples=len(dataset),
        right=sum(answer == str(label) for answer, label in zip(answers, dataset.labels, strict=True)),
        no_label=sum(answer not in ("0", "1") for answer in answers),
    )


def give_adapter(backbone: Any, folder: Path) -> None:
    """Put an adapter of the native layout into the factors of Keras' `enable_lora`."""
    from kerastune.adapter import read_adapter
    from kerastune.keras_stack.lora import adaptable_layers
    from kerastune.lora import peft_to_native

    layers = adaptable_layers(backbone)
    for module, factors in read_adapter(folder)[0].items():
        layer = layers[module]
        a, b = peft_to_native(factors, layer.lora_kernel_a.shape[0], module)
        layer.lora_kernel_a.assign(a)
        layer.lora_kernel_b.assign(b)


def main() -> None:
    """Run both sides, or the one that is asked for."""
    parser = make_parser(__doc__, rows=300, recipe_rows=4)
    parser.add_argument("--adapter", type=Path, metavar="FOLDER", help="adapter to score with, not a new one")
    parser.add_argument(
        "--adapter-rows", type=at_least_one, default=300, help="rows to train it on (default: %(default)s)"
    )
    parser.add_argument(
        "--train-into", type=Path, metavar="FOLDER", help="only train the adapter, as a run here"
    )
    args = parse(parser)
    if args.stack != "keras":
        parser.error("the recipe is Keras'; --backend chooses what computes")
    if args.train_into:
        train_adapter(args, args.train_into)
        return
    if args.side:
        measured = measure_ours(args) if args.side == "ours" else measure_recipe(args)
        write_json(args.json, asdict(measured))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.adapter is None:
            run = Path(folder) / "run"
            command = [sys.executable, __file__, *sys.argv[1:], "--train-into", str(run)]
            subprocess.run(command, stdout=sys.stderr, check=True)
            args.adapter = run / "adapter"
        given = ["--adapter", str(args.adapter)]
        ours, recipe = (run_side(__file__, args, side, given) for side in ("ours", "recipe"))
    report("scoring", args, ours, recipe)


if __name__ == "__main__":
    main()
