"""The C library's heap, told to keep what XLA gives back after each program.

On a CPU, XLA takes a program's buffers, hundreds of megabytes, from the heap at each call and frees them
behind it. glibc returns blocks of that size to the system, which hands them out again page by page, zeroed:
a third of a training step's time. The settings are those of mallopt(3).
"""

import ctypes
import os
from functools import cache
from typing import Any

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1
_SET_BY_USER = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")


def run_where_called() -> None:
    """Let JAX run a CPU's programs in the thread that calls them, if JAX has not begun to compute.

    Only the main thread's heap grows to blocks of any size; the others' return large ones regardless.
    """
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)


@cache
def keep_freed() -> bool:
    """Keep freed blocks of any size for the next call.

    What is free now goes back to the system, and so does, each time, what compiling a program leaves.

    Returns:
        Whether it was done: only where the C library is glibc and the user has not set how it allocates.
    """
    libc = _glibc()
    if libc is None or any(name in os.environ for name in _SET_BY_USER):
        return False
    from jax import monitoring

    def trim(event: str, _: float, **__: Any) -> None:
        if event.endswith("backend_compile_duration"):
            libc.malloc_trim(0)

    libc.malloc_trim(0)
    monitoring.register_event_duration_secs_listener(trim)
    return bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, _NEVER))


def _glibc() -> Any:
    """The C library if it is glibc, which alone has both calls."""
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
