"""How a base's weights lie on disk: in which files, and as which numbers."""

import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from kerastune.errors import ModelError
from kerastune.models.files import ModelFiles, read_json

_NAMES = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def checkpoint_files(folder: Path) -> list[Path]:
    """The files that transformers reads; others may lie beside them, such as Mistral's consolidated ones.

    Args:
        folder: A folder in Hugging Face layout.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return sorted({folder / name for name in read_json(index)["weight_map"].values()})
    return [folder / "model.safetensors"]


def stored_dtype(files: ModelFiles) -> str:
    """The dtype of most of a base's weights, such as `"bfloat16"`."""
    if files.layout == "keras":
        dtype = files.config.get("config", {}).get("dtype") or "float32"
        return dtype if isinstance(dtype, str) else str(dtype.get("config", {}).get("name", "float32"))
    sizes: Counter[str] = Counter()
    for path in checkpoint_files(files.path):
        for entry in safetensors_header(path).values():
            if "dtype" in entry:
                first, last = entry["data_offsets"]
                sizes[entry["dtype"]] += last - first
    kind = sizes.most_common(1)[0][0] if sizes else "F32"
    return _NAMES.get(kind, kind)


def refuse_quantised(files: ModelFiles) -> None:
    """Refuse a base whose files hold 4-bit or 8-bit numbers: nothing can be added to those.

    Raises:
        ModelError: They do; the message says how to go on.
    """
    quantised = files.config.get("quantization_config")
    if not quantised and stored_dtype(files) in _NAMES.values():
        return
    method = quantised.get("quant_method", "unknown") if isinstance(quantised, dict) else "unknown"
    original = files.config.get("_name_or_path")
    named = f", such as {original}" if original and original not in (files.name, str(files.path)) else ""
    raise ModelError(
        f"{files.name}: its files are quantised ({method}), so no update can be added to them; give the "
        f"unquantised base that it was made from with --model{named}"
    )


def safetensors_header(path: Path) -> dict[str, dict[str, Any]]:
    """A safetensors file's header: tensor -> its `dtype`, `shape` and `data_offsets`, after the header."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, dict[str, Any]] = json.loads(file.read(length))
        return header
