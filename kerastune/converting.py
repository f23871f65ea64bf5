"""KerasHub's own adapter file, `.lora.h5`, to and from an adapter in PEFT's format."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kerastune.adapter import write_peft
from kerastune.adapter_source import open_adapter, require_new_folder
from kerastune.config import Backend, ModelSpec
from kerastune.errors import AdapterError, ConfigError, OutputError
from kerastune.lora import require_whole
from kerastune.low_rank import Loss, compact_native, compacted, native_form, widened
from kerastune.models import resolve_model

_SUFFIX = ".lora.h5"


@dataclass(frozen=True)
class Converted:
    """An adapter that was written in the other form.

    Args:
        path: The adapter's folder, or the file.
        modules: How many layers it adapts.
        ranks: The ranks that it has, ascending.
        losses: Hugging Face's module path -> what a truncation left out; None where nothing was asked to be.
        keras_layers: In a `.lora.h5` file: the layers' names, which `enable_lora` takes.
    """

    path: Path
    modules: int
    ranks: tuple[int, ...]
    losses: Mapping[str, Loss] | None
    keras_layers: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """The relative Frobenius error of the whole update."""
        return Loss.over(list((self.losses or {}).values())).error

    @property
    def worst(self) -> tuple[str, float]:
        """The module that lost most, and its relative Frobenius error."""
        losses = self.losses or {}
        module = max(losses, key=lambda name: losses[name].error)
        return module, losses[module].error


def convert(
    source: Path,
    out: Path,
    *,
    model: str | None = None,
    compact: int | None = None,
    backend: Backend | None = None,
) -> Converted:
    """Convert an adapter: a `.lora.h5` file to a folder, a folder to a `.lora.h5` file.

    Args:
        source: KerasHub's file, or the folder of an adapter in PEFT's format or of a run.
        out: A new folder, or a file whose name ends in .lora.h5.
        model: The base; a folder names its own.
        compact: The most that a rank may be; None keeps the update exactly.
        backend: What runs Keras, whose model says which layer is which.

    Raises:
        AdapterError: The adapter is damaged, of another base, or adapts what the other form has no place for.
        ConfigError: An option is missing or out of its range.
        OutputError: The result cannot be written.
    """
    if compact is not None and compact < 1:
        raise ConfigError(f"compact: expected a rank of 1 or more, received {compact}")
    if source.is_dir():
        return _to_keras(source, out, model, compact, backend)
    return _to_peft(source, out, model, compact, backend)


def _to_peft(
    source: Path, out: Path, model: str | None, rank: int | None, backend: Backend | None
) -> Converted:
    if not source.is_file():
        raise AdapterError(f"{source}: expected a {_SUFFIX} file or an adapter's folder, received neither")
    if model is None:
        raise ConfigError(f"{source}: Keras' file names no base; give the one it was trained on with --model")
    require_new_folder(out)
    files = resolve_model(model)
    from kerastune.keras_stack import KerasStack
    from kerastune.keras_stack.lora_file import read_lora_file

    stack = KerasStack(ModelSpec(model=model, backend=backend), files)
    factors, losses = read_lora_file(source, stack.backbone), None
    if rank is not None:
        both = {module: compacted(update, rank) for module, update in factors.items()}
        factors = {module: update for module, (update, _) in both.items()}
        losses = {module: loss for module, (_, loss) in both.items()}
    write_peft(out, factors, files.base_id)
    return Converted(out, len(factors), tuple(sorted({update.rank for update in factors.values()})), losses)


def _to_keras(
    source: Path, out: Path, model: str | None, rank: int | None, backend: Backend | None
) -> Converted:
    if not out.name.endswith(_SUFFIX):
        raise OutputError(f"{out}: expected a file's name that ends in {_SUFFIX}; choose another --out")
    adapter = open_adapter(source, model)
    from kerastune.keras_stack import KerasStack
    from kerastune.keras_stack.geometry import Geometry
    from kerastune.keras_stack.lora import adaptable_layers
    from kerastune.keras_stack.lora_file import write_lora_file

    stack = KerasStack(ModelSpec(model=adapter.files.name, backend=backend), adapter.files)
    layers = adaptable_layers(stack.backbone)
    require_whole(adapter.factors, layers)
    updates, losses = {}, {}
    for module, update in adapter.factors.items():
        geometry = Geometry.of(layers[module])
        expected = (geometry.fan_out, geometry.fan_in)
        received = (update.b.shape[0], update.a.shape[1])
        if received != expected:
            raise AdapterError(
                f"{module}: expected an update of shape {expected}, received {received}; use the base that "
                "the adapter was trained on"
            )
        updates[module] = native_form(update, geometry.heads, module)
        if rank is not None:
            a, b, losses[module] = compact_native(*updates[module], rank)
            updates[module] = a, b
    common = max(len(b) for _, b in updates.values())  # the file has one for all
    updates = {module: widened(a, b, common) for module, (a, b) in updates.items()}
    names = write_lora_file(out, updates, stack.backbone)
    return Converted(out, len(updates), (common,), losses if rank is not None else None, tuple(names))
