"""The processes of one launch, connected: messages from the first to all, replies to it, and their end.

How they are connected is the stack's: torch.distributed under torchrun, JAX's service over several hosts.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from kerastune import errors
from kerastune.config import ModelSpec
from kerastune.errors import ConfigError, KerastuneError, ModelError
from kerastune.launching import Launch
from kerastune.models import ModelFiles

#: The message of a `LostProcessError`.
LOST = (
    "another process of the launch has ended, perhaps because the system ran out of memory; start the same "
    "command again, it goes on from what was saved"
)

_joined: "Group | None" = None


class LostProcessError(ModelError):
    """Another process of the launch has ended, or its messages are out of step with this one's."""


class FailedElsewhereError(Exception):
    """A call that all processes make together failed in another one; that one's error is shown."""


class Part(Protocol):
    """One process' part of a stack that several hold; each call is made in all of them."""

    #: A `kerastune.stack.Stack`; the first process reads from its own what is the same in all of them.
    stack: Any

    def do(self, call: str, values: Mapping[str, Any]) -> Any:
        """Do this process' part of a call.

        Args:
            call: The name of a method of `Stack`, or `decode`.
            values: The method's arguments, for all rows.

        Returns:
            What the method returns for this process' rows.

        Raises:
            ValueError: There is no such call.
        """

    def reply(self, call: str, values: Mapping[str, Any]) -> Any:
        """Do a call in another process than the first.

        Returns:
            What the first process needs of the result; None for nothing.
        """

    def forget(self, numbers: Sequence[int]) -> None:
        """Free the shared prefixes and the decoders of these numbers."""

    def waits(self, call: str) -> bool:
        """Whether the processes wait for each other within a call, so that a failing one cannot reply."""


class Group(ABC):
    """The processes of a launch, as one of them sees them.

    Args:
        launch: This process among them.
    """

    def __init__(self, launch: Launch) -> None:
        self.rank, self.size = launch.rank, launch.size
        self._lock = threading.RLock()
        self._in_step = True

    @abstractmethod
    def part(self, spec: ModelSpec, files: ModelFiles) -> Part:
        """Load this process' part of a stack; all processes do it together."""

    @abstractmethod
    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message from the first process to all others; `receive` is its other end."""

    @abstractmethod
    def receive(self) -> dict[str, Any]:
        """Wait for the first process' next message."""

    @abstractmethod
    def reply(self, message: Mapping[str, Any]) -> None:
        """Answer the first process."""

    @abstractmethod
    def replies(self) -> list[dict[str, Any]]:
        """Wait for the others' answers, in the order of their ranks."""

    @abstractmethod
    def agree(self, error: Exception | None) -> None:
        """Let all processes go on, or none; for a point after which they would wait for each other.

        Args:
            error: What went wrong in this process, if anything.

        Raises:
            Exception: `error`, where there is one.
            FailedElsewhereError: Something went wrong in another process, and nothing in this one.
        """

    @abstractmethod
    def leave_error(self, error: Exception) -> None:
        """Leave an error for the first process, which is not listening for a reply; see `cause`."""

    @abstractmethod
    def cause(self, error: Exception) -> Exception:
        """Find out why a call failed in the first process.

        Args:
            error: What was raised there.

        Returns:
            The error that another process left, a `LostProcessError` where another process has ended, or else
            `error` itself.
        """

    @abstractmethod
    def leave(self) -> None:
        """Close the connections, after the last message."""

    @abstractmethod
    def abandon(self, status: int) -> None:
        """Prepare this process for its end where the others can no longer be told of it.

        Args:
            status: The exit status that it ends with.
        """

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """Hold the connections for a message and its replies.

        Where an error cuts an exchange short, replies may still be under way, and nothing can follow it.

        Raises:
            LostProcessError: An earlier exchange was cut short.
        """
        with self._lock:
            if not self._in_step:
                raise LostProcessError("the other processes have been lost; start the same command again")
            self._in_step = False
            yield
            self._in_step = True

    @contextmanager
    def together(self) -> Iterator[None]:
        """Go on after the block only where it succeeded in all processes; see `agree`."""
        try:
            yield
        except Exception as error:
            self.agree(error)
        else:
            self.agree(None)

    def dismiss(self, status: int) -> None:
        """Tell the others to end with a status, or `abandon` them where an exchange was cut short."""
        global _joined
        _joined = None
        with suppress(LostProcessError), self.exchange():
            self.send({"call": "end", "status": status})
            self.leave()
            return
        self.abandon(status)


def join(launch: Launch) -> Group:
    """Meet the other processes of a launch.

    Args:
        launch: This process among them, and the stack that connects them.

    Returns:
        All of them; `joined` returns the same from now on.

    Raises:
        ConfigError: There are more processes than GPUs, or they do not find each other in time.
        MissingExtraError: The launch's stack is not installed.
    """
    global _joined
    if launch.stack == "keras":
        from kerastune.keras_stack.hosts import meet as meet_hosts

        _joined = meet_hosts(launch)
    else:
        from hf_bridge.processes import meet

        _joined = meet(launch)
    return _joined


def joined() -> Group:
    """The processes of this launch, after `join`.

    Raises:
        ConfigError: This process was started with others and has not joined them.
    """
    if _joined is None:
        raise ConfigError(
            "this process was started with others, each of which would do the whole work; open a block "
            "`with kerastune.processes():` around it, or start it alone"
        )
    return _joined


def described(error: Exception, rank: int) -> dict[str, Any]:
    """Describe an error as a message, of which `rebuilt` makes an error again."""
    return {"error": (type(error).__name__, f"process {rank}: {error}")}


def rebuilt(message: Mapping[str, Any]) -> Exception:
    """Make an error of what `described` made, of its own type where that is ours, else a `RuntimeError`."""
    name, text = message["error"]
    if name in (MemoryError.__name__, FailedElsewhereError.__name__):
        return MemoryError(text) if name == MemoryError.__name__ else FailedElsewhereError(text)
    kind = getattr(errors, name, None)
    if kind is None:
        return RuntimeError(f"{name}: {text}")
    # MissingExtraError is made of a package and an extra, not of a message.
    return KerastuneError(text) if kind is errors.MissingExtraError else kind(text)
