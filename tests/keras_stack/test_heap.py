"""The heap keeps what XLA frees, and is left alone where the user has set it."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")

# A program whose buffers of 128 MB are 32,768 pages; where they lie settles within some calls.
PROGRAM = """
import resource
from pathlib import Path
from kerastune.keras_stack.backend import import_keras
from kerastune.keras_stack.heap import keep_freed
import_keras("jax", Path(r"{cache}"))
done = keep_freed()
import jax
program = jax.jit(lambda x: (jax.numpy.cumsum(x[:, None] + x, axis=0) @ x).sum())
faults = []
for _ in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    program(jax.numpy.ones(5793)).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(done, faults[0] > 10_000, max(faults[8:]) < 3_000)
"""


@pytest.mark.parametrize(
    ("setting", "expected"),
    [({}, "True True True"), ({"MALLOC_MMAP_THRESHOLD_": "131072"}, "False True False")],
)
def test_a_program_gets_its_freed_buffers_again_without_new_pages(setting, expected, tmp_path):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MALLOC_", "GLIBC_", "JAX_"))
    }
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(cache=tmp_path)],
        capture_output=True, text=True, check=True, env=environment | setting,
    )  # fmt: skip
    assert found.stdout.strip() == expected
