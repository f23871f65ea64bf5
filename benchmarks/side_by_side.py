"""What both benchmarks share: two sides in two processes, measured alike, in one table.

Each side runs in a process of its own, so that its peak memory is its own, and with JAX's cache of compiled
programs turned off, so that neither finds programs that the other, or an earlier run, has compiled. Reported
apart are the seconds until the model is loaded (imports and LoRA included), the seconds of the first steps,
which compile, and the steady rate, which is taken from the steps after those. Tokenising the rows counts
into the steady rate on both sides.

Both sides have one model, one dtype, the same rows in the same text (the `instruction` template with 0 and
1), and LoRA of rank 4 on query and value in Keras' own geometry. Peak memory is the process' resident memory;
a GPU's own memory is not in it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kerastune.config import RunConfig
from kerastune.dataset import Dataset, read_dataset
from kerastune.environment import peak_memory_gb, versions
from kerastune.models import resolve_model

REVIEWS = Path(__file__).parent.parent / "data" / "reviews"
RANK = 4


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one side came to.

    Args:
        what: What was run, in words.
        device: The hardware's kind.
        dtype: The base's dtype.
        examples: Rows in the timed part.
        seconds: Duration of the timed part.
        load_seconds: From the side's beginning until the model had its adapter.
        first_seconds: Duration of the steps before the timed part, which compile.
        peak_memory_gb: The most resident memory that the process had.
        right: How many of the rows were labelled rightly, where rows were labelled.
        no_label: For how many the answer was no label.
    """

    what: str
    device: str
    dtype: str
    examples: int
    seconds: float
    load_seconds: float
    first_seconds: float
    peak_memory_gb: float
    right: int | None = None
    no_label: int | None = None

    @property
    def examples_per_second(self) -> float:
        """The steady rate."""
        return self.examples / self.seconds


class Timer:
    """Times the three parts of a side."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str, since: Callable[[], float] | None = None) -> Iterator[None]:
        """Time one of the parts `load`, `first` and `steady`.

        Args:
            name: The part.
            since: Says at the end when it began, by `time.perf_counter`; where it is entered if None.
        """
        print(f"{name} ...", file=sys.stderr, flush=True)
        entered = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - (since() if since else entered)
        print(f"{name}: {self._seconds[name]:.1f} s", file=sys.stderr, flush=True)

    def measurement(
        self,
        *,
        what: str,
        device: str,
        dtype: str,
        examples: int,
        right: int | None = None,
        no_label: int | None = None,
    ) -> Measurement:
        """Put the times and this process' peak memory together."""
        return Measurement(
            what=what,
            device=device,
            dtype=dtype,
            examples=examples,
            seconds=self._seconds["steady"],
            load_seconds=self._seconds["load"],
            first_seconds=self._seconds["first"],
            peak_memory_gb=peak_memory_gb(),
            right=right,
            no_label=no_label,
        )


def make_parser(description: str | None, *, rows: int, recipe_rows: int) -> argparse.ArgumentParser:
    """Make the parser of the flags that both benchmarks have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stack", choices=("keras", "hf"), default="keras")
    parser.add_argument(
        "--backend", choices=("jax", "tensorflow", "torch"), help="default: jax, and torch for hf"
    )
    parser.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of both sides"
    )
    parser.add_argument("--model", default="gemma3-270m", help="model or folder (default: %(default)s)")
    parser.add_argument(
        "--rows", type=at_least_one, default=rows, help="our timed rows (default: %(default)s)"
    )
    parser.add_argument(
        "--recipe-rows",
        type=at_least_one,
        default=recipe_rows,
        help="the recipe's timed rows (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--side", choices=("ours", "recipe"), help="run this side only, in this process")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the flags; the backend's default is the stack's."""
    args = parser.parse_args()
    args.backend = args.backend or ("torch" if args.stack == "hf" else "jax")
    if args.stack == "hf" and args.backend != "torch":
        parser.error("--stack hf computes in torch alone")
    return args


def at_least_one(text: str) -> int:
    """Read a number of rows."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, received {text!r}")
    return int(text)


def run_config(args: argparse.Namespace) -> RunConfig:
    """Our options: the defaults, but for the text and the LoRA, which are the recipe's."""
    return RunConfig().with_options(
        {
            "model": args.model,
            "stack": args.stack,
            "backend": args.backend,
            "dtype": args.dtype,
            "template": "instruction",
            "verbalizer": "0/1",
            "rank": RANK,
            "alpha": float(RANK),
            "targets": ("query", "value"),
            "layout": "native",
        }
    )


def first_rows(file: str, rows: int) -> Dataset:
    """Read the first rows of one of the review tables, all of them where there are fewer."""
    dataset = read_dataset(REVIEWS / file)
    return dataset.take(range(min(rows, len(dataset))))


def load_recipe(args: argparse.Namespace) -> tuple[Any, str, str]:
    """Load the recipe's model as the notebook does: KerasHub's preprocessor at 512 tokens, then LoRA.

    Of this project's environment settings only those are made that keep TensorFlow, which KerasHub imports,
    from taking a GPU's whole memory beside another backend.

    Returns:
        The KerasHub model, the device's kind and the dtype.
    """
    os.environ["KERAS_BACKEND"] = args.backend
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras_hub

    from kerastune.keras_stack.backend import device
    from kerastune.precision import choose_dtype

    files = resolve_model(args.model)
    kind, fast_bfloat16 = device(args.backend)
    dtype = choose_dtype(args.dtype, fast_bfloat16=fast_bfloat16, model_type=files.model_type)
    causal_lm = keras_hub.models.CausalLM.from_preset(str(files.path), dtype=dtype)
    causal_lm.preprocessor.sequence_length = 512
    causal_lm.backbone.enable_lora(rank=RANK)
    return causal_lm, kind, dtype


def run_side(script: str, args: argparse.Namespace, side: str, extra: list[str]) -> Measurement:
    """Run one side of a benchmark in a process of its own."""
    print(f"{side}:", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "side.json"
        command = [sys.executable, script, "--side", side, "--json", str(result)]
        for name in ("stack", "backend", "dtype", "model", "rows", "recipe_rows"):
            command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
        environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
        subprocess.run([*command, *extra], env=environment, stdout=sys.stderr, check=True)
        return Measurement(**json.loads(result.read_text(encoding="utf-8")))


def report(title: str, args: argparse.Namespace, ours: Measurement, recipe: Measurement) -> None:
    """Print the two sides and their ratio, and write them where `--json` says."""
    table = Table(title=title)
    for column in ("", "ours", "recipe", "ours / recipe"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("rows timed", str(ours.examples), str(recipe.examples), "")
    table.add_row("seconds", f"{ours.seconds:.2f}", f"{recipe.seconds:.2f}", "")
    for name, digits in (
        ("examples_per_second", 3),
        ("peak_memory_gb", 2),
        ("load_seconds", 1),
        ("first_seconds", 1),
    ):
        pair = getattr(ours, name), getattr(recipe, name)
        cells = [f"{value:.{digits}f}" for value in pair]
        table.add_row(_WORDS[name], *cells, f"{pair[0] / pair[1]:.2f}")
    if ours.right is not None:
        table.add_row("rows right", *(f"{side.right} of {side.examples}" for side in (ours, recipe)), "")
        table.add_row("answers that are no label", str(ours.no_label), str(recipe.no_label), "")
    console = Console(markup=False, highlight=False)
    console.print(table)
    said = machine()
    console.print(f"ours    {ours.what}\nrecipe  {recipe.what}", soft_wrap=True)
    console.print(
        f"{said['cpu']}, {said['cores']} cores, {ours.device}; {args.model}, "
        f"{args.stack}/{args.backend}, {ours.dtype}"
    )
    console.print(", ".join(f"{name} {version}" for name, version in versions().items()), soft_wrap=True)
    if args.json:
        content = {
            "benchmark": title,
            "model": args.model,
            "stack": args.stack,
            "backend": args.backend,
            "machine": said,
            "versions": versions(),
            "ours": {**asdict(ours), "examples_per_second": ours.examples_per_second},
            "recipe": {**asdict(recipe), "examples_per_second": recipe.examples_per_second},
            "ratio": ours.examples_per_second / recipe.examples_per_second,
        }
        write_json(args.json, content)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a table as JSON."""
    from kerastune.atomic import write_text

    write_text(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """Name the processor, the cores that this process may use, and the system."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": cpu, "cores": cores, "system": platform.platform()}


_WORDS = {
    "examples_per_second": "examples a second",
    "peak_memory_gb": "peak memory (GB)",
    "load_seconds": "seconds to load",
    "first_seconds": "seconds of the first (compiling) steps",
}
