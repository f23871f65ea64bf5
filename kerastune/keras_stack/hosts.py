"""The processes of several hosts, connected by JAX's service; see `kerastune.group`.

JAX sums over the hosts' devices within its programs. What the processes say to each other besides goes by
the store of names and bytes that the service keeps in the first one.
"""

import atexit
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kerastune.config import ModelSpec
from kerastune.errors import ConfigError, one_line
from kerastune.group import LOST, FailedElsewhereError, Group, LostProcessError, Part, described, rebuilt
from kerastune.keras_stack.backend import import_keras, quiet, quiet_standard_error
from kerastune.launching import Launch
from kerastune.messages import decode, encode
from kerastune.models import ModelFiles
from kerastune.models.cache import cache_root

# The others wait for whatever the first one does meanwhile, such as reading tables. JAX itself ends a process
# whose service is gone, and within two minutes all processes where another is.
_PATIENCE = 30 * 24 * 3600 * 1000  # in milliseconds
# JAX waits five minutes for the others and then ends the process with a trace of its own.
_MEETING = 280.0  # in seconds
_ERROR = "kerastune/error"


class Hosts(Group):
    """The processes of a launch over several hosts; made by `meet`.

    Args:
        launch: This process among them.
        store: JAX's client of the store.
    """

    def __init__(self, launch: Launch, store: Any) -> None:
        super().__init__(launch)
        self._store = store
        self._messages = self._agreements = 0

    def part(self, spec: ModelSpec, files: ModelFiles) -> Part:
        """Load this process' part; see `Group.part`."""
        from kerastune.keras_stack.part import KerasPart

        return KerasPart(spec, files)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message to all others; what was sent before, all have answered."""
        self._store.key_value_delete(self._message)
        self._messages += 1
        self._store.key_value_set_bytes(self._message, encode(message))

    def receive(self) -> dict[str, Any]:
        """Receive the first process' next message."""
        self._messages += 1
        return decode(self._get(self._message))

    def reply(self, message: Mapping[str, Any]) -> None:
        """Answer the first process."""
        self._store.key_value_set_bytes(self._reply(self.rank), encode(message))

    def replies(self) -> list[dict[str, Any]]:
        """Receive the others' answers, in the order of their ranks."""
        found = []
        for rank in range(1, self.size):
            found.append(decode(self._get(self._reply(rank))))
            self._store.key_value_delete(self._reply(rank))
        return found

    def agree(self, error: Exception | None) -> None:
        """Go on together or not at all; see `Group.agree`."""
        self._agreements += 1
        names = [f"kerastune/agreement/{self._agreements}/{rank}" for rank in range(self.size)]
        self._store.key_value_set_bytes(names[self.rank], b"whole" if error is None else b"failed")
        said = [self._get(name) for name in names]
        if error is not None:
            raise error
        if b"failed" in said:
            raise FailedElsewhereError

    def leave_error(self, error: Exception) -> None:
        """Leave an error where the first process finds it; see `Group.leave_error`."""
        with suppress(RuntimeError):  # the store is gone, and so is who would look there
            self._store.key_value_set_bytes(_ERROR, encode(described(error, self.rank)), allow_overwrite=True)

    def cause(self, error: Exception) -> Exception:
        """Say why the first process failed; see `Group.cause`."""
        with suppress(Exception):  # nothing is there
            return rebuilt(decode(self._store.key_value_try_get_bytes(_ERROR)))
        # A peer that is gone is said by gloo in words, whatever the error's type.
        lost = any(word in str(error) for word in ("gloo", "Gloo", "Connection", "Socket"))
        return LostProcessError(LOST) if lost else error

    def leave(self) -> None:
        """Wait until all have heard the last message, and take the connections down."""
        import jax

        with quiet_standard_error():
            jax.distributed.shutdown()

    def abandon(self, status: int) -> None:
        """End without waiting for the others, for which JAX would wait; see `Group.abandon`."""
        atexit.register(_end, status)

    @property
    def _message(self) -> str:
        return f"kerastune/message/{self._messages}"

    def _reply(self, rank: int) -> str:
        return f"kerastune/reply/{self._messages}/{rank}"

    def _get(self, name: str) -> bytes:
        try:
            content: bytes = self._store.blocking_key_value_get_bytes(name, _PATIENCE)
        except RuntimeError as error:  # JAX has no type of its own for it
            raise LostProcessError(LOST) from error
        return content


def meet(launch: Launch) -> Hosts:
    """Meet the other hosts' processes, before JAX is used.

    Where they do not come, the process ends with one line and status 2: what waits for them is not Python.

    Raises:
        ConfigError: JAX refuses the addresses, or was used before.
        MissingExtraError: Keras or JAX is not installed.
    """
    keras = import_keras("jax", cache_root())
    # Not in JAX's public interface, where there is no other way to send bytes without a program on devices.
    from jax._src.distributed import global_state

    if launch.rank > 0:
        _silence()
    alone = threading.Timer(_MEETING, _give_up, [launch])
    alone.daemon = True
    alone.start()
    try:
        with quiet(sys.stdout, 1):  # gloo says there whom it has met
            keras.distribution.initialize(launch.addresses, launch.size, launch.rank)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(_apart(launch, one_line(error))) from error
    finally:
        alone.cancel()
    return Hosts(launch, global_state.client)


def _apart(launch: Launch, reason: str) -> str:
    return (
        f"the {launch.size} hosts do not find each other: {reason}; start the same command on each, and see "
        f"that {launch.addresses.split(',')[0]} can be reached from all"
    )


def _give_up(launch: Launch) -> None:
    print(f"kerastune: {_apart(launch, f'waited {_MEETING:.0f} s')}", file=sys.stderr)
    _end(2)


def _silence() -> None:
    """Keep C++ libraries of a process that follows from writing to standard output."""
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _end(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
