"""Look at a folder before a stack does: is it a model, of which layout, and are its weights whole?"""

import json
import struct
from pathlib import Path
from typing import Literal

from kerastune.errors import ModelError
from kerastune.models.files import read_json, weight_files
from kerastune.models.foreign_code import refuse_keras_code, refuse_remote_code

_MAX_HEADER = 100_000_000  # the safetensors format's own limit


def check_folder(folder: Path) -> Literal["hf", "keras"]:
    """Tell a model folder's layout.

    Args:
        folder: A folder that exists.

    Raises:
        ModelError: It is no model, its weights are damaged or missing, or they are only there as pickle.
    """
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(
                f"{folder}: is an adapter, not a base model; name the base that it was trained on"
            )
        raise ModelError(
            f"{folder}: is no model folder: expected config.json and *.safetensors (or a KerasHub preset "
            "with model.weights.h5), received no config.json"
        )
    config = read_json(folder / "config.json")
    weights = weight_files(folder)
    if "registered_name" in config or "class_name" in config:
        if not weights:
            raise ModelError(f"{folder}: expected model.weights.h5 in the KerasHub preset, received none")
        refuse_keras_code(folder)
        return "keras"
    refuse_remote_code(folder)
    safetensors = [file for file in weights if file.suffix == ".safetensors"]
    if not safetensors:
        pickles = sorted(file.name for file in folder.glob("*.bin"))
        if pickles:
            raise ModelError(
                f"{folder}: expected weights as *.safetensors, received only {pickles[0]}, a pickle file "
                "that could run code when it is read; save the model again with safetensors"
            )
        raise ModelError(f"{folder}: is no model folder: expected *.safetensors beside config.json")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        present = {file.name for file in safetensors}
        named = read_json(index).get("weight_map")
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
            raise ModelError(f"{index}: expected weight_map, tensor -> file name; fetch the model again")
        # A name that leads out of the folder is none of the files in it, and missing as such.
        missing = sorted(set(named.values()) - present)
        if missing:
            raise ModelError(f"{folder}: the weight file {missing[0]} is missing; fetch the model again")
    for file in safetensors:
        check_safetensors(file)
    return "hf"


def check_safetensors(path: Path) -> None:
    """Compare a safetensors file's size to what its header says.

    Raises:
        ModelError: The file is truncated or its header is damaged.
    """
    received = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER:
                raise ValueError(f"a header of {length} bytes")
            if 8 + length > received:
                raise _truncated(path, 8 + length, received)
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path}: expected a safetensors file, received a damaged header ({error}); fetch it again"
        ) from error
    expected = 8 + length + max(ends, default=0)
    if received != expected:
        raise _truncated(path, expected, received)


def _truncated(path: Path, expected: int, received: int) -> ModelError:
    return ModelError(
        f"{path}: damaged weights: expected {expected} bytes, received {received}; fetch the file again"
    )
