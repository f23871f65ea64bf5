"""How fast a library multiplies here: the product of two square matrices, in a process of its own.

python benchmarks/rate.py torch bfloat16
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

_SIZE, _SECONDS = 2048, 3.0


def measure_rate(library: str, dtype: str, size: int = _SIZE) -> float:
    """Floating-point operations a second of the fastest product in three seconds.

    Args:
        library: `"jax"`, `"tensorflow"` or `"torch"`.
        dtype: Of both matrices.
        size: Rows and columns.
    """
    words = [sys.executable, __file__, library, dtype, str(size)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-1])


def product(library: str, dtype: str, size: int) -> Callable[[], Any]:
    """A product that is computed when it is called, and finished when that returns."""
    if library == "torch":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        matrix = torch.randn(size, size, device=device).to(getattr(torch, dtype))

        def multiply() -> Any:
            found = matrix @ matrix
            if device == "cuda":
                torch.cuda.synchronize()
            return found

        return multiply
    if library == "jax":
        import jax
        import jax.numpy as jnp

        ones = jnp.ones((size, size), dtype)
        compiled = jax.jit(jnp.matmul)
        return lambda: compiled(ones, ones).block_until_ready()
    import tensorflow as tf

    whole = tf.ones((size, size), dtype)
    return lambda: tf.linalg.matmul(whole, whole).numpy()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The rate of a matrix product, in operations a second.")
    parser.add_argument("library", choices=("jax", "tensorflow", "torch"))
    parser.add_argument("dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("size", type=int, nargs="?", default=_SIZE, help="default: %(default)s")
    args = parser.parse_args()
    size = args.size
    multiply = product(args.library, args.dtype, size)
    multiply()
    fastest, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < _SECONDS:
        entered = time.perf_counter()
        multiply()
        fastest = min(fastest, time.perf_counter() - entered)
    print(2 * size**3 / fastest)


if __name__ == "__main__":
    main()
