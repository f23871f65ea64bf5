"""Writing that happens wholly or not at all: to the side, then renamed.

A killed process or a full disk leaves the earlier file as it was, and no half-written one.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kerastune.errors import OutputError

_OLD = "old"
_RANDOM = re.compile("[a-z0-9_]{8}")  # as tempfile ends its names


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well.

    Args:
        path: The file to write. Its folder is made when missing.

    Raises:
        OutputError: The file cannot be written (a full disk, no permission, a folder in its place).
    """
    with _reported(path):
        if path.is_dir():
            raise IsADirectoryError(21, "there is a folder of that name")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())  # mkstemp's 0600 is for secrets; this is a result
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8 with its line ends as they are, wholly or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; put it in the place of `path` when the block ends well.

    A folder that is already at `path` is replaced as a whole.

    Raises:
        OutputError: The folder cannot be written, or there is a file in its place.
    """
    with _reported(path):
        if path.is_file():
            raise NotADirectoryError(20, "there is a file of that name")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
            if path.exists():
                _exchange(path, temporary)
            else:
                temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _exchange(path: Path, new: Path) -> None:
    """Two renames: a reader sees the old folder, for an instant none, then the new one."""
    retired = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    old = retired / _OLD
    try:
        path.replace(old)
        try:
            new.replace(path)
        except BaseException:
            old.rename(path)
            raise
    finally:
        # Where the old folder could be put back nowhere, it stays where it is.
        if not old.exists() or path.exists():
            shutil.rmtree(retired, ignore_errors=True)


def clear_leftovers(folder: Path, *names: str) -> None:
    """Delete what a killed process left of writing these files and folders.

    To be called by whoever holds the lock on the folder: another process may be writing there otherwise.

    Args:
        folder: The folder.
        names: The names of what was to be written; `*` stands for any characters.
    """
    for name in names:
        for leftover in folder.glob(f".{name}.????????"):
            if _RANDOM.fullmatch(leftover.name[-8:]):
                if leftover.is_dir() and not leftover.is_symlink():
                    _put_back(leftover / _OLD, folder / leftover.name[1:-9])
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)


def _put_back(old: Path, path: Path) -> None:
    """A process that was killed between the two renames of `_exchange` left nothing at the path."""
    if old.exists() and not path.exists():
        old.rename(path)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn an operating system's error into one line that names the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path}: cannot write: {reason}; free some space or choose another --out"
        ) from error


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
