"""Several processes of one launch, by torchrun or by accelerate: the first one runs the command.

The others hold the same model and compute their rows of what it asks for. So files, locks, progress and
messages are of one process alone, and whatever works in one works in several.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kerastune.errors import ConfigError, KerastuneError

# As torchrun sets them. A scheduler may set one or the other for purposes of its own.
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_entered = False


@dataclass(frozen=True)
class Launch:
    """This process among those that were started together.

    Args:
        rank: Its number; 0 runs the command.
        size: How many there are.
        local_rank: Its number among those on this machine.
        local_size: How many are on this machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int


def find_launch() -> Launch | None:
    """Say which of several processes this is; None where it is the only one.

    Raises:
        ConfigError: The launcher's variables are no numbers.
    """
    if any(name not in os.environ for name in _VARIABLES):
        return None
    said = [os.environ[name] for name in _VARIABLES[:4]]
    try:
        launch = Launch(*map(int, said))
    except ValueError as error:
        raise ConfigError(
            f"{', '.join(_VARIABLES[:4])}: expected numbers, received {', '.join(said)}; unset them, or "
            "start with torchrun"
        ) from error
    return launch if launch.size > 1 else None


@contextmanager
def processes() -> Iterator[None]:
    """Let the first of several processes run a block, and the others compute for it.

    Outside of torchrun, and inside of another such block, it does nothing. In the other processes it never
    gets to the block: they serve until the first one has left it, and end with `SystemExit`. To be opened
    before anything is read or written.

    Raises:
        ConfigError: There are more processes than GPUs, or they do not find each other.
        MissingExtraError: torch is not installed.
        SystemExit: In all processes but the first, when the work is done.

    Example:
        >>> with processes():  # doctest: +SKIP
        ...     kt.train(kt.read_dataset("my.tsv"), stack="hf", out="runs/mine")
    """
    global _entered
    launch = find_launch()
    if launch is None or _entered:
        yield
        return
    from hf_bridge.processes import join

    try:
        group = join(launch)
    except KerastuneError as error:
        if launch.local_rank > 0:  # what is wrong is so for all of a machine: said once
            raise SystemExit(2) from error
        raise
    if launch.rank > 0:
        from hf_bridge.following import follow

        raise SystemExit(follow(group))
    _entered = True
    try:
        yield
    finally:
        _entered = False
        group.dismiss()
