"""How a linear layer of Keras' lays out what is a matrix on Hugging Face."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerastune.errors import ConfigError
from kerastune.lora import Array


@dataclass(frozen=True)
class Geometry:
    """How a linear layer's kernel splits into inputs and outputs, in the letters of its einsum.

    Args:
        inputs: Letters of the layer's input, such as `"btd"` for `"btd,ndh->btnh"`.
        kernel: Letters of the kernel, `"ndh"`.
        outputs: Letters of the output, `"btnh"`.
        sizes: Letter of the kernel -> its length.
    """

    inputs: str
    kernel: str
    outputs: str
    sizes: dict[str, int]

    @classmethod
    def of(cls, layer: Any) -> "Geometry":
        """Read the geometry off an `EinsumDense` or a `Dense`.

        Raises:
            ConfigError: It is neither, so no adapter can be put on it.
        """
        if isinstance(layer, keras.layers.EinsumDense):
            inputs, kernel, outputs = layer.equation.replace("->", ",").split(",")
        elif isinstance(layer, keras.layers.Dense):
            inputs, kernel, outputs = "...x", "xy", "...y"
        else:
            raise ConfigError(f"targets: {layer.path} is a {type(layer).__name__}, not a linear layer")
        geometry = cls(inputs, kernel, outputs, dict(zip(kernel, layer.kernel.shape, strict=True)))
        if not (inputs.endswith(geometry.contracted) and outputs.endswith(geometry.produced)):
            raise ConfigError(
                f"targets: {layer.path}: expected a product over the input's last axes, received {inputs}"
                f",{kernel}->{outputs}"
            )
        return geometry

    @property
    def contracted(self) -> str:
        """The kernel's letters that the product sums over."""
        return "".join(letter for letter in self.kernel if letter not in self.outputs)

    @property
    def produced(self) -> str:
        """The kernel's letters that the output keeps."""
        return "".join(letter for letter in self.kernel if letter in self.outputs)

    def shape(self, letters: str) -> tuple[int, ...]:
        """The lengths of these letters."""
        return tuple(self.sizes[letter] for letter in letters)

    @property
    def fan_in(self) -> int:
        """Length of the input."""
        return int(np.prod(self.shape(self.contracted)))

    @property
    def fan_out(self) -> int:
        """Length of the output."""
        return int(np.prod(self.shape(self.produced)))

    @property
    def heads(self) -> int:
        """In the native geometry: how many A share one B."""
        return int(np.prod(self.shape(self.produced[:-1])))

    @property
    def heads_first(self) -> list[int]:
        """The kernel's leading axes with the heads first, as the native A is transposed to."""
        last = len(self.kernel) - 1
        return [*sorted(range(last), key=lambda axis: self.kernel[axis] not in self.outputs), last]

    def by_head(self, a: Array) -> Array:
        """A native A `[..., rank]`, in the kernel's axes but the last, as `[heads, in, rank]`."""
        return a.transpose(self.heads_first).reshape(self.heads, -1, a.shape[-1])

    def in_kernel_axes(self, a: Array) -> Array:
        """Undo `by_head`."""
        lengths = (*self.shape(self.kernel[:-1]), a.shape[-1])
        return a.reshape([lengths[axis] for axis in self.heads_first]).transpose(np.argsort(self.heads_first))

    def as_kernel(self, matrix: Array) -> Array:
        """A matrix `[out, in]`, Hugging Face's form of the weight, in the kernel's shape."""
        letters = self.produced + self.contracted
        axes = [letters.index(letter) for letter in self.kernel]
        return matrix.reshape(self.shape(letters)).transpose(axes)
