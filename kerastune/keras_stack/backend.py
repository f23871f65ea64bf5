"""Choosing Keras' backend before anything heavy is imported, and what computes there."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TextIO

from kerastune.config import Backend
from kerastune.errors import ConfigError
from kerastune.extras import require
from kerastune.keras_stack.heap import run_where_called
from kerastune.precision import Hardware, gpu_device, torch_device, torch_memory
from kerastune.text_layers import hide_what_is_spared

# Made before JAX and TensorFlow are imported, and only where the user has set nothing. Both frameworks
# live in one process where KerasHub imports TensorFlow, so neither may take all the GPU's memory at once.
_DEFAULTS = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def import_keras(backend: Backend, cache_dir: Path) -> ModuleType:
    """Import Keras on a backend.

    Args:
        backend: The backend; `KERAS_BACKEND` is set for this process.
        cache_dir: Where JAX keeps compiled programs from one run to the next, unless it is told otherwise.

    Returns:
        The keras module.

    Raises:
        ConfigError: Keras was already imported on another backend.
        MissingExtraError: Keras, KerasHub or the backend is not installed.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        if backend == "jax":
            os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_dir / "jax"))
            os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    with quiet_standard_error():
        require(backend, "hf" if backend == "torch" else "keras")
        if backend == "jax" and "keras" not in sys.modules:
            run_where_called()
        keras = require("keras", "keras")
        hide_what_is_spared(backend)
        require("keras_hub", "keras")
    active = keras.config.backend()
    if active != backend:
        raise ConfigError(
            f"backend: expected {backend!r}, but Keras already runs on {active!r} in this process; "
            f"restart Python, or set KERAS_BACKEND={backend} before Keras is imported"
        )
    return keras


def quiet_standard_error() -> AbstractContextManager[None]:
    """Hold back what C++ libraries write of errors while something is imported or loaded, unless that fails.

    TensorFlow reports on GPUs that nobody asked for before its own log level is read, so nothing but the
    file descriptor stops it.
    """
    return quiet(sys.stderr, 2)


@contextmanager
def quiet(stream: TextIO, descriptor: int) -> Iterator[None]:
    """Hold back what is written to a file descriptor in a block, unless that fails.

    Args:
        stream: What Python writes there by.
        descriptor: 1 for standard output, 2 for standard error.
    """
    stream.flush()
    kept = os.dup(descriptor)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), descriptor)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, descriptor)
            os.close(kept)


def device(backend: Backend) -> Hardware:
    """Say what computes.

    A CPU counts as slow in bfloat16 on every backend, so that all three compute alike; XLA's is no faster.
    """
    if backend == "jax":
        import jax

        first = jax.devices()[0]
        if first.platform in ("cuda", "rocm", "gpu"):
            capability = float(getattr(first, "compute_capability", 0) or 0)
            return gpu_device(first.device_kind, capability or None)
        return Hardware(first.platform, first.platform == "tpu", first.device_kind)
    if backend == "torch":
        return torch_device()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return Hardware("cpu", False, "cpu")
    details = tf.config.experimental.get_device_details(gpus[0])
    major, minor = details.get("compute_capability", (0, 0))
    return gpu_device(details.get("device_name", "GPU"), major + minor / 10 or None)


def accelerator_memory(backend: Backend) -> int | None:
    """The bytes that the first accelerator lets a process have; None where the backend does not say."""
    if backend == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
    return torch_memory() if backend == "torch" else None
