"""Locks on files, which the system lets go of when their process ends, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kerastune.errors import ConfigError, OutputError


def try_lock(handle: int, path: Path) -> bool:
    """Lock an open file for this process alone.

    Args:
        handle: Its descriptor.
        path: Its path: a file that was deleted between opening and locking is no lock.

    Returns:
        Whether it could be had at once; always where the system has no such locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


@contextmanager
def locked(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file for the length of a block; it is deleted at the end.

    Args:
        path: The file. Folders above it are made, and taken away again where nothing came into them.
        refusal: What the error says where another process holds it.

    Raises:
        ConfigError: Another process holds it.
        OutputError: The file cannot be made.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(
            f"{path.parent}: cannot write: {error.strerror}; see to its permissions or choose another --out"
        ) from error
    try:
        if not try_lock(handle, path):
            raise ConfigError(refusal)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty, which is how it should be
                for folder in made:
                    folder.rmdir()
    finally:
        os.close(handle)
