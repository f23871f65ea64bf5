"""The user's cache: where converted models lie, and what was once computed about large files."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kerastune.atomic import atomic_folder, write_text
from kerastune.errors import OutputError
from kerastune.extras import require


def cache_root() -> Path:
    """`$KERASTUNE_CACHE`, else `kerastune` in the user's cache folder."""
    if own := os.environ.get("KERASTUNE_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or ("~/AppData/Local" if os.name == "nt" else "~/.cache")
    return Path(base).expanduser().absolute() / "kerastune"


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Make `folder` by `build` unless it is there; of several processes, one builds and the others wait.

    Args:
        folder: The folder, which is either whole or not there.
        build: Fills an empty folder, which then takes the place of `folder`.

    Raises:
        OutputError: The cache cannot be written.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with require("filelock", "gemma").FileLock(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                with atomic_folder(folder) as temporary:
                    build(temporary)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot write: {error.strerror or error}; set KERASTUNE_CACHE to another folder"
        ) from error
    return folder


def sha256_of(file: Path, cache_dir: Path) -> str:
    """The sha256 of a file's content, remembered by its path, size and time of change.

    Args:
        file: A file, which may be large.
        cache_dir: Where the answer is remembered; a cache that cannot be written is done without.
    """
    stat = file.stat()
    key = hashlib.sha256(f"{file.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()
    note = cache_dir / "sha256" / key
    with suppress(OSError):
        return note.read_text(encoding="ascii")
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    with suppress(OutputError):
        write_text(note, digest)
    return digest
