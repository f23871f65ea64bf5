"""KerasHub as its users run it: `fit` as the notebooks do and at its best, and one `generate` a row."""

import argparse
import os
import time
from pathlib import Path
from typing import Any

from side_by_side import RANK, Measurement, Timer, first_rows, prompts_of, run_config

from kerastune.models import resolve_model

_NOTEBOOK_LENGTH, _WARM_UP_STEPS = 512, 2


def load_keras_hub(args: argparse.Namespace, length: int) -> tuple[Any, str]:
    """Load a model as the notebook does: KerasHub's preprocessor, then LoRA.

    Of this project's environment settings only those are made that keep TensorFlow, which KerasHub imports,
    from taking a GPU's whole memory beside JAX.

    Returns:
        The KerasHub model and the dtype.
    """
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras_hub

    from kerastune.keras_stack.backend import device
    from kerastune.precision import choose_dtype

    files = resolve_model(args.model)
    fast_bfloat16 = device("jax").fast_bfloat16
    dtype = choose_dtype(args.dtype, fast_bfloat16=fast_bfloat16, model_type=files.model_type)
    causal_lm = keras_hub.models.CausalLM.from_preset(str(files.path), dtype=dtype)
    causal_lm.preprocessor.sequence_length = length
    causal_lm.backbone.enable_lora(rank=RANK)
    return causal_lm, dtype


def train_notebook(args: argparse.Namespace) -> Measurement:
    """Fit as the notebook does: 512 tokens, batch size 1, loss over every token."""
    return _fit(args, rows=args.slow_rows, length=_NOTEBOOK_LENGTH, batch_size=1, whole_text=True, jit="auto")


def train_best(args: argparse.Namespace) -> Measurement:
    """Fit with the best that KerasHub offers: the rows' own length, batch size 8, loss on the answer, jit."""

    from kerastune.batch_shapes import bucket_lengths
    from kerastune.session import open_session

    rows = args.peer_rows + 8 * _WARM_UP_STEPS
    encoder = open_session(run_config(args, "keras")).encoder
    examples = encoder.encode(first_rows("train.tsv", rows)).examples
    # Its preprocessor adds a token, and the labels are shifted by one.
    length = bucket_lengths([len(example) + 2 for example in examples], most=1)[0]
    return _fit(args, rows=args.peer_rows, length=length, batch_size=8, whole_text=False, jit=True)


def _fit(
    args: argparse.Namespace, *, rows: int, length: int, batch_size: int, whole_text: bool, jit: Any
) -> Measurement:
    warm_up = batch_size * _WARM_UP_STEPS
    dataset = first_rows("train.tsv", warm_up + rows)
    timer = Timer()
    with timer.part("load"):
        causal_lm, dtype = load_keras_hub(args, length)
        import keras

        optimizer = keras.optimizers.AdamW(learning_rate=5e-5, weight_decay=0.01)
        optimizer.exclude_from_weight_decay(var_names=["bias", "scale"])
        causal_lm.compile(
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            optimizer=optimizer,
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()] if whole_text else None,
            jit_compile=jit,
        )
    pairs = list(zip(prompts_of(dataset), map(str, dataset.labels.tolist()), strict=True))
    if whole_text:  # Gemma 3's preprocessor has no loss on what is given as the prompt
        pairs = [("", prompt + answer) for prompt, answer in pairs]
    began: list[float] = []
    # Making the input pipeline and the train function anew is no part of an epoch.
    clock = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: began.append(time.perf_counter()))

    def fit(pairs: list[tuple[str, str]]) -> None:
        prompts, responses = map(list, zip(*pairs, strict=True))
        data = {"prompts": prompts, "responses": responses}
        causal_lm.fit(data, epochs=1, batch_size=batch_size, verbose=0, callbacks=[clock])

    with timer.part("first"):
        fit(pairs[:warm_up])
    with timer.part("steady", since=lambda: began[-1]):
        fit(pairs[warm_up:])
    return timer.measurement(
        what=f"keras_hub fit, batch size {batch_size}, rows of {length} tokens, loss on "
        + ("every token" if whole_text else "the answer"),
        library="jax",
        dtype=dtype,
        first_row=warm_up,
        examples=len(pairs) - warm_up,
    )


def score_generate(args: argparse.Namespace) -> Measurement:
    """Generate an answer a row, as the notebook does."""
    dataset = first_rows("test.tsv", args.slow_rows)
    timer = Timer()
    with timer.part("load"):
        causal_lm, dtype = load_keras_hub(args, _NOTEBOOK_LENGTH)
        give_adapter(causal_lm.backbone, args.adapter)
        causal_lm.compile(sampler="greedy")
    prompts = prompts_of(dataset)
    with timer.part("first"):
        causal_lm.generate(prompts[0], max_length=_NOTEBOOK_LENGTH)
    with timer.part("steady"):
        answers = [
            causal_lm.generate(prompt, max_length=_NOTEBOOK_LENGTH).removeprefix(prompt).strip()
            for prompt in prompts
        ]
    return timer.measurement(
        what=f"keras_hub generate, a row at a time, max_length {_NOTEBOOK_LENGTH}",
        library="jax",
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
