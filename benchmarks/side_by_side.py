"""What the benchmarks share: every side in a process of its own, measured alike, in one table.

Each side runs in a process of its own, so that its peak memory is its own, and with JAX's cache of compiled
programs turned off, so that none finds programs that another, or an earlier run, has compiled. Reported apart
are the seconds until the model is loaded (imports and LoRA included), the seconds of the first steps, which
compile, and the steady rate, which is taken from the steps after those. Tokenising the rows counts into the
steady rate on all sides.

All sides have one model, the same rows in the same text (the `instruction` template with 0 and 1), and LoRA
of rank 4 on query and value. Peak memory is the process' resident memory; a GPU's own memory is not in it.

The floor is what must be multiplied: the backbone at the rows' real tokens, 4 operations a parameter for a
LoRA step and 2 for a forward pass, and the labels' rows of the head at the answer's position
(`kerastune.planning.cost.floor_flops`). A side's share of it is that, a second, over the rate at which its
library multiplies two square matrices in its dtype here, measured in the same run (`rate.py`)."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rate import measure_rate

from kerastune.config import RunConfig
from kerastune.dataset import Dataset, read_dataset
from kerastune.environment import peak_memory_gb, versions
from kerastune.planning import find_shape
from kerastune.planning.cost import floor_flops
from kerastune.session import open_session

REVIEWS = Path(__file__).parent.parent / "data" / "reviews"
RANK, LABELS = 4, 2


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one side came to.

    Args:
        what: What was run, in words.
        library: What multiplied: `"jax"`, `"tensorflow"` or `"torch"`.
        dtype: The base's dtype.
        first_row: The first of the table's rows in the timed part.
        examples: Rows in the timed part.
        seconds: Duration of the timed part.
        load_seconds: From the side's beginning until the model had its adapter.
        first_seconds: Duration of the steps before the timed part, which compile.
        peak_memory_gb: The most resident memory that the process had.
        right: How many of the rows were labelled rightly, where rows were labelled.
        no_label: For how many the answer was no label.
    """

    what: str
    library: str
    dtype: str
    first_row: int
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
        entered = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - (since() if since else entered)
        print(f"  {name}: {self._seconds[name]:.1f} s", file=sys.stderr, flush=True)

    def measurement(
        self,
        *,
        what: str,
        library: str,
        dtype: str,
        examples: int,
        first_row: int = 0,
        right: int | None = None,
        no_label: int | None = None,
    ) -> Measurement:
        """Put the times and this process' peak memory together."""
        return Measurement(
            what=what,
            library=library,
            dtype=dtype,
            first_row=first_row,
            examples=examples,
            seconds=self._seconds["steady"],
            load_seconds=self._seconds["load"],
            first_seconds=self._seconds["first"],
            peak_memory_gb=peak_memory_gb(),
            right=right,
            no_label=no_label,
        )


#: A side: measures itself in this process.
Side = Callable[[argparse.Namespace], Measurement]


def make_parser(
    description: str | None, sides: Sequence[str], *, rows: int, peer_rows: int, slow_rows: int
) -> argparse.ArgumentParser:
    """Make the parser of the flags that both benchmarks have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=sides, default=list(sides), help="run these sides alone")
    parser.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of all sides"
    )
    parser.add_argument("--model", default="gemma3-270m", help="model or folder (default: %(default)s)")
    for name, default, help in (
        ("rows", rows, "our timed rows"),
        ("peer-rows", peer_rows, "the timed rows of peers"),
        ("slow-rows", slow_rows, "the timed rows of peers that take seconds a row"),
    ):
        parser.add_argument(
            f"--{name}", type=at_least_one, default=default, help=f"{help} (default: %(default)s)"
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--side", help="run this side only, in this process")
    return parser


def at_least_one(text: str) -> int:
    """Read a number of rows."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, received {text!r}")
    return int(text)


def run_config(args: argparse.Namespace, stack: str) -> RunConfig:
    """Our options: the defaults, but for the text and the LoRA, which are the recipe's."""
    return RunConfig().with_options(
        {
            "model": args.model,
            "stack": stack,
            "dtype": args.dtype,
            "template": "instruction",
            "verbalizer": "0/1",
            "rank": RANK,
            "alpha": float(RANK),
            "targets": ("query", "value"),
            "layout": "native",
        }
    )


def first_rows(file: str, rows: int, start: int = 0) -> Dataset:
    """Read rows of one of the review tables from `start` on, fewer where the table ends."""
    dataset = read_dataset(REVIEWS / file)
    return dataset.take(range(min(start, len(dataset)), min(start + rows, len(dataset))))


def prompts_of(dataset: Dataset) -> list[str]:
    """The recipe's prompts."""
    return [f"Instruction:\n{row['comment']}\n\nResponse:\n" for row in dataset.rows()]


def run_side(script: str, args: argparse.Namespace, side: str, *, extra: Sequence[str] = ()) -> Measurement:
    """Run one side of a benchmark in a process of its own."""
    print(f"{side}:", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "side.json"
        command = [sys.executable, script, "--side", side, "--json", str(result)]
        for name in ("dtype", "model", "rows", "peer_rows", "slow_rows"):
            command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
        environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
        subprocess.run([*command, *extra], env=environment, stdout=sys.stderr, check=True)
        return Measurement(**json.loads(result.read_text(encoding="utf-8")))


def report(
    title: str,
    args: argparse.Namespace,
    file: str,
    measured: Mapping[str, Measurement],
    extra: Mapping[str, float],
    *,
    training: bool,
) -> None:
    """Print every side in one Markdown table, and write the figures where `--json` says.

    Args:
        title: What was measured.
        args: The flags.
        file: The table whose rows were taken.
        measured: Name -> side; ours begin with `kerastune`.
        extra: Other figures, in seconds, by what they are of.
        training: Whether the floor is of a LoRA step.
    """
    kinds = {(side.library, side.dtype) for side in measured.values()}
    rates = {kind: measure_rate(*kind) for kind in sorted(kinds)}
    ours = {name: side for name, side in measured.items() if name.startswith("kerastune")}
    encoder = open_session(run_config(args, "hf")).encoder
    lines, found = [], {}
    for name, side in measured.items():
        rows = encoder.encode(first_rows(file, side.examples, side.first_row)).examples
        tokens = sum(len(row) if training else len(row.prompt_ids) for row in rows)
        floor = floor_flops(find_shape(args.model)[0], tokens, len(rows), LABELS, training=training)
        share = floor / side.seconds / rates[side.library, side.dtype]
        found[name] = {
            **asdict(side), "examples_per_second": side.examples_per_second, "share_of_floor": share,
        }  # fmt: skip
        ratios = [f"{one.examples_per_second / side.examples_per_second:.1f}" for one in ours.values()]
        right = "" if side.right is None else f"{side.right / side.examples:.0%}"
        lines.append(
            [
                name, side.dtype, str(side.examples), f"{side.examples_per_second:.3g}", *ratios,
                f"{share:.1%}", f"{side.peak_memory_gb:.2f}", f"{side.load_seconds:.1f}",
                f"{side.first_seconds:.1f}", right,
            ]
        )  # fmt: skip
    header = [
        title, "dtype", "rows", "examples a second", *(f"{name} is faster by" for name in ours),
        "share of the floor", "peak memory (GB)", "seconds to load", "seconds of the first steps", "right",
    ]  # fmt: skip
    said = machine()
    print(markdown(header, lines))
    for name, side in measured.items():
        print(f"- {name}: {side.what}")
    for (library, dtype), rate in rates.items():
        print(f"- {library} multiplies 2048-square matrices at {rate / 1e9:.0f} GFLOP/s in {dtype}")
    for name, seconds in extra.items():
        print(f"- {name}: {seconds:.1f} s")
    print(f"\n{said['date']}, {said['cpu']}, {said['cores']} cores, {args.model}")
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    if args.json:
        stated = {f"{library} {dtype}": rate for (library, dtype), rate in rates.items()}
        content = {"benchmark": title, "model": args.model, "machine": said, "versions": versions()}
        write_json(args.json, {**content, "rates": stated, "sides": found, "seconds": dict(extra)})


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    rows = [header, ["---", *["---:"] * (len(header) - 1)], *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a table as JSON."""
    from kerastune.atomic import write_text
    from kerastune.json_files import json_text

    write_text(path, json_text(content))


def machine() -> dict[str, Any]:
    """Name the day, the processor, the cores that this process may use, and the system."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"date": f"{datetime.now():%Y-%m-%d}", "cpu": cpu, "cores": cores, "system": platform.platform()}
