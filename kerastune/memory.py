"""Out of memory, said as what it is: every framework has words of its own for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from kerastune.errors import KerastuneError, ModelError
from kerastune.planning.estimate import Estimate

_SIGNS = (
    "resource_exhausted",  # XLA and TensorFlow
    "out of memory",  # torch on CUDA, XLA, and CUDA itself
    "oom when allocating",  # TensorFlow
    "can't allocate memory",  # torch's DefaultCPUAllocator
    "not enough memory",  # the same on Windows
    "failed to allocate",  # XLA's allocators
    "cublas_status_alloc_failed",
    "std::bad_alloc",
    "no reference output found",  # XLA on the CPU, where an allocation failed while it tried kernels
)


@contextmanager
def explained_memory_errors(
    batch_size: int, length: int, lower: str, plan: Estimate | None = None
) -> Iterator[None]:
    """Turn a framework's out-of-memory error into one line that says what to lower.

    Args:
        batch_size: Rows of the batch that did not fit.
        length: Its tokens a row.
        lower: The option that makes batches smaller.
        plan: What the training was estimated to need, if it was.

    Raises:
        ModelError: In place of the framework's error.
    """
    try:
        yield
    except KerastuneError:
        raise
    except Exception as error:  # the frameworks' own errors have no base in common
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory at {batch_size} rows of {length} tokens; lower {lower} or max_length"
            f"{_planned(plan)}"
        ) from error


@contextmanager
def explained_loading_errors(plan: Estimate | None = None) -> Iterator[None]:
    """Turn an out-of-memory error while a model is loaded into one line that says what to choose instead.

    Args:
        plan: What the training was estimated to need, if it was.

    Raises:
        ModelError: In place of the framework's error.
    """
    try:
        yield
    except Exception as error:
        # A stack says of any error that the model cannot be loaded; what it was is its cause.
        if not is_out_of_memory(error) and not is_out_of_memory(error.__cause__):
            raise
        raise ModelError(
            "out of memory while the model was loaded; choose a smaller model, or dtype bfloat16"
            f"{_planned(plan)}"
        ) from error


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error is a framework's way to say that memory ran out.

    Example:
        >>> is_out_of_memory(RuntimeError("INTERNAL: No reference output found!"))
        True
    """
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in _SIGNS)


def _planned(plan: Estimate | None) -> str:
    if plan is None:
        return ""
    fitting = f"{plan.largest_batch} rows fit" if plan.largest_batch else "not one row fits"
    return (
        f" (planned: {plan.peak / 1e9:.1f} GB of {plan.device.memory / 1e9:.1f} GB on {plan.device.name}, "
        f"where {fitting})"
    )
