"""The user's cache: where converted models lie, and what was once computed about large files."""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from kerastune.atomic import atomic_folder, clear_leftovers, write_text
from kerastune.errors import OutputError
from kerastune.extras import require

_log = logging.getLogger(__name__)


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
        lock = require("filelock", "gemma").FileLock(folder.with_name(f"{folder.name}.lock"))
        with _acquired(lock, folder):
            if not folder.is_dir():
                # Under the lock nobody else builds here: what lies beside is of a process that was killed.
                for leftover in folder.parent.glob(f".{escape(folder.name)}.*"):
                    shutil.rmtree(leftover, ignore_errors=True)
                with atomic_folder(folder) as temporary:
                    build(temporary)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot write: {error.strerror or error}; set KERASTUNE_CACHE to another folder"
        ) from error
    return folder


@contextmanager
def _acquired(lock: Any, folder: Path) -> Iterator[None]:
    try:
        lock.acquire(timeout=0)
    except TimeoutError:
        _log.warning("%s: another process is making it; waiting for its end", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def remembered(file: Path, cache_dir: Path, what: str, compute: Callable[[], str]) -> str:
    """What was computed about a file, remembered by the file's path, size and time of change.

    Args:
        file: The file, which may be large.
        cache_dir: Where the answer is kept; a cache that cannot be written is done without.
        what: Tells one kind of answer from another.
        compute: Makes the answer when it is not remembered.
    """
    stat = file.stat()
    key = hashlib.sha256(f"{file.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()
    note = cache_dir / what / key
    with suppress(OSError):
        return note.read_text(encoding="utf-8")
    answer = compute()
    # Whoever else writes this note at the moment may lose its half one by the clearing, and does without.
    with suppress(OutputError):
        clear_leftovers(note.parent, note.name)  # before: once the note is there, nobody comes here again
        write_text(note, answer)
    return answer


def sha256_of(file: Path, cache_dir: Path) -> str:
    """The sha256 of a file's content, computed once for each state of the file."""

    def compute() -> str:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    return remembered(file, cache_dir, "sha256", compute)
