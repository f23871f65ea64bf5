"""The C library's heap, told to keep what XLA gives back after each program.

On a CPU, XLA takes a program's buffers, hundreds of megabytes, from the heap at each call and frees them
behind it. glibc returns blocks of that size to the system, which hands them out again page by page, zeroed:
a third of a training step's time. The settings are those of mallopt(3).
"""

import ctypes
import os
from functools import cache
from typing import Any

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1
_SET_BY_USER = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_ARENA_MAX")


def share_heap() -> bool:
    """Let all threads of the process use one heap; others than the first return what is freed regardless.

    A thread keeps the heap that it first took, so this is called before a framework starts its own.

    Returns:
        Whether it was done: only where the C library is glibc and the user has not set how it allocates.
    """
    libc = _libc()
    return libc is not None and bool(libc.mallopt(_ARENA_MAX, 1))


def keep_freed() -> bool:
    """Keep freed blocks of any size for the next call, after what is free now has been returned.

    Returns:
        Whether it was done; see `share_heap`.
    """
    libc = _libc()
    if libc is None:
        return False
    libc.malloc_trim(0)
    return bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, _NEVER))


@cache
def _libc() -> Any:
    """The C library if it is glibc, which alone has both calls, and is nobody else's to set."""
    if os.name != "posix" or any(name in os.environ for name in _SET_BY_USER):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
