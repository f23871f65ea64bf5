"""A base model's files on disk, and the fingerprint that tells one base from another."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from kerastune.errors import ModelError
from kerastune.json_files import read_object
from kerastune.models.cache import cache_root, sha256_of

#: The weight files of either layout.
WEIGHT_PATTERNS = ("*.safetensors", "*.weights.h5")

# What saving a model again changes in its config.json while the model stays what it is.
_VOLATILE = frozenset({"_name_or_path", "dtype", "torch_dtype", "transformers_version"})


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A base model on disk.

    Args:
        name: What the user typed.
        base_id: What an adapter says of its base: a hub id where one is known, else a preset's
            handle, else an absolute path.
        path: The folder.
        layout: `"hf"` for a Hugging Face layout folder, `"keras"` for a KerasHub preset.
        cache_dir: Where the hashes of large files are remembered.
    """

    name: str
    base_id: str
    path: Path
    layout: Literal["hf", "keras"]
    cache_dir: Path = field(default_factory=cache_root, repr=False, compare=False)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The parsed config.json."""
        return read_json(self.path / "config.json")

    @property
    def model_type(self) -> str:
        """The kind of model: Hugging Face's `model_type`, or KerasHub's class."""
        config = self.config
        return str(config.get("model_type") or config.get("class_name") or "unknown")

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 over the configuration and the content of every weight file.

        The weights are read once for each state of the files; later calls take milliseconds.
        """
        config = {key: value for key, value in self.config.items() if key not in _VOLATILE}
        digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
        for file in weight_files(self.path):
            digest.update(bytes.fromhex(sha256_of(file, self.cache_dir)))
        return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """A model folder's weight files in the order of their names."""
    return sorted(file for pattern in WEIGHT_PATTERNS for file in folder.glob(pattern))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: The file is missing or holds no JSON object.
    """
    return read_object(path, ModelError, "fetch the model again")
