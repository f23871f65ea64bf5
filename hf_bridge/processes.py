"""The processes of one launch, connected: messages from the first to all, replies to it, sums over all."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from hf_bridge.messages import decode, encode
from kerastune import errors
from kerastune.errors import ConfigError, KerastuneError, ModelError, one_line
from kerastune.extras import require
from kerastune.launching import Launch

# The others wait for whatever the first one does meanwhile, such as reading tables. Where a process ends, so
# do its connections, and the others know at once.
_PATIENCE = timedelta(days=30)
_MEETING = timedelta(minutes=10)
_ERROR = "kerastune/error"
_LOST = (
    "another process of the launch has ended, as the system ends one where memory runs out; start the same "
    "command again, it goes on from what was kept"
)

_joined: "Processes | None" = None


class LostProcessError(ModelError):
    """Another process of the launch has ended, or is no longer where this one takes it to be."""


class FailedElsewhereError(Exception):
    """Another process failed in what all do together; its error is the one to show."""


class Processes:
    """The processes of a launch; made by `join`.

    Args:
        launch: This process among them.
        store: What they met by.
    """

    def __init__(self, launch: Launch, store: Any) -> None:
        import torch
        import torch.distributed

        self.rank, self.size = launch.rank, launch.size
        self._torch, self._store = torch, store
        # Messages go by gloo, whatever computes: they are bytes in memory.
        self._messages = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
        self._lock = threading.RLock()
        self._whole = True

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

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message from the first process to all others."""
        self._broadcast(encode(message))

    def receive(self) -> dict[str, Any]:
        """Receive the first process' next message."""
        return decode(self._broadcast())

    def reply(self, message: Mapping[str, Any]) -> None:
        """Answer the first process."""
        content = self._bytes(encode(message))
        with _connected():
            for part in (self._torch.tensor([len(content)]), content):
                self._torch.distributed.send(part, 0, group=self._messages)

    def replies(self) -> list[dict[str, Any]]:
        """Receive the others' answers, in the order of their ranks."""
        found = []
        for rank in range(1, self.size):
            size = self._torch.zeros(1, dtype=self._torch.int64)
            with _connected():
                self._torch.distributed.recv(size, rank, group=self._messages)
                content = self._torch.empty(int(size), dtype=self._torch.uint8)
                self._torch.distributed.recv(content, rank, group=self._messages)
            found.append(decode(content.numpy().tobytes()))
        return found

    def agree(self, error: Exception | None, number: float = 0.0) -> float:
        """Go on together or not at all, before the processes wait for each other in something longer.

        Args:
            error: What went wrong here, if anything.
            number: A number of this process'.

        Returns:
            The sum of all processes' numbers.

        Raises:
            FailedElsewhereError: Something went wrong in another process; what did so here is raised itself.
        """
        numbers = self._torch.tensor([number, float(error is not None)], dtype=self._torch.float64)
        with _connected():
            self._torch.distributed.all_reduce(numbers, group=self._messages)
        if error is not None:
            raise error
        if numbers[1]:
            raise FailedElsewhereError
        return float(numbers[0])

    @contextmanager
    def together(self) -> Iterator[None]:
        """Leave a block in all processes or in none; see `agree`."""
        try:
            yield
        except Exception as error:
            self.agree(error)
        else:
            self.agree(None)

    def add_up(self, tensors: Sequence[Any]) -> None:
        """Put the sum over all processes in the place of each tensor."""
        with _connected():
            for tensor in tensors:
                self._torch.distributed.all_reduce(tensor)

    def leave_error(self, error: Exception) -> None:
        """Leave an error where the first process finds it, which waits for something else."""
        self._store.set(_ERROR, encode(described(error, self.rank)))

    def cause(self, error: Exception) -> Exception:
        """Say why the first process failed: by an error that another left, by its end, or by itself."""
        with suppress(Exception):  # what was lost may be the store itself
            if self._store.check([_ERROR]):
                return rebuilt(decode(self._store.get(_ERROR)))
        # Gloo's errors are of no type of their own.
        lost = isinstance(error, self._torch.distributed.DistError) or "gloo/" in str(error)
        return LostProcessError(_LOST) if lost else error

    def dismiss(self) -> None:
        """Let the others end; where an exchange was cut short, they end as this process does."""
        global _joined
        _joined = None
        with suppress(LostProcessError), self.exchange():
            self.send({"call": "end"})
            self.leave()

    def leave(self) -> None:
        """Take the connections down, after the last message."""
        self._torch.distributed.destroy_process_group()

    def _broadcast(self, content: bytes | None = None) -> bytes:
        size = self._torch.tensor([0 if content is None else len(content)])
        with _connected():
            self._torch.distributed.broadcast(size, 0, group=self._messages)
            if content is None:
                data = self._torch.empty(int(size), dtype=self._torch.uint8)
            else:
                data = self._bytes(content)
            self._torch.distributed.broadcast(data, 0, group=self._messages)
        return content or data.numpy().tobytes()

    def _bytes(self, content: bytes) -> Any:
        return self._torch.frombuffer(bytearray(content), dtype=self._torch.uint8)


def join(launch: Launch) -> Processes:
    """Meet the other processes of a launch.

    Raises:
        ConfigError: There are more processes than GPUs, or they do not find each other.
        MissingExtraError: torch is not installed.
    """
    global _joined
    torch = require("torch", "hf")
    backend = "gloo"
    if torch.cuda.is_available():
        found = torch.cuda.device_count()
        if launch.local_size > found:
            raise ConfigError(
                f"{launch.local_size} processes were started on a machine with {found} GPU(s), each of which "
                f"takes one process; start with --nproc-per-node {found}"
            )
        torch.cuda.set_device(launch.local_rank)
        backend = "cpu:gloo,cuda:nccl"
    try:
        store, rank, size = next(torch.distributed.rendezvous("env://", timeout=_MEETING))
        torch.distributed.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=_MEETING
        )
        _joined = Processes(launch, store)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the {launch.size} processes of the launch do not find each other: {one_line(error)}; start "
            "them with torchrun, and see that MASTER_ADDR can be reached from every machine"
        ) from error
    return _joined


def joined() -> Processes:
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


@contextmanager
def _connected() -> Iterator[None]:
    """Say a connection that was lost as what it is: torch has no type of its own for it."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(_LOST) from error
