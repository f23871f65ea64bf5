"""Strong and weak scaling of the Keras stack's meshes in bytes, off the compiled programs: no seconds.

A small random Llama is laid out over simulated devices of this machine's processor; XLA writes down the
program that each device runs, of a training step and of scoring. Counted are the bytes that a device is given
(its part of the weights, the adapter, the optimizer's state, its rows), and the collectives: how many, and
the bytes that a device has of their results.

    python benchmarks/collectives.py
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gpu import write_model
from side_by_side import markdown

from kerastune.batching import Batch
from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.mesh import parse_mesh
from kerastune.models import ModelFiles
from kerastune.planning import Shape
from kerastune.stack import load_stack

SHAPE = Shape(
    model_type="llama", vocabulary=4096, width=128, layers=2, heads=8, kv_heads=8, head_size=16,
    feed_forward=256, tied=False,
)  # fmt: skip
_DEVICES, _ROWS, _LENGTH, _RANK = 8, 8, 64, 4
#: Mesh, rows of a batch: those of one device on more of them, and as many a copy.
_STRONG = [(mesh, _ROWS) for mesh in (
    "data=1", "data=2", "data=4", "data=8", "model=2", "model=4", "model=8", "data=2,model=4",
)]  # fmt: skip
_WEAK = [(f"data={copies}", _ROWS * copies) for copies in (2, 4, 8)]
_COLLECTIVE = re.compile(
    r"= (.+?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)\(", re.MULTILINE
)
_PARAMETER = re.compile(r"= (\S+) parameter\(")
_ARRAY = re.compile(r"([a-z]+)(\d*)\[([\d,]*)\]")


class Program(NamedTuple):
    """What a device runs: the bytes of its arguments, and its collectives by kind with their bytes."""

    arguments: int
    collectives: dict[str, tuple[int, int]]

    def __str__(self) -> str:
        """Say the collectives."""
        said = [f"{count} {kind}, {size / 1e3:,.1f} kB" for kind, (count, size) in self.collectives.items()]
        return "; ".join(said) or "none"


def array_bytes(text: str) -> int:
    """The bytes of an array or of a tuple of arrays, as XLA writes their types.

    Example:
        >>> array_bytes("(f32[8,64]{1,0}, bf16[], pred[3])")
        2053
    """
    found = 0
    for _, bits, sizes in _ARRAY.findall(text):
        found += int(bits or 8) // 8 * prod(map(int, filter(None, sizes.split(","))))
    return found


def read_program(text: str) -> Program:
    """Read a compiled program, of which one device's part is written.

    Args:
        text: As `--xla_dump_hlo_as_text` writes it after the optimizations, on a processor: there a
            collective is one instruction.
    """
    entry = text[text.index("ENTRY ") :]
    found: dict[str, tuple[int, int]] = {}
    for result, kind in _COLLECTIVE.findall(text):
        count, size = found.get(kind, (0, 0))
        found[kind] = (count + 1, size + array_bytes(result))
    return Program(sum(map(array_bytes, _PARAMETER.findall(entry))), dict(sorted(found.items())))


def compile_all(folder: Path) -> None:
    """Take a training step and score a batch on every mesh, in this process."""
    files = ModelFiles(name="small", base_id="small", path=folder, layout="hf", cache_dir=folder / "cache")
    for mesh, rows in [*_STRONG, *_WEAK]:
        stack = load_stack(ModelSpec(dtype="float32", mesh=mesh), files)
        stack.add_lora(LoraSpec(rank=_RANK), seed=0)
        stack.start_training(TrainSpec(batch_size=rows))
        token_ids = np.random.default_rng(0).integers(3, SHAPE.vocabulary, (rows, _LENGTH), np.int32)
        batch = Batch(
            token_ids=token_ids,
            padding_mask=np.ones_like(token_ids, np.bool_),
            answer_positions=np.full((rows, 1), _LENGTH - 2, np.int32),
            answer_ids=token_ids[:, -1:],
            answer_weights=np.ones((rows, 1), np.float32),
            example_ids=tuple(map(str, range(rows))),
        )
        stack.train_step([batch], 1e-4)
        stack.label_logits(batch, (5, 6))


def programs(dump: Path, name: str) -> Iterator[Program]:
    """The programs of a name, in the order that they were compiled in."""
    for path in sorted(dump.glob(f"module_*.{name}.*after_optimizations.txt")):
        yield read_program(path.read_text(encoding="utf-8"))


def main() -> None:
    """Compile and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="the model; compile in this process")
    args = parser.parse_args()
    if args.folder:
        compile_all(args.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "programs"
        write_model(SHAPE, Path(folder), "float32")
        flags = f"--xla_force_host_platform_device_count={_DEVICES} --xla_dump_hlo_as_text"
        environment = {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "kept"),  # what is kept is not compiled
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{flags} --xla_dump_to={dump}",
        }
        subprocess.run([sys.executable, __file__, "--folder", folder], env=environment, check=True)
        steps, scores = (list(programs(dump, name)) for name in ("jit_run", "jit_stateless"))
    lines = []
    for (mesh, rows), step, score in zip([*_STRONG, *_WEAK], steps, scores, strict=True):
        devices, given = str(parse_mesh(mesh).devices), f"{step.arguments / 1e6:.2f}"
        lines.append([mesh, devices, str(rows), given, str(step), str(score)])
    header = ["mesh", "devices", "rows", "MB a device", "collectives of a step", "of scoring"]
    print(markdown(header, lines))
    print(f"\n{SHAPE}, LoRA rank {_RANK} on all linear layers, float32, rows of {_LENGTH} tokens")


if __name__ == "__main__":
    main()
