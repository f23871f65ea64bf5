"""The command line in a host's process whose second training step fails, where the environment says so."""

import itertools
import os
import signal
import sys

from kerastune.cli import main
from kerastune.keras_stack.model import KerasStack

STEPS = itertools.count(1)
train_step = KerasStack.train_step


def faulty(stack, *arguments, **named):
    if next(STEPS) == 2 and os.environ["KERAS_DISTRIBUTION_PROCESS_ID"] == os.environ["FAULTY"]:
        if os.environ["FAULT"] == "told to stop":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            raise RuntimeError(os.environ["FAULT"])
    return train_step(stack, *arguments, **named)


if __name__ == "__main__":
    KerasStack.train_step = faulty
    sys.exit(main())
