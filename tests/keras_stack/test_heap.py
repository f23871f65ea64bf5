"""The heap keeps what is freed, and is left alone where the user has set it."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")

PROGRAM = """
import ctypes, resource, threading
from kerastune.keras_stack.heap import keep_freed, share_heap
done = share_heap() and keep_freed()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
faults = []
def take():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        block = libc.malloc(100 << 20)
        ctypes.memset(block, 1, 100 << 20)
        libc.free(block)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=take)
thread.start()
thread.join()
print(done, max(faults[1:]) < 1000)
"""


@pytest.mark.parametrize(
    ("setting", "expected"), [({}, "True True"), ({"MALLOC_ARENA_MAX": "2"}, "False False")]
)
def test_a_thread_gets_its_freed_block_again_without_new_pages(setting, expected):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC"))
    }
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment | setting
    )
    assert found.stdout.strip() == expected
