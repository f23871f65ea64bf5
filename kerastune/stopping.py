"""Being told to stop: Ctrl-C and SIGTERM, held back while something must not be cut in two."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: What shells report of a process that a signal ended: 128 and the signal's number.
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


class Terminated(BaseException):
    """SIGTERM came; no `Exception`, so that nothing on the way takes it for an error of its own."""


class Stopping:
    """Turns SIGINT into KeyboardInterrupt and SIGTERM into Terminated, at once or after a held block."""

    def __init__(self) -> None:
        #: Whether a held block was left before its end, so that what it changed may be half changed.
        self.torn = False
        self._held = False
        self._came: int | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Finish the block first; a second signal is heeded at once."""
        self._held = self.torn = True
        try:
            yield
            self.torn = False
        finally:
            self._held = False
        if self._came is not None:
            raise _stop(self._came)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        if self._held and self._came is None:
            self._came = number
            return
        raise _stop(number)


@contextmanager
def stopping() -> Iterator[Stopping]:
    """Handle SIGINT and SIGTERM in a block; outside the main thread, where Python cannot, they are left."""
    stop = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int) -> BaseException:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
