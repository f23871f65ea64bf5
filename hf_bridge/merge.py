"""A base with its adapter added, as a folder of transformers': every other tensor and file is the base's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from hf_bridge.lora import lora_layers
from kerastune.errors import ModelError
from kerastune.json_files import json_text
from kerastune.models import ModelFiles
from kerastune.models.files import read_json
from kerastune.models.stored import checkpoint_files

_INDEX = "model.safetensors.index.json"
# Weights in other formats, most of them pickle.
_LEFT = {
    ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".onnx", ".gguf",
    ".npz",
}  # fmt: skip


def merged_weights(adapted: Any) -> dict[str, torch.Tensor]:
    """Merge an adapter, and what is beneath it, into its model, with DoRA where it has that.

    Args:
        adapted: A PEFT model; it is the bare base afterwards, with the merged weights.

    Returns:
        The weights that changed: name -> `[out, in]`.

    Raises:
        ModelError: A merged weight is no number.
    """
    names = [name for adapter in adapted.peft_config for name in lora_layers(adapted, adapter)]
    try:
        merged = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise ModelError(f"the adapter cannot be merged: {error}; train it anew") from error
    return {f"{name}.weight": merged.get_submodule(name).weight.detach().cpu() for name in names}


def save_folder(weights: Mapping[str, torch.Tensor], files: ModelFiles, folder: Path, dtype: str) -> None:
    """Write a base's folder again with other weights.

    Args:
        weights: The weights that differ: transformers' name -> `[out, in]`.
        files: The base, in Hugging Face layout.
        folder: An empty folder.
        dtype: Of the weights; `"auto"` keeps each as the base has it.

    Raises:
        ModelError: The base's files lack one of the weights, or have it in another shape.
    """
    _copy_the_rest(files.path, folder)
    left, total = dict(weights), 0
    for path in checkpoint_files(files.path):
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {"format": "pt"}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        for name, tensor in tensors.items():
            # Checkpoints of the bare decoder leave `model.` out.
            full = name if name.startswith(("model.", "lm_head.")) else f"model.{name}"
            value = left.pop(full, tensor)
            if value.shape != tensor.shape:
                raise ModelError(
                    f"{path}: {name}: expected the shape {tuple(value.shape)}, received "
                    f"{tuple(tensor.shape)}; fetch the model again"
                )
            if tensor.is_floating_point():
                value = value.to(tensor.dtype if dtype == "auto" else getattr(torch, dtype))
            tensors[name] = value.contiguous()
            total += value.numel() * value.element_size()
        # Not save_file, whose errors on a full disk are none of the system's.
        (folder / path.name).write_bytes(save(tensors, metadata))
    if left:
        raise ModelError(f"{files.path}: its files have no weight {min(left)}; fetch the model again")
    if dtype != "auto":
        _say_dtype(folder, dtype, total)


def _copy_the_rest(source: Path, folder: Path) -> None:
    """Copy what is beside the weights: configurations, tokenizer, chat templates, licence."""
    for file in sorted([*source.glob("*"), *source.glob("additional_chat_templates/*")]):
        kind = Path(file.name.removesuffix(".index.json")).suffix.lower()
        weights = kind in _LEFT and file.name != _INDEX
        if weights or file.name.startswith(".") or not file.is_file():
            continue
        target = folder / file.relative_to(source)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())


def _say_dtype(folder: Path, dtype: str, total: int) -> None:
    config = read_json(folder / "config.json")
    key = "torch_dtype" if "torch_dtype" in config else "dtype"
    (folder / "config.json").write_text(json_text({**config, key: dtype}), encoding="utf-8")
    if (folder / _INDEX).is_file():
        index = read_json(folder / _INDEX)
        index["metadata"] = {**index.get("metadata", {}), "total_size": total}
        (folder / _INDEX).write_text(json_text(index), encoding="utf-8")
