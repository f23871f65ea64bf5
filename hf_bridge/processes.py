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

# How long a process waits for a message: as long as the first one may be busy with something else. A process
# that ends closes its connections, so that nobody waits in vain.
_MESSAGE_TIMEOUT = timedelta(days=30)
# How long the processes have to find each other.
_RENDEZVOUS_TIMEOUT = timedelta(minutes=10)
_ERROR = "kerastune/error"


class Processes(Group):
    """The processes of a launch by torchrun; made by `meet`.

    Args:
        launch: This process among them.
        store: torch's key-value store, by which they found each other.
    """

    def __init__(self, launch: Launch, store: Any) -> None:
        import torch
        import torch.distributed

        super().__init__(launch)
        self._torch, self._store = torch, store
        # Messages go by gloo whatever the device: they are bytes in the CPU's memory.
        self._messages = torch.distributed.new_group(backend="gloo", timeout=_MESSAGE_TIMEOUT)

    def part(self, spec: ModelSpec, files: ModelFiles) -> Part:
        """Load this process' part; see `Group.part`."""
        from hf_bridge.part import HfPart

        return HfPart(spec, files, self)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message from the first process to all others; `receive` is its other end."""
        self._broadcast(encode(message))

    def receive(self) -> dict[str, Any]:
        """Wait for the first process' next message."""
        return decode(self._broadcast())

    def reply(self, message: Mapping[str, Any]) -> None:
        """Answer the first process."""
        content = self._bytes(encode(message))
        with _connected():
            for part in (self._torch.tensor([len(content)]), content):
                self._torch.distributed.send(part, 0, group=self._messages)

    def replies(self) -> list[dict[str, Any]]:
        """Wait for the others' answers, in the order of their ranks."""
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
        """Let all processes go on, or none; see `Group.agree`."""
        self.total(error, 0.0)

    def total(self, error: Exception | None, number: float) -> float:
        """Return the sum of the processes' numbers, unless something went wrong in one; see `Group.agree`."""
        numbers = self._torch.tensor([number, float(error is not None)], dtype=self._torch.float64)
        with _connected():
            self._torch.distributed.all_reduce(numbers, group=self._messages)
        if error is not None:
            raise error
        if numbers[1]:
            raise FailedElsewhereError
        return float(numbers[0])

    def all_reduce(self, tensors: Sequence[Any]) -> None:
        """Replace each tensor, in place, by its sum over all processes."""
        with _connected():
            for tensor in tensors:
                self._torch.distributed.all_reduce(tensor)

    def leave_error(self, error: Exception) -> None:
        """Leave an error where the first process finds it; see `Group.leave_error`."""
        self._store.set(_ERROR, encode(described(error, self.rank)))

    def cause(self, error: Exception) -> Exception:
        """Say why a call failed in the first process; see `Group.cause`."""
        with suppress(Exception):  # what was lost may be the store itself
            if self._store.check([_ERROR]):
                return rebuilt(decode(self._store.get(_ERROR)))
        # Gloo's errors are of no type of their own.
        lost = isinstance(error, self._torch.distributed.DistError) or "gloo/" in str(error)
        return LostProcessError(LOST) if lost else error

    def leave(self) -> None:
        """Close the connections, after the last message."""
        self._torch.distributed.destroy_process_group()

    def abandon(self, status: int) -> None:
        """Do nothing: this process' end closes its connections, and that ends the others."""

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
    """Meet the other processes of a launch by torchrun.

    Args:
        launch: This process among them.

    Raises:
        ConfigError: There are more processes than GPUs, or they do not find each other in ten minutes.
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
        store, rank, size = next(torch.distributed.rendezvous("env://", timeout=_RENDEZVOUS_TIMEOUT))
        torch.distributed.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=_RENDEZVOUS_TIMEOUT
        )
        return Processes(launch, store)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the {launch.size} processes of the launch do not find each other: {one_line(error)}; start "
            "them with torchrun, and see that MASTER_ADDR can be reached from every machine"
        ) from error


@contextmanager
def _connected() -> Iterator[None]:
    """Turn a lost connection into a `LostProcessError`; torch raises a plain `RuntimeError`."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(LOST) from error
