"""Training, ours and what everybody runs, side by side.

The recipe on Keras: KerasHub's `fit` on "Instruction:\\n{comment}\\n\\nResponse:\\n{label}" with its
preprocessor at sequence_length 512, batch size 1, loss over every token, LoRA of rank 4, AdamW at 5e-5 with a
decay of 0.01 but on biases and scales; jit_compile stays Keras' own choice. It warms up on 2 rows in a `fit`
of its own and is timed from the beginning of the next fit's first epoch to its end.

The recipe on Hugging Face (--stack hf): TRL's `SFTTrainer` with its defaults on the same prompts and
answers and LoRA of rank 4 on the same layers, timed from the beginning of `train` to its end, after a
`train` on 8 rows.

Ours: the defaults (batch size 8, loss on the answer, lengths chosen from the rows). It warms up with two
steps of each length, and is timed from encoding the rows to the last step.

See `side_by_side.py` for what is the same on both sides. Example:

    python benchmarks/train.py --backend jax --rows 160 --recipe-rows 6
    python benchmarks/train.py --stack hf --rows 160 --recipe-rows 40
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict

from side_by_side import (
    RANK,
    Measurement,
    Timer,
    first_rows,
    load_recipe,
    make_parser,
    parse,
    report,
    run_config,
    run_side,
    write_json,
)

_WARM_UP_ROWS = 2
_SFT_WARM_UP_ROWS = 8


def measure_ours(args: argparse.Namespace) -> Measurement:
    """Train on the first rows, once."""
    from kerastune.batching import Batch, bucket_lengths, training_steps
    from kerastune.objective import Objective
    from kerastune.session import open_session

    config, timer = run_config(args), Timer()
    spec = config.train
    dataset = first_rows("train.tsv", args.rows)
    with timer.part("load"):
        session = open_session(config)
        session.stack.add_lora(config.lora, spec.seed)
        session.stack.start_training(spec)

    def steps() -> Iterator[tuple[Batch, ...]]:
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

    with timer.part("first"):
        of_each_shape = {step[0].token_ids.shape: step for step in steps()}
        for step in of_each_shape.values():
            for _ in range(2):
                session.stack.train_step(step, spec.learning_rate)
    with timer.part("steady"):
        for step in steps():
            session.stack.train_step(step, spec.learning_rate)
    lengths = " or ".join(str(length) for _, length in sorted(of_each_shape))
    info = session.stack.info
    return timer.measurement(
        what=f"batch size {spec.batch_size}, rows of {lengths} tokens, loss on the label",
        device=info.device,
        dtype=info.dtype,
        examples=len(dataset),
    )


def measure_recipe(args: argparse.Namespace) -> Measurement:
    """Fit as the notebook does."""
    dataset = first_rows("train.tsv", _WARM_UP_ROWS + args.recipe_rows)
    timer = Timer()
    with timer.part("load"):
        causal_lm, device, dtype = load_recipe(args)
        import keras

        optimizer = keras.optimizers.AdamW(learning_rate=5e-5, weight_decay=0.01)
        optimizer.exclude_from_weight_decay(var_names=["bias", "scale"])
        causal_lm.compile(
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            optimizer=optimizer,
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
        )
    texts = [
        f"Instruction:\n{row['comment']}\n\nResponse:\n{label}"
        for row, label in zip(dataset.rows(), dataset.labels.tolist(), strict=True)
    ]
    began: list[float] = []
    # Making the input pipeline and the train function anew is no part of an epoch.
    clock = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: began.append(time.perf_counter()))

    def fit(texts: list[str]) -> None:
        # All of the text as the response: Gemma 3's preprocessor then puts the loss on all of it.
        data = {"prompts": [""] * len(texts), "responses": texts}
        causal_lm.fit(data, epochs=1, batch_size=1, verbose=0, callbacks=[clock])

    with timer.part("first"):
        fit(texts[:_WARM_UP_ROWS])
    with timer.part("steady", since=lambda: began[-1]):
        fit(texts[_WARM_UP_ROWS:])
    return timer.measurement(
        what="keras_hub fit, batch size 1, rows of 512 tokens, loss on every token",
        device=device,
        dtype=dtype,
        examples=len(texts) - _WARM_UP_ROWS,
    )


def measure_sft(args: argparse.Namespace) -> Measurement:
    """Train with TRL's trainer as its documentation begins: a model's path, a dataset and a LoRA."""
    import datasets
    import torch
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from kerastune.models import resolve_model

    dataset = first_rows("train.tsv", _SFT_WARM_UP_ROWS + args.recipe_rows)
    timer = Timer()
    rows = [
        {"prompt": f"Instruction:\n{row['comment']}\n\nResponse:\n", "completion": str(label)}
        for row, label in zip(dataset.rows(), dataset.labels.tolist(), strict=True)
    ]
    began: list[float] = []

    def trainer(rows: list[dict[str, str]], folder: str) -> SFTTrainer:
        return SFTTrainer(
            model=str(resolve_model(args.model).path),
            args=SFTConfig(
                output_dir=folder,
                num_train_epochs=1,
                report_to="none",
                save_strategy="no",
                use_cpu=not torch.cuda.is_available(),  # without it the defaults refuse to begin
            ),
            train_dataset=datasets.Dataset.from_list(rows),
            peft_config=LoraConfig(r=RANK, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
        )

    with tempfile.TemporaryDirectory() as folder:
        with timer.part("load"):
            warm, timed = (
                trainer(part, folder) for part in (rows[:_SFT_WARM_UP_ROWS], rows[_SFT_WARM_UP_ROWS:])
            )
        with timer.part("first"):
            warm.train()
        with timer.part("steady", since=lambda: began[-1]):
            began.append(time.perf_counter())
            timed.train()
    return timer.measurement(
        what=f"trl SFTTrainer, batch size {timed.args.per_device_train_batch_size}, gradient checkpointing "
        f"{timed.args.gradient_checkpointing}, loss on the completion",
        device=str(timed.model.device),
        dtype=f"{timed.model.get_base_model().dtype}".removeprefix("torch."),
        examples=args.recipe_rows,
    )


def main() -> None:
    """Run both sides, or the one that is asked for."""
    args = parse(make_parser(__doc__, rows=160, recipe_rows=6))
    if args.side:
        recipe = measure_sft if args.stack == "hf" else measure_recipe
        measured = measure_ours(args) if args.side == "ours" else recipe(args)
        write_json(args.json, asdict(measured))
        return
    ours, recipe = (run_side(__file__, args, side, []) for side in ("ours", "recipe"))
    report("training", args, ours, recipe)


if __name__ == "__main__":
    main()
