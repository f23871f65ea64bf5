"""A model, or an adapter added to its base, as one GGUF file for llama.cpp.

What was written is read back by this project's own reader, and its token ids and logits on real rows are held
against those of the source, both computed in float32.
"""

import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from kerastune.adapter_chain import chain_of
from kerastune.adapter_source import holds_adapter, open_adapter
from kerastune.agreement import last_logits, logits_difference, prompt_batches
from kerastune.atomic import atomic_file
from kerastune.batching import Batch
from kerastune.chat import own_template
from kerastune.config import ModelSpec, RunConfig
from kerastune.errors import AdapterError, ConfigError, ModelError, OutputError
from kerastune.merging import merge
from kerastune.models import ModelFiles, resolve_model
from kerastune.models.gguf_convert import convert_gguf
from kerastune.models.gguf_writer import GgufKind, write_gguf
from kerastune.models.stored import refuse_quantised
from kerastune.stack import load_stack

#: How far the largest difference of a logit may be from the largest logit.
_LIMITS = {"f16": 1e-2, "q8_0": 1e-1}


@dataclass(frozen=True)
class Exported:
    """A GGUF file, written and read back.

    Args:
        path: The file.
        kind: `"f16"` or `"q8_0"`.
        size: Its bytes.
        rows: How many rows were compared.
        absolute: The largest difference of a logit.
        relative: That over the largest logit.
        same_token: The share of tokens after which the likeliest token is the same.
        notes: What llama.cpp does otherwise than transformers.
    """

    path: Path
    kind: GgufKind
    size: int
    rows: int
    absolute: float
    relative: float
    same_token: float
    notes: tuple[str, ...]


def export(source: str, out: Path, *, gguf: GgufKind = "f16", model: str | None = None) -> Exported:
    """Write a model as GGUF, read it back and compare.

    Args:
        source: The folder of a run or an adapter, which is merged into its base; or a model's name.
        out: The file.
        gguf: Of the matrices: `"f16"`, or `"q8_0"` for 8 bits a weight and one scale for 32 of them.
        model: The adapter's base; what the run or the adapter names when None.

    Raises:
        AdapterError: The adapter is damaged, names no base, is for another one, or was trained on top of
            another.
        ModelError: The model is not found, GGUF cannot hold it, or what was read back is another model.
        OutputError: The file cannot be written; nothing is left behind.
    """
    if gguf not in get_args(GgufKind):
        raise ConfigError(f"gguf: expected {' or '.join(get_args(GgufKind))}, received {gguf!r}")
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; expected the name of a file, such as {out / 'model.gguf'}")
    with _whole_model(source, model, out) as files:
        if files.layout != "hf":
            raise ModelError(f"{files.name}: is a KerasHub preset; expected a model in Hugging Face layout")
        refuse_quantised(files)
        with atomic_file(out) as temporary:
            notes = write_gguf(files, temporary, gguf, own_template(files))
            measured = _compare(files, temporary, out, gguf)
            size = temporary.stat().st_size
    return Exported(out, gguf, size, *measured, notes)


@contextmanager
def _whole_model(source: str, model: str | None, out: Path) -> Iterator[ModelFiles]:
    """The model itself; for an adapter, the base with it, in a folder that is gone afterwards."""
    if not holds_adapter(source):
        if model is not None:
            raise ConfigError(f"model: {source} is a model itself, so that no base is to be named")
        yield resolve_model(source)
        return
    adapter = open_adapter(Path(source), model)
    if beneath := chain_of(adapter.folder):
        runs = " ".join([*(link.run for link in beneath), source])
        raise AdapterError(
            f"{source}: was trained on top of {beneath[-1].run}; merge them first, by kerastune merge {runs} "
            "--out merged, and export merged"
        )
    with _folder_beside(out) as folder:
        # float32, so that nothing is rounded twice
        merge(Path(source), folder / "merged", model=model, dtype="float32")
        yield replace(adapter.files, path=folder / "merged", cache_dir=folder)


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A temporary folder on the disk that the result goes to."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise OutputError(f"{out}: cannot write: {error.strerror}; choose another --out") from error
    with made as name:
        yield Path(name)


def _compare(files: ModelFiles, written: Path, out: Path, kind: GgufKind) -> tuple[int, float, float, float]:
    """How many rows were compared, and how far the logits are from each other."""
    batches = prompt_batches(RunConfig(), files)
    before = _logits(files, batches)
    with _folder_beside(out) as folder:
        convert_gguf(written, folder)
        back = replace(files, path=folder, cache_dir=folder)
        for ours, theirs in zip(batches, prompt_batches(RunConfig(), back), strict=True):
            if not np.array_equal(ours.token_ids[ours.padding_mask], theirs.token_ids[theirs.padding_mask]):
                raise ModelError(
                    f"{out}: the tokenizer that was read back gives other ids for a review; this model's "
                    "tokenizer cannot be said in GGUF; nothing was written"
                )
        after = _logits(back, batches)
    absolute, relative = logits_difference(before, after)
    if not relative <= _LIMITS[kind]:  # nor where it is no number
        raise ModelError(
            f"{out}: the logits that were read back differ by {relative:.1g} of the largest, which is more "
            f"than the rounding of {kind} (at most {_LIMITS[kind]:g}); nothing was written"
        )
    same = [ours.argmax(-1) == theirs.argmax(-1) for ours, theirs in zip(before, after, strict=True)]
    return len(batches), absolute, relative, float(np.concatenate(same).mean())


def _logits(files: ModelFiles, batches: list[Batch]) -> list[NDArray[np.float32]]:
    stack = load_stack(ModelSpec(stack="hf", dtype="float32"), files)
    found = [last_logits(stack, batch) for batch in batches]
    del stack
    gc.collect()  # one model at a time
    return found
