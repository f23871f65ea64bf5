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

#: What is said of a process that is gone.
LOST = (
    "another process of the launch has ended, as the system ends one where memory runs out; start the same "
    "command again, it goes on from what was kept"
)

_joined: "Group | None" = None


class LostProcessError(ModelError):
    """Another process of the launch has ended, or is no longer where this one takes it to be."""


class FailedElsewhereError(Exception):
    """Another process failed in what all do together; its error is the one to show."""


class Part(Protocol):
    """One process' part of a stack that several hold; each call is made in all of them."""

    #: A `kerastune.stack.Stack`; what it has whole, the first process reads there.
    stack: Any

    def do(self, call: str, values: Mapping[str, Any]) -> Any:
        """Do this process' part of a call.

        Args:
            call: The method of `Stack`, or `decode`.
            values: Its arguments, those of the whole.
        """

    def reply(self, call: str, values: Mapping[str, Any]) -> Any:
        """Do it elsewhere than in the first process, and return what that needs of it; None for nothing."""

    def forget(self, numbers: Sequence[int]) -> None:
        """Let go of beginnings and of prompts that nobody goes on from."""

    def waits(self, call: str) -> bool:
        """Whether the processes wait for each other within a call, so that who fails there cannot reply."""


class Group(ABC):
    """The processes of a launch, as one of them sees them.

    Args:
        launch: This process among them.
    """

    def __init__(self, launch: Launch) -> None:
        self.rank, self.size = launch.rank, launch.size
        self._lock = threading.RLock()
        self._whole = True

    @abstractmethod
    def part(self, spec: ModelSpec, files: ModelFiles) -> Part:
        """Load this process' part of a stack; all processes do it together."""

    @abstractmethod
    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message from the first process to all others."""

    @abstractmethod
    def receive(self) -> dict[str, Any]:
        """Receive the first process' next message."""

    @abstractmethod
    def reply(self, message: Mapping[str, Any]) -> None:
        """Answer the first process."""

    @abstractmethod
    def replies(self) -> list[dict[str, Any]]:
        """Receive the others' answers, in the order of their ranks."""

    @abstractmethod
    def agree(self, error: Exception | None) -> None:
        """Go on together or not at all, before the processes wait for each other in something longer.

        Args:
            error: What went wrong here, if anything.

        Raises:
            FailedElsewhereError: Something went wrong in another process; what did so here is raised itself.
        """

    @abstractmethod
    def leave_error(self, error: Exception) -> None:
        """Leave an error where the first process finds it, which waits for something else."""

    @abstractmethod
    def cause(self, error: Exception) -> Exception:
        """Say why the first process failed: by an error that another left, by its end, or by itself."""

    @abstractmethod
    def leave(self) -> None:
        """Take the connections down, after the last message."""

    @abstractmethod
    def abandon(self, status: int) -> None:
        """See to it that this process can end, where the others do not hear it any more."""

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """Hold the connections for a message and its replies; left before their end, nothing can follow.

        Raises:
            LostProcessError: An exchange before this one was left so.
        """
        with self._lock:
            if not self._whole:
                raise LostProcessError("the other processes have been lost; start the same command again")
            self._whole = False
            yield
            self._whole = True

    @contextmanager
    def together(self) -> Iterator[None]:
        """Leave a block in all processes or in none; see `agree`."""
        try:
            yield
        except Exception as error:
            self.agree(error)
        else:
            self.agree(None)

    def dismiss(self, status: int) -> None:
        """Let the others end with a status; where an exchange was cut short, they end when this one does."""
        global _joined
        _joined = None
        with suppress(LostProcessError), self.exchange():
            self.send({"call": "end", "status": status})
            self.leave()
            return
        self.abandon(status)


def join(launch: Launch) -> Group:
    """Meet the other processes of a launch.

    Raises:
        ConfigError: There are more processes than GPUs, or they do not find each other.
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
    """The processes that this one has met.

    Raises:
        ConfigError: It was started with others and has not met them.
    """
    if _joined is None:
        raise ConfigError(
            "this process was started with others, each of which would do the whole work; open a block "
            "`with kerastune.processes():` around it, or start it alone"
        )
    return _joined


def described(error: Exception, rank: int) -> dict[str, Any]:
    """Say an error as a message; `rebuilt` makes it one again."""
    return {"error": (type(error).__name__, f"process {rank}: {error}")}


def rebuilt(message: Mapping[str, Any]) -> Exception:
    """Make an error of what another process said of it, of its own type where the type is ours."""
    name, text = message["error"]
    if name in (MemoryError.__name__, FailedElsewhereError.__name__):
        return MemoryError(text) if name == MemoryError.__name__ else FailedElsewhereError(text)
    kind = getattr(errors, name, None)
    if kind is None:
        return RuntimeError(f"{name}: {text}")
    # One that takes other arguments than its message is told by that alone.
    return KerastuneError(text) if kind is errors.MissingExtraError else kind(text)
