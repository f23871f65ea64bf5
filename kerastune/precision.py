"""The base's dtype: bfloat16 where the hardware multiplies it, never float16 where it overflows, and why."""

import logging
from typing import NamedTuple

from kerastune.config import Dtype
from kerastune.errors import ConfigError

# Their activations pass float16's 65,504, and the answers are blanks.
_OVERFLOW_FLOAT16 = ("gemma2", "gemma3")

_log = logging.getLogger(__name__)

#: The CUDA compute capability from which GPUs multiply bfloat16; older ones say that they do, and emulate it.
FAST_BFLOAT16_CAPABILITY = 8.0


class Hardware(NamedTuple):
    """What computes.

    Args:
        kind: `"cpu"`, `"gpu"`, `"tpu"` or `"mps"`.
        fast_bfloat16: Whether it multiplies bfloat16, and the framework makes use of that.
        name: Its name, in words.
        capability: A CUDA GPU's compute capability, such as 7.5.
    """

    kind: str
    fast_bfloat16: bool
    name: str = ""
    capability: float | None = None

    def __str__(self) -> str:
        """Say what it is."""
        capability = "" if self.capability is None else f" (compute capability {self.capability})"
        return (self.name or self.kind) + capability


class Decision(NamedTuple):
    """A dtype, why it was chosen, and what speaks against it where the user chose."""

    dtype: str
    reason: str
    warning: str | None = None

    def said(self) -> "Decision":
        """Log the warning, if there is one."""
        if self.warning is not None:
            _log.warning("dtype %s: %s", self.dtype, self.warning)
        return self


def gpu_device(name: str, capability: float | None) -> Hardware:
    """A CUDA GPU, of which what it says about bfloat16 itself is not asked.

    Example:
        >>> gpu_device("Tesla T4", 7.5).fast_bfloat16, gpu_device("NVIDIA L4", 8.9).fast_bfloat16
        (False, True)
    """
    fast = capability is not None and capability >= FAST_BFLOAT16_CAPABILITY
    return Hardware("gpu", fast, name, capability)


def torch_device() -> Hardware:
    """Say what torch computes on; a CPU counts as slow in bfloat16 here, as Keras on torch uses it."""
    import torch

    if not torch.cuda.is_available():
        return Hardware("cpu", False, "cpu")
    major, minor = torch.cuda.get_device_capability()
    return gpu_device(torch.cuda.get_device_name(), major + minor / 10)


def torch_memory() -> int | None:
    """The bytes of torch's GPU that are free; None without one."""
    import torch

    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None


def decide_dtype(asked: Dtype, device: Hardware, model_type: str) -> Decision:
    """Decide the dtype of a frozen base; what is trained is in float32 whatever this is.

    Args:
        asked: The option.
        device: What computes.
        model_type: The model's `model_type`, or its Keras class.

    Raises:
        ConfigError: float16 is asked for and overflows in this model.

    Example:
        >>> decide_dtype("auto", gpu_device("Tesla T4", 7.5), "llama").dtype
        'float32'
        >>> decide_dtype("bfloat16", gpu_device("Tesla T4", 7.5), "llama").warning
        'Tesla T4 (compute capability 7.5) only emulates bfloat16, which is slow; float32 is what auto takes'
    """
    if asked == "float16" and model_type.lower().startswith(_OVERFLOW_FLOAT16):
        raise ConfigError(f"dtype: float16 overflows in {model_type}; choose bfloat16 or float32")
    slow = (
        f"{device} only emulates bfloat16"
        if device.kind == "gpu"
        else f"bfloat16 is no faster on this {device}"
    )
    best = "bfloat16" if device.fast_bfloat16 else "float32"
    if asked == "auto":
        return Decision(best, f"{device} multiplies bfloat16" if device.fast_bfloat16 else slow)
    warning = None
    if asked == "float16":
        warning = f"float16 may overflow, and small gradients vanish in it; {best} is what auto takes"
    elif asked == "bfloat16" and not device.fast_bfloat16:
        warning = f"{slow}, which is slow; float32 is what auto takes" if device.kind == "gpu" else None
    return Decision(asked, "asked for", warning)


def choose_dtype(asked: Dtype, *, fast_bfloat16: bool, model_type: str) -> str:
    """The dtype's name alone, where the device is not known by more than that; see `decide_dtype`.

    Example:
        >>> choose_dtype("auto", fast_bfloat16=True, model_type="llama")
        'bfloat16'
    """
    return decide_dtype(asked, Hardware("cpu", fast_bfloat16), model_type).dtype
