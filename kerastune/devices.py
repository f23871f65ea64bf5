"""What a model runs on: how much memory that has, and whether it multiplies bfloat16 fast."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kerastune.errors import ConfigError

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """Where training runs.

    Args:
        name: What it is called.
        kind: `"cpu"`, `"gpu"` or `"tpu"`.
        memory: Bytes that a process can have of it.
        fast_bfloat16: Whether it multiplies bfloat16 faster than float32.
    """

    name: str
    kind: str
    memory: int
    fast_bfloat16: bool


#: Memory as the drivers report it, which is less than the number on the box.
_ACCELERATORS = {
    "t4": Device("T4", "gpu", int(14.6 * GIB), fast_bfloat16=False),
    "l4": Device("L4", "gpu", int(22.0 * GIB), fast_bfloat16=True),
    "a100": Device("A100 40 GB", "gpu", int(39.4 * GIB), fast_bfloat16=True),
    "h100": Device("H100", "gpu", int(79.1 * GIB), fast_bfloat16=True),
    "h200": Device("H200", "gpu", int(139.8 * GIB), fast_bfloat16=True),
    "tpu-v5e": Device("TPU v5e, one chip", "tpu", int(15.7 * GIB), fast_bfloat16=True),
}


def get_device(name: str) -> Device:
    """Find a device by name.

    Args:
        name: `"t4"`, `"l4"`, `"a100"`, `"h100"`, `"h200"`, `"tpu-v5e"`, `"cpu"` for this machine's memory, or
            the gigabytes (10^9 bytes) of another GPU.

    Raises:
        ConfigError: There is no such device.

    Example:
        >>> get_device("24").memory
        24000000000
    """
    if name == "cpu":
        return this_machine()
    if name in _ACCELERATORS:
        return _ACCELERATORS[name]
    try:
        gigabytes = float(name.lower().removesuffix("gb"))
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < 1e6:
        raise ConfigError(
            f"device: expected {', '.join(_ACCELERATORS)}, cpu, or gigabytes such as 24, received {name!r}"
        )
    return Device(f"GPU of {gigabytes:g} GB", "gpu", int(gigabytes * 1e9), fast_bfloat16=True)


def this_machine(fast_bfloat16: bool = False) -> Device:
    """This machine's processor, with the memory that this process can have: what is free, and its own.

    A container's limit is kept where there is one.
    """
    import psutil

    own = psutil.Process().memory_info().rss
    machine = psutil.virtual_memory()
    memory = min(machine.available + own, machine.total, _container_limit(Path("/sys/fs/cgroup")))
    return Device("this machine", "cpu", memory, fast_bfloat16)


def _container_limit(root: Path, own: Path = Path("/proc/self/cgroup")) -> int:
    """The most bytes that the process' control groups may have, of version 2 or 1; huge where none says."""
    limits = [2**63 - 1]
    try:
        group = own.read_text(encoding="ascii").partition("0::/")[2].strip()
    except OSError:  # not Linux
        group = ""
    folders = [root / group, *(root / group).parents]
    for folder in folders[: len(Path(group).parts) + 1]:
        for name in ("memory.max", "memory/memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # there is no such file, or it says "max"
                limits.append(int((folder / name).read_text(encoding="ascii")))
    return min(limits)
