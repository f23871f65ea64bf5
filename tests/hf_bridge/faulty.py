"""The command line in a process that comes to grief in its third step, where the environment says so."""

import os
import signal
import sys

from hf_bridge.model import HfStack
from kerastune.cli import main

STEPS = iter(range(1, 1000))
accumulate = HfStack.accumulate


def faulty(stack, *arguments):
    if next(STEPS) == 3 and os.environ["RANK"] == os.environ["FAULTY"]:
        if os.environ["FAULT"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError(os.environ["FAULT"])
    return accumulate(stack, *arguments)


if __name__ == "__main__":
    HfStack.accumulate = faulty
    sys.exit(main())
