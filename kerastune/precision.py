"""The base's dtype: bfloat16 where the hardware computes it, and never float16 where it overflows."""

from kerastune.config import Dtype
from kerastune.errors import ConfigError

# Their activations pass float16's 65,504, and the answers are blanks.
_OVERFLOW_FLOAT16 = ("gemma2", "gemma3")

#: The CUDA compute capability from which GPUs multiply bfloat16; older ones say that they do, and emulate it.
FAST_BFLOAT16_CAPABILITY = 8.0


def torch_device() -> tuple[str, bool]:
    """Say what torch computes on: the device's kind, and whether it is a GPU that multiplies bfloat16."""
    import torch

    if not torch.cuda.is_available():
        return "cpu", False
    major, minor = torch.cuda.get_device_capability()
    return "gpu", major + minor / 10 >= FAST_BFLOAT16_CAPABILITY


def torch_memory() -> int | None:
    """The bytes of torch's GPU that are free; None without one."""
    import torch

    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None


def choose_dtype(asked: Dtype, *, fast_bfloat16: bool, model_type: str) -> str:
    """Choose the dtype of a frozen base; what is trained is in float32 whatever this is.

    Args:
        asked: The option.
        fast_bfloat16: Whether the hardware multiplies bfloat16, and the framework makes use of it.
        model_type: The model's `model_type`, or its Keras class.

    Returns:
        The dtype's name.

    Raises:
        ConfigError: float16 is asked for and overflows in this model.

    Example:
        >>> choose_dtype("auto", fast_bfloat16=True, model_type="llama")
        'bfloat16'
    """
    if asked == "float16" and model_type.lower().startswith(_OVERFLOW_FLOAT16):
        raise ConfigError(f"dtype: float16 overflows in {model_type}; choose bfloat16 or float32")
    if asked != "auto":
        return asked
    return "bfloat16" if fast_bfloat16 else "float32"
