"""Out of memory, said as what it is: every framework has words of its own for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from kerastune.errors import KerastuneError, ModelError

# XLA on the CPU reports a failed allocation as the last of these.
_SIGNS = (
    "resource_exhausted",
    "out of memory",
    "oom when allocating",
    "can't allocate memory",
    "no reference output found",
)


@contextmanager
def explained_memory_errors(batch_size: int, length: int, lower: str) -> Iterator[None]:
    """Turn a framework's out-of-memory error into one line that says what to lower.

    Args:
        batch_size: Rows of the batch that did not fit.
        length: Its tokens a row.
        lower: The option that makes batches smaller.

    Raises:
        ModelError: In place of the framework's error.
    """
    try:
        yield
    except KerastuneError:
        raise
    except Exception as error:  # the frameworks' own errors have no base in common
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(sign in text for sign in _SIGNS):
            raise ModelError(
                f"out of memory at {batch_size} rows of {length} tokens; lower {lower} or max_length"
            ) from error
        raise
