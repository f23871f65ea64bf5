"""Messages between processes as bytes, in a format that cannot carry code.

A message is a safetensors file of its arrays, one of which holds everything else as JSON. Pickle, which
torch's own functions for sending objects use, would run whatever a stranger sends to an open port.
"""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from kerastune.batching import Batch
from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.decoding import GenerationSpec
from kerastune.lora import Factors
from kerastune.preference.loss import PreferenceLoss, Rewards

_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (Batch, Factors, GenerationSpec, LoraSpec, ModelSpec, PreferenceLoss, Rewards, TrainSpec)
}
_REST = "rest"


def encode(message: Mapping[str, Any]) -> bytes:
    """Serialise a message.

    Args:
        message: Name -> value: None, booleans, numbers, texts, arrays, the dataclasses that a stack's methods
            take or return, and sequences and mappings of all these.
    """
    arrays: dict[str, NDArray[Any]] = {}
    rest = json.dumps(_plain(message, arrays))
    return save({**arrays, _REST: np.frombuffer(rest.encode(), np.uint8)})


def decode(content: bytes) -> dict[str, Any]:
    """Read what `encode` serialised; every sequence comes back as a tuple."""
    arrays = load(content)
    found: dict[str, Any] = _value(json.loads(arrays.pop(_REST).tobytes()), arrays)
    return found


def _plain(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        name = str(len(arrays))
        arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
        return {"array": name}
    if isinstance(value, Mapping):
        return {"mapping": [[_plain(key, arrays), _plain(item, arrays)] for key, item in value.items()]}
    if is_dataclass(value):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return {"kind": type(value).__name__, **_plain(named, arrays)}
    return [_plain(item, arrays) for item in value]


def _value(plain: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(plain, list):
        return tuple(_value(item, arrays) for item in plain)
    if not isinstance(plain, dict):
        return plain
    if "array" in plain:
        return arrays[plain["array"]]
    found = {_value(key, arrays): _value(item, arrays) for key, item in plain["mapping"]}
    return _KINDS[plain["kind"]](**found) if "kind" in plain else found
