"""The processes of torchrun, connected by torch.distributed; see `kerastune.group`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from kerastune.config import ModelSpec
from kerastune.errors import ConfigError, one_line
from kerastune.extras import require
from kerastune.group import LOST, FailedElsewhereError, Group, LostProcessError, Part, described, rebuilt
from kerastune.launching import Launch
from kerastune.messages import decode, encode
from kerastune.models import ModelFiles

# The others wait for whatever the first one does meanwhile, such as reading tables. Where a process ends, so
# do its connections, and the others know at once.
_PATIENCE = timedelta(days=30)
_MEETING = timedelta(minutes=10)
_ERROR = "kerastune/error"


class Processes(Group):
    """The processes of a launch by torchrun; made by `meet`.

    Args:
        launch: This process among them.
        store: What they met by.
    """

    def __init__(self, launch: Launch, store: Any) -> None:
        import torch
        import torch.distributed

        super().__init__(launch)
        self._torch, self._store = torch, store
        # Messages go by gloo, whatever computes: they are bytes in memory.
        self._messages = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)

    def part(self, spec: ModelSpec, files: ModelFiles) -> Part:
        """Load this process' part; see `Group.part`."""
        from hf_bridge.part import HfPart

        return HfPart(spec, files, self)

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

    def agree(self, error: Exception | None) -> None:
        """Go on together or not at all; see `Group.agree`."""
        self.total(error, 0.0)

    def total(self, error: Exception | None, number: float) -> float:
        """Sum a number of each process, or stop all of them; see `Group.agree`."""
        numbers = self._torch.tensor([number, float(error is not None)], dtype=self._torch.float64)
        with _connected():
            self._torch.distributed.all_reduce(numbers, group=self._messages)
        if error is not None:
            raise error
        if numbers[1]:
            raise FailedElsewhereError
        return float(numbers[0])

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
        return LostProcessError(LOST) if lost else error

    def leave(self) -> None:
        """Take the connections down, after the last message."""
        self._torch.distributed.destroy_process_group()

    def abandon(self, status: int) -> None:
        """Nothing: the connections end with the process, and so do the others."""

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


def meet(launch: Launch) -> Processes:
    """Meet the other processes of a launch.

    Raises:
        ConfigError: There are more processes than GPUs, or they do not find each other.
        MissingExtraError: torch is not installed.
    """
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
        return Processes(launch, store)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the {launch.size} processes of the launch do not find each other: {one_line(error)}; start "
            "them with torchrun, and see that MASTER_ADDR can be reached from every machine"
        ) from error


@contextmanager
def _connected() -> Iterator[None]:
    """Say a connection that was lost as what it is: torch has no type of its own for it."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(LOST) from error
