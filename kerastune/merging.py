"""An adapter added to its base for good: one model, which needs neither PEFT nor kerastune.

What was written is opened again as plain transformers or plain KerasHub opens it, and its logits on real
rows are held against those of the base with its adapter. Both are computed in float32, whatever the dtype of
the weights, so that what differs is the weights' rounding alone.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from kerastune.adapter_card import CARD
from kerastune.adapter_chain import require_chain
from kerastune.adapter_source import AdapterSource, open_adapter, require_new_folder
from kerastune.agreement import HasLogits, last_logits, logits_difference, prompt_batches
from kerastune.atomic import atomic_folder
from kerastune.config import Backend, Dtype, ModelSpec
from kerastune.errors import AdapterError, ConfigError, ModelError
from kerastune.lora import summed
from kerastune.models import ModelFiles
from kerastune.models.folder import check_folder
from kerastune.models.stored import refuse_quantised, stored_dtype
from kerastune.precision import choose_dtype
from kerastune.stack import load_stack

Format = Literal["hf", "keras"]
#: By dtype of the weights, how far the largest difference may be from the largest logit.
_LIMITS = {"float32": 1e-3, "bfloat16": 2e-2, "float16": 2e-2}


@dataclass(frozen=True)
class Merged:
    """A merged model, written and opened again.

    Args:
        folder: Where it is.
        format: `"hf"` or `"keras"`.
        dtype: The dtype of most of its weights.
        rows: How many rows were compared.
        absolute: The largest difference of a logit.
        relative: That over the largest logit.
        notes: What could not be saved along.
    """

    folder: Path
    format: Format
    dtype: str
    rows: int
    absolute: float
    relative: float
    notes: tuple[str, ...]


def merge(
    sources: Path | Sequence[Path],
    out: Path,
    *,
    format: Format = "hf",
    model: str | None = None,
    dtype: Dtype = "auto",
    backend: Backend | None = None,
    input: Path | None = None,
) -> Merged:
    """Merge an adapter, or several that were trained one on top of the other, into their base, and compare.

    Args:
        sources: The folder of an adapter or of a run; of several, in the order of their training.
        out: A new folder.
        format: `"hf"` writes a folder of transformers', `"keras"` a KerasHub preset.
        model: The base; what the run or the adapter names when None.
        dtype: Of the weights that are written; `"auto"` is the base's own.
        backend: What computes for `"keras"`.
        input: A table whose first rows are compared; the packaged reviews when None.

    Raises:
        AdapterError: An adapter is damaged, names no base, is for another one, or was trained on top of
            others than those named before it.
        ModelError: The base is not found or quantised, or the merged model computes something else.
        OutputError: The folder is not empty, or cannot be written; nothing is left behind.
    """
    if format not in get_args(Format):
        raise ConfigError(f"format: expected 'hf' or 'keras', received {format!r}")
    spec = ModelSpec(stack=format, backend=backend, dtype="float32")
    require_new_folder(out)
    adapters = _open_chain([sources] if isinstance(sources, Path) else sources, model)
    for one in adapters:
        _require_mergeable(one, format, dtype)
    adapter = adapters[-1]
    batches = prompt_batches(adapter.config, adapter.files, input)
    files, written = adapter.files, stored_dtype(adapter.files) if dtype == "auto" else dtype
    stack = load_stack(spec, files)
    if len(adapters) > 1:
        stack.add_to_base(summed([one.factors for one in adapters[:-1]]))
    stack.load_adapter(adapter.factors)
    before = [last_logits(stack, batch) for batch in batches]
    with atomic_folder(out) as temporary:
        notes = stack.save_merged(temporary, dtype)
        del stack
        gc.collect()  # one model at a time
        opened = open_plainly(spec, replace(files, name=str(out)), temporary)
        after = [last_logits(opened, batch) for batch in batches]
        absolute, relative = logits_difference(before, after)
        limit = _LIMITS.get(written, _LIMITS["float32"])
        if not relative <= limit:  # nor where it is no number
            raise ModelError(
                f"{out}: the merged model's logits differ by {relative:.1g} of the largest, which is more "
                f"than the rounding of {written} weights (at most {limit:g}); nothing was "
                "written; load the adapter with PEFT instead"
            )
    kinds = dict.fromkeys(one.config.model.quantize for one in adapters)
    if quantised := [kind for kind in kinds if kind is not None]:
        notes += (
            f"trained on a base in {' and '.join(quantised)}, merged into the base's own unquantised "
            "weights: nothing can be added to quantised ones",
        )
    return Merged(out, format, written, len(batches), absolute, relative, notes)


def _open_chain(sources: Sequence[Path], model: str | None) -> list[AdapterSource]:
    """Read adapters of one base, each of which was trained on top of those before it."""
    adapters = [open_adapter(source, model) for source in sources]
    if len(adapters) > 1 or (adapters[0].folder / CARD).is_file():
        require_chain([one.folder for one in adapters])
    return adapters


def _require_mergeable(adapter: AdapterSource, format: Format, dtype: Dtype) -> None:
    refuse_quantised(adapter.files)
    if dtype == "float16":
        choose_dtype(dtype, fast_bfloat16=False, model_type=adapter.files.model_type)
    if format == "hf" and adapter.files.layout == "keras":
        raise ModelError(f"{adapter.files.name}: is a KerasHub preset; merge it with --format keras")
    magnitudes = [name for name, update in adapter.factors.items() if update.magnitude is not None]
    if format == "keras" and magnitudes:
        raise AdapterError(
            f"{magnitudes[0]}: has DoRA's magnitudes, which the keras stack cannot apply; use --format hf"
        )


def open_plainly(spec: ModelSpec, base: ModelFiles, folder: Path) -> HasLogits:
    """Open what a stack's `save_merged` wrote, as plain transformers or plain KerasHub does.

    Args:
        spec: The stack.
        base: The base that was merged.
        folder: What was written.

    Raises:
        ModelError: It cannot be opened.
    """
    if spec.stack == "hf":
        return load_stack(spec, replace(base, path=folder, layout=check_folder(folder)))
    from kerastune.keras_stack.merge import PlainPreset

    return PlainPreset(folder)
