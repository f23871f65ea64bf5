"""What a result was made with: versions, and hashes of files."""

import hashlib
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

_PACKAGES = ("kerastune", "keras", "keras-hub", "jax", "tensorflow", "torch", "transformers", "peft", "numpy")


def versions() -> dict[str, str]:
    """Python's version and those of the packages that are installed, without importing them."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def sha256_of_files(files: Iterable[Path]) -> str:
    """One sha256 over the contents of files, in this order."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def peak_memory_gb() -> float:
    """The most memory that this process has had, in GB; 0 where the system does not say."""
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9
