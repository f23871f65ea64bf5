"""Refuse model folders that bring code of their own, or read from elsewhere: numbers alone are loaded."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kerastune.errors import ModelError
from kerastune.json_files import read_object

_OWN_MODULES = ("keras", "keras_hub", "keras_nlp", "builtins", "__builtin__")
_CODE = ("Lambda", "__lambda__", "function", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer")


def refuse_remote_code(folder: Path) -> None:
    """Refuse a Hugging Face folder that names Python files of its own to be run.

    Raises:
        ModelError: config.json or tokenizer_config.json has `auto_map`.
    """
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file() and read_object(path, ModelError, "fetch the model again").get("auto_map"):
            raise ModelError(
                f"{path}: names code of its own (auto_map), which is never run here; use a model whose "
                "architecture transformers has, or take auto_map out if this one's has it"
            )


def refuse_keras_code(folder: Path) -> None:
    """Refuse a KerasHub preset with layers that are code, of other modules, or weights that are elsewhere.

    Raises:
        ModelError: It has; the message names the file and what it has.
    """
    for path in sorted(folder.glob("*.json")):
        for kind, module in _classes(read_object(path, ModelError, "fetch the model again")):
            root = str(module).partition(".")[0]
            if kind in _CODE or (module is not None and root not in _OWN_MODULES):
                raise ModelError(
                    f"{path}: has {kind!r} of {module or 'no module'}, which could run code when it is read; "
                    "use a preset of Keras' own layers, or the model's Hugging Face folder"
                )
    for path in sorted(folder.glob("*.h5")):
        for name in _elsewhere(path):
            raise ModelError(f"{path}: {name} is in another file; a preset has its weights in itself")


def _classes(value: Any) -> Iterator[tuple[Any, Any]]:
    """What a serialised Keras object says of its classes: class name, module."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            if "class_name" in here:
                yield here["class_name"], here.get("module")
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here


def _elsewhere(path: Path) -> Iterator[str]:
    """The links and datasets of an HDF5 file that lead out of it."""
    try:
        h5py: Any = importlib.import_module("h5py")
        file = h5py.File(path, "r")
    except (ImportError, OSError):  # Keras says what is wrong with it, where Keras is there
        return
    with file:
        found: list[str] = []

        def look(name: str, link: Any) -> None:
            if isinstance(link, h5py.ExternalLink):
                found.append(name)
            elif isinstance(link, h5py.HardLink):
                there = file[name]
                if isinstance(there, h5py.Dataset) and (there.external or there.is_virtual):
                    found.append(name)

        file.visititems_links(look)
        yield from found
