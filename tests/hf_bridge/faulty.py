"""The command line in a process that comes to grief in its third step, where the environment says so."""

import os
import signal
import sys
import time

from hf_bridge.model import HfStack
from kerastune.cli import main

STEPS = iter(range(1, 1000))
accumulate = HfStack.accumulate


def faulty(stack, *arguments):
    if next(STEPS) == 3 and os.environ["RANK"] == os.environ["FAULTY"]:
        match os.environ["FAULT"]:
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "told to stop":
                os.kill(os.getppid(), signal.SIGTERM)  # torchrun, which tells all its processes
                time.sleep(1)
            case text:
                raise RuntimeError(text)
    return accumulate(stack, *arguments)


if __name__ == "__main__":
    HfStack.accumulate = faulty
    sys.exit(main())
