"""A checkpoint's weights, read in the dtype that computes, with no more than a piece of them in memory twice.

transformers maps the whole file and converts each tensor behind it, so that a float32 file of a model that
computes in bfloat16 stands in memory one and a half times beside the model: more than training needs.
"""

import math
from pathlib import Path

import torch
from safetensors import safe_open

from kerastune.models import ModelFiles
from kerastune.models.stored import checkpoint_files

_PIECE = 1 << 24  # numbers that are read at a time


def read_weights(files: ModelFiles, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Read all tensors of a base into memory: name -> tensor.

    Args:
        files: The base model, in Hugging Face layout.
        dtype: Of what is returned.

    Raises:
        SafetensorError: A file is damaged.
    """
    found = {}
    for path in checkpoint_files(files.path):
        with safe_open(path, framework="pt") as handle:
            shapes = {name: handle.get_slice(name).get_shape() for name in handle.keys()}  # noqa: SIM118
        for name, shape in shapes.items():
            found[name] = _tensor(path, name, shape, dtype)
    return found


def _tensor(path: Path, name: str, shape: list[int], dtype: torch.dtype) -> torch.Tensor:
    found = torch.empty(shape, dtype=dtype)
    rows = max(1, _PIECE // max(1, math.prod(shape[1:])))
    for first in range(0, shape[0] if shape else 1, rows):
        # A file that stays open keeps what was read of it in memory.
        with safe_open(path, framework="pt") as handle:
            part = slice(first, first + rows) if shape else ...
            found[part] = handle.get_slice(name)[part]
    return found
