"""LoRA steps of public models' shapes with random weights: both stacks and their peers on one accelerator.

A model of each shape is made with random weights and written to a temporary folder, since speed and memory
do not depend on what the weights are. LoRA of rank 16 on all linear layers, bfloat16, whole rows of 512
tokens, the loss on one token of each row; the peers, TRL's `SFTTrainer` without checkpointing and
KerasHub's `fit`, compute all logits, as they do for everybody. Each side runs in a process of its own.
Reported are tokens a second after the first steps, the peak of the accelerator's memory (of the process
where there is none), and the share of the rate at which the library multiplies square matrices here,
counting 4 operations a backbone parameter and token.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --shapes google/gemma-3-1b --batch-size 16 --sides "kerastune hf" trl

`--shapes small` tries the script itself where there is no accelerator.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rate import measure_rate
from side_by_side import at_least_one, machine, markdown, write_json

from kerastune.batching import Batch
from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.environment import peak_memory_gb, versions
from kerastune.models import ModelFiles
from kerastune.planning import Shape, known_shape
from kerastune.planning.cost import floor_flops
from kerastune.stack import load_stack

_SMALL = Shape(
    model_type="llama", vocabulary=256, width=64, layers=2, heads=4, kv_heads=2, head_size=16,
    feed_forward=128, tied=True,
)  # fmt: skip
_SHAPES = ("google/gemma-2b", "google/gemma-3-1b", "meta-llama/Meta-Llama-3-8B")
_WARM_UP, _RANK, _LARGE = 3, 16, 8192


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one side came to.

    Args:
        library: What multiplied.
        seconds: Of the timed steps.
        memory_gb: The most memory of the accelerator, or of the process.
    """

    library: str
    seconds: float
    memory_gb: float


def shape_of(name: str) -> Shape:
    """A shape by name."""
    shape = _SMALL if name == "small" else known_shape(name)
    if shape is None:
        raise SystemExit(f"--shapes: expected a public model's name or small, received {name!r}")
    return shape


def write_model(shape: Shape, folder: Path, dtype: str) -> None:
    """Write a model of random weights as transformers saves it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        shape.model_type,
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        intermediate_size=shape.feed_forward,
        tie_word_embeddings=shape.tied,
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)


def timed(step: Callable[[], Any], steps: int) -> float:
    """The seconds of some steps, after a few that compile."""
    for _ in range(_WARM_UP):
        step()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - began


def draw(args: argparse.Namespace, rows: int) -> np.ndarray:
    """Random tokens `[rows, length]`."""
    return np.random.default_rng(0).integers(
        3, shape_of(args.shape).vocabulary, (rows, args.length), np.int32
    )


def measure_ours(args: argparse.Namespace, stack: str) -> Result:
    """Take steps on one batch."""
    files = ModelFiles(name=args.shape, base_id=args.shape, path=args.folder, layout="hf")
    loaded = load_stack(ModelSpec(stack=stack, dtype=args.dtype), files)
    loaded.add_lora(LoraSpec(rank=_RANK), seed=0)
    loaded.start_training(TrainSpec(batch_size=args.batch_size))
    token_ids, rows = draw(args, args.batch_size), (args.batch_size, 1)
    batch = Batch(
        token_ids=token_ids,
        padding_mask=np.ones_like(token_ids, np.bool_),
        answer_positions=np.full(rows, args.length - 2, np.int32),
        answer_ids=token_ids[:, -1:],
        answer_weights=np.ones(rows, np.float32),
        example_ids=tuple(map(str, range(args.batch_size))),
    )
    seconds = timed(lambda: loaded.train_step([batch], 1e-4), args.steps)  # its loss is there when it returns
    return Result(library=loaded.info.backend, seconds=seconds, memory_gb=memory_gb(loaded.info.backend))


def measure_trl(args: argparse.Namespace) -> Result:
    """Train with TRL's trainer on tokens."""
    import datasets
    import torch
    from peft import LoraConfig
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    token_ids = draw(args, args.batch_size * (_WARM_UP + args.steps)).tolist()
    mask = [0] * (args.length - 1) + [1]
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    names = {"<pad>": 0, "<eos>": 1, "<unk>": 2}
    trainer = SFTTrainer(
        model=str(args.folder),
        args=SFTConfig(
            output_dir=str(args.folder / "trl"),
            max_steps=_WARM_UP + args.steps,
            per_device_train_batch_size=args.batch_size,
            gradient_checkpointing=False,
            completion_only_loss=True,
            max_length=args.length,
            report_to="none",
            save_strategy="no",
            bf16=args.dtype == "bfloat16",
            use_cpu=not torch.cuda.is_available(),
            model_init_kwargs={"dtype": args.dtype},
        ),
        train_dataset=datasets.Dataset.from_list(
            [{"input_ids": ids, "completion_mask": mask} for ids in token_ids]
        ),
        processing_class=PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel(names, "<unk>")), pad_token="<pad>", eos_token="<eos>"
        ),
        peft_config=LoraConfig(r=_RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Clock()],
    )
    trainer.train()
    return Result(library="torch", seconds=ends[-1] - ends[_WARM_UP - 1], memory_gb=memory_gb("torch"))


def measure_keras_hub(args: argparse.Namespace) -> Result:
    """Train with KerasHub's own model and LoRA on tokens."""
    from kerastune.keras_stack.backend import import_keras
    from kerastune.models.cache import cache_root

    keras = import_keras("jax", cache_root())
    import keras_hub

    from kerastune.keras_stack.lora import adaptable_layers

    causal_lm = keras_hub.models.CausalLM.from_preset(str(args.folder), dtype=args.dtype, preprocessor=None)
    names = sorted({layer.name for layer in adaptable_layers(causal_lm.backbone).values()})
    causal_lm.backbone.enable_lora(_RANK, target_layer_names=names)
    causal_lm.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(1e-4),
        jit_compile=True,
    )
    token_ids = draw(args, args.batch_size)
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids, np.bool_)}
    expected, weights = np.roll(token_ids, -1, axis=1), np.zeros(token_ids.shape, np.float32)
    weights[:, -2] = 1.0
    step = lambda: causal_lm.train_on_batch(inputs, expected, sample_weight=weights)  # noqa: E731
    return Result(library="jax", seconds=timed(step, args.steps), memory_gb=memory_gb("jax"))


def memory_gb(library: str) -> float:
    """The most memory of the accelerator that a library had; of the process where there is none."""
    if library == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 1e9
    elif library == "jax":
        import jax

        stats = jax.devices()[0].memory_stats()
        if stats:
            return stats["peak_bytes_in_use"] / 1e9
    return peak_memory_gb()


SIDES: dict[str, Callable[[argparse.Namespace], Result]] = {
    "kerastune keras": lambda args: measure_ours(args, "keras"),
    "keras_hub": measure_keras_hub,
    "kerastune hf": lambda args: measure_ours(args, "hf"),
    "trl": measure_trl,
}


def in_own_process(args: argparse.Namespace, side: str, shape: str, folder: Path) -> Result | str:
    """Run a side; what went wrong where it fails, as for want of memory."""
    result = folder / f"{side}.json"
    words = [sys.executable, __file__, "--side", side, "--shape", shape, "--folder", folder, "--json", result]
    for name in ("dtype", "batch_size", "length", "steps"):
        words += [f"--{name.replace('_', '-')}", getattr(args, name)]
    print(f"{shape}, {side} ...", file=sys.stderr, flush=True)
    done = subprocess.run([str(word) for word in words], stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1][:80]
    return Result(**json.loads(result.read_text(encoding="utf-8")))


def main() -> None:
    """Run all sides of all shapes, or the one that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", default=list(_SHAPES), help="public models, or small")
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    for name, default in (("batch-size", 8), ("length", 512), ("steps", 10)):
        parser.add_argument(f"--{name}", type=at_least_one, default=default, help="default: %(default)s")
    parser.add_argument("--rate-size", type=at_least_one, default=_LARGE, help="of the matrices multiplied")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--side", choices=list(SIDES), help="run this side only, in this process")
    parser.add_argument("--shape", help="of that side")
    parser.add_argument("--folder", type=Path, help="the model of that side")
    args = parser.parse_args()
    if args.side:
        write_json(args.json, asdict(SIDES[args.side](args)))
        return
    lines, found, rates = [], {}, {}
    tokens = args.batch_size * args.length * args.steps
    for name in args.shapes:
        shape = shape_of(name)
        with tempfile.TemporaryDirectory() as folder:
            write_model(shape, Path(folder), args.dtype)
            for side in args.sides:
                result = in_own_process(args, side, name, Path(folder))
                if isinstance(result, str):
                    lines.append([name, side, "", "", "", result])
                    continue
                library = result.library
                if library not in rates:
                    rates[library] = measure_rate(library, args.dtype, args.rate_size)
                needed = floor_flops(shape, tokens, args.batch_size * args.steps, 1, training=True)
                share = needed / result.seconds / rates[library]
                found[f"{name} {side}"] = asdict(result) | {"share": share}
                speed, memory = f"{tokens / result.seconds:,.0f}", f"{result.memory_gb:.2f}"
                lines.append([name, side, speed, memory, f"{share:.1%}", ""])
    header = ["shape", "side", "tokens a second", "peak memory (GB)", "share of the product's rate", ""]
    said = machine()
    print(markdown(header, lines))
    print(f"\nLoRA rank {_RANK} on all linear layers, {args.dtype}, {args.batch_size} x {args.length} tokens")
    for library, rate in rates.items():
        print(f"{library} multiplies {args.rate_size}-square matrices at {rate / 1e12:.3g} TFLOP/s")
    print(f"{said['date']}, {said['cpu']}, {said['cores']} cores{_accelerator()}")
    if args.json:
        write_json(args.json, {"machine": said, "versions": versions(), "rates": rates, "sides": found})


def _accelerator() -> str:
    import torch

    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""


if __name__ == "__main__":
    main()
