"""Several processes of one launch, by torchrun or one a host for Keras: the first one runs the command.

The others hold the same model and compute their rows of what it asks for. So files, locks, progress and
messages are of one process alone, and whatever works in one works in several.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from kerastune.errors import ConfigError, KerastuneError

# As torchrun sets them. A scheduler may set one or the other for purposes of its own.
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

# As `keras.distribution.initialize` reads them.
_HOSTS = tuple(f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))

_entered = False


@dataclass(frozen=True)
class Launch:
    """This process among those that were started together.

    Args:
        rank: Its number; 0 runs the command.
        size: How many there are.
        local_rank: Its number among those on this machine.
        local_size: How many are on this machine.
        stack: The stack that they hold together: `"hf"` under torchrun.
        addresses: Where the first process is found, `host:port`, or where each is, separated by commas; empty
            under torchrun, which says it to torch.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    stack: Literal["keras", "hf"] = "hf"
    addresses: str = ""


@dataclass
class Ending:
    """How a block of several processes ends.

    Args:
        status: The exit status of all.
    """

    status: int = 0


def find_launch() -> Launch | None:
    """Say which of several processes this is; None where it is the only one.

    Raises:
        ConfigError: The launcher's variables are no numbers, or of Keras' some are missing.
    """
    if any(name in os.environ for name in _HOSTS):
        return _host()
    if any(name not in os.environ for name in _VARIABLES):
        return None
    said = [os.environ[name] for name in _VARIABLES[:4]]
    try:
        rank, size, local_rank, local_size = map(int, said)
    except ValueError as error:
        raise ConfigError(
            f"{', '.join(_VARIABLES[:4])}: expected numbers, received {', '.join(said)}; unset them, or "
            "start with torchrun"
        ) from error
    return Launch(rank, size, local_rank, local_size) if size > 1 else None


def _host() -> Launch | None:
    """This host among those that Keras is told of."""
    said = [os.environ.get(name, "") for name in _HOSTS]
    addresses = said[0].split(",")
    numbers = [int(text) if text.isdecimal() else -1 for text in said[1:]]
    size, rank = numbers
    if (
        not all(re.fullmatch(r"\S+:\d{1,5}", address) for address in addresses)
        or len(addresses) not in (1, size)
        or not 0 <= rank < size
    ):
        received = ", ".join(map(repr, said))
        raise ConfigError(
            f"{', '.join(_HOSTS)}: expected the first host's address:port (or each host's, separated by "
            f"commas), how many hosts there are, and this one's number from 0, received {received}"
        )
    return Launch(rank, size, 0, 1, "keras", said[0]) if size > 1 else None


@contextmanager
def processes() -> Iterator[Ending]:
    """Let the first of several processes run a block, and the others compute for it.

    Where there is one process, and inside of another such block, it does nothing. In the other processes it
    never gets to the block: they serve until the first one has left it, and end with `SystemExit`. To be
    opened before anything is read or written, and before JAX is used.

    Yields:
        What the others end with: 0, and 1 where the block is left by an error, unless it is set.

    Raises:
        ConfigError: There are more processes than GPUs, or they do not find each other.
        MissingExtraError: The stack is not installed.
        SystemExit: In all processes but the first, when the work is done.

    Example:
        >>> with processes():  # doctest: +SKIP
        ...     kt.train(kt.read_dataset("my.tsv"), stack="hf", out="runs/mine")
    """
    global _entered
    launch = find_launch()
    ending = Ending()
    if launch is None or _entered:
        yield ending
        return
    from kerastune.group import join

    try:
        group = join(launch)
    except KerastuneError as error:
        if launch.local_rank > 0:  # what is wrong is so for all of a machine: said once
            raise SystemExit(2) from error
        raise
    if launch.rank > 0:
        from kerastune.following import follow

        raise SystemExit(follow(group))
    _entered = True
    try:
        yield ending
    except BaseException:
        ending.status = ending.status or 1
        raise
    finally:
        _entered = False
        group.dismiss(ending.status)
