"""A base whose linear layers are kept as 8-bit or 4-bit integers, by Keras' own quantize.

Not NF4, which Keras does not have. The embedding, the norms and the head stay as they are, as bitsandbytes
leaves them on the other stack.
"""

from typing import Any

from kerastune.config import Quantized
from kerastune.errors import ModelError, one_line
from kerastune.keras_stack.lora import adaptable_layers


def quantize(backbone: Any, mode: Quantized) -> None:
    """Quantise the linear layers of a backbone's decoder layers, in place.

    Args:
        backbone: A KerasHub backbone without an adapter.
        mode: `"int8"` or `"int4"`.

    Raises:
        ModelError: Keras cannot quantise one of them.
    """
    for module, layer in adaptable_layers(backbone).items():
        try:
            layer.quantize(mode)
        except (ValueError, NotImplementedError) as error:
            raise ModelError(
                f"{module}: Keras cannot keep it as {mode}: {one_line(error)}; leave --quantize out"
            ) from error
