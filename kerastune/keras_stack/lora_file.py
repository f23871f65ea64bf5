"""KerasHub's own adapter file, `.lora.h5`: what `save_lora_weights` writes and `load_lora_weights` reads.

It holds one rank, and A and B of each layer under the layer's place among the backbone's layers that have
weights; no name, no scale (it is 1) and no base.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from kerastune.atomic import atomic_file
from kerastune.errors import AdapterError, one_line
from kerastune.float_tensors import from_bfloat16
from kerastune.keras_stack.geometry import Geometry
from kerastune.keras_stack.lora import adaptable_layers
from kerastune.lora import Array, Factors, native_to_peft, require_whole

_ROOT, _A, _B = "lora", "lora_kernel_a", "lora_kernel_b"


def read_lora_file(path: Path, backbone: Any) -> dict[str, Factors]:
    """Read KerasHub's file.

    Args:
        path: The file.
        backbone: The base's KerasHub backbone.

    Returns:
        Hugging Face's module path -> the update in PEFT's geometry, at a rank of heads x the file's.

    Raises:
        AdapterError: The file is damaged, or adapts what has no place in an adapter of PEFT's.
    """
    if not path.is_file():
        raise AdapterError(f"{path}: there is no such file; expected a .lora.h5 file")
    try:
        with h5py.File(path) as file:
            updates = _read(path, _group(file, _ROOT), backbone)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:  # h5py's, of no common base
        raise AdapterError(
            f"{path}: damaged, or not written by save_lora_weights ({one_line(error)}); save it again"
        ) from error
    require_whole(updates, adaptable_layers(backbone))
    return updates


def write_lora_file(path: Path, updates: Mapping[str, tuple[Array, Array]], backbone: Any) -> list[str]:
    """Write KerasHub's file, wholly or not at all.

    Args:
        path: The file.
        updates: Hugging Face's module path -> A `[heads, in, rank]` and B `[rank, head size]`, all of one
            rank, at a scale of 1.
        backbone: The base's KerasHub backbone.

    Returns:
        The layers' names in Keras, which `enable_lora` takes.

    Raises:
        OutputError: The file cannot be written.
    """
    layers = adaptable_layers(backbone)
    places = {id(layer): place for place, layer in enumerate(_layers_with_weights(backbone))}
    whole = io.BytesIO()  # h5py's errors on a full disk are of many lines
    with h5py.File(whole, "w") as file:
        (rank,) = {len(b) for _, b in updates.values()}
        file[f"{_ROOT}/vars/rank"] = rank
        for module, (a, b) in updates.items():
            inner = f"{_ROOT}/{places[id(layers[module])]}/vars"
            file[f"{inner}/{_A}"] = Geometry.of(layers[module]).in_kernel_axes(a)
            file[f"{inner}/{_B}"] = b
    with atomic_file(path) as temporary:
        temporary.write_bytes(whole.getvalue())
    return list(dict.fromkeys(str(layers[module].name) for module in updates))


def _read(path: Path, root: Any, backbone: Any) -> dict[str, Factors]:
    modules = {id(layer): module for module, layer in adaptable_layers(backbone).items()}
    layers = _layers_with_weights(backbone)
    rank = int(_dataset(_group(root, "vars"), "rank")[()])
    updates = {}
    for place in sorted(set(root) - {"vars"}, key=lambda name: (len(name), name)):
        layer = layers[int(place)] if place.isdecimal() and int(place) < len(layers) else None
        if layer is None:
            raise AdapterError(
                f"{path}: adapts layer {place}, expected a number below {len(layers)}; give the base that "
                "the adapter was trained on with --model"
            )
        if id(layer) not in modules:
            raise AdapterError(
                f"{path}: adapts layer {place}, {layer.path}, which is no linear layer of a decoder layer "
                "and so has no place in PEFT's format; train without it"
            )
        geometry, inner = Geometry.of(layer), _group(_group(root, place), "vars")
        shape = tuple(layer.kernel.shape)
        a = _array(path, layer, _dataset(inner, _A), (*shape[:-1], rank))
        b = _array(path, layer, _dataset(inner, _B), (rank, shape[-1]))
        updates[modules[id(layer)]] = native_to_peft(geometry.by_head(a), b, alpha=float(rank))
    return updates


def _layers_with_weights(backbone: Any) -> list[Any]:
    """The layers that the file counts, as KerasHub's Backbone does."""
    return [layer for layer in backbone._flatten_layers(include_self=False) if layer.weights]


def _array(path: Path, layer: Any, dataset: Any, shape: tuple[int, ...]) -> Array:
    if dataset.shape != shape:
        raise AdapterError(
            f"{path}: {layer.path}: expected {dataset.name.rsplit('/', 1)[1]} of shape {shape}, received "
            f"{dataset.shape}; give the base that the adapter was trained on with --model"
        )
    raw = dataset[()]
    if dataset.attrs.get("dtype") == "bfloat16":  # as older Keras wrote it; numpy has no such numbers
        raw = from_bfloat16(raw.view(np.uint16))
    return np.asarray(raw, np.float32)


def _group(parent: Any, name: str) -> Any:
    return _inside(parent, name, h5py.Group)


def _dataset(parent: Any, name: str) -> Any:
    dataset = _inside(parent, name, h5py.Dataset)
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} is in another file")
    return dataset


def _inside(parent: Any, name: str, kind: type) -> Any:
    """What is in this very file: a link could name any file of the machine."""
    if name not in parent:
        raise KeyError(f"no {parent.name.rstrip('/')}/{name}")
    if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link")
    found = parent[name]
    if not isinstance(found, kind):
        raise TypeError(f"{name} is no {kind.__name__}")
    return found
