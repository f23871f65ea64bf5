"""Reading an adapter's safetensors file without a framework."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from kerastune.errors import AdapterError

_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Widen bfloat16, of which numpy has only the bits: they are float32's upper half.

    Example:
        >>> from_bfloat16(np.array([0x3F80, 0xC000], np.uint16)).tolist()
        [1.0, -2.0]
    """
    return (bits.astype(np.uint32) << 16).view(np.float32)


def read_float_tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read every tensor of a file as float32; PEFT may write bfloat16, which numpy does not have.

    Args:
        path: The adapter's file.

    Returns:
        The tensors by name.

    Raises:
        AdapterError: The file is missing or damaged, or holds other numbers.
    """
    try:
        entries = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except FileNotFoundError as error:
        raise AdapterError(f"{path.parent}: no {path.name}; is the folder an adapter?") from error
    except (SafetensorError, OSError) as error:
        raise AdapterError(
            f"{path}: damaged or cut short ({error}); copy the adapter again, or train anew"
        ) from error
    tensors = {}
    for name, entry in entries:
        kind, data = entry["dtype"], entry["data"]
        if kind == "BF16":
            flat = from_bfloat16(np.frombuffer(data, np.uint16))
        elif kind in _FLOATS:
            flat = np.frombuffer(data, _FLOATS[kind]).astype(np.float32)
        else:
            raise AdapterError(f"{path}: {name}: expected floating-point numbers, received {kind}")
        tensors[name] = flat.reshape(entry["shape"])
    return tensors
