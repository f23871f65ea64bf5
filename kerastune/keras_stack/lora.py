"""LoRA on KerasHub's layers, in either geometry, added on the activations.

Keras' own `enable_lora` adds the low-rank product to the kernel, where bfloat16 rounds small updates away.
Here the factors and their products stay in float32, and the sum is rounded once.
"""

import re
from collections.abc import Mapping
from types import MethodType
from typing import Any

import keras
import numpy as np
from keras import ops

from kerastune.config import LoraSpec
from kerastune.errors import AdapterError, ConfigError
from kerastune.keras_stack.geometry import Geometry
from kerastune.lora import (
    Array,
    Factors,
    initial_a,
    initial_native_a,
    native_to_peft,
    require_shapes,
    require_whole,
)
from kerastune.targets import KERAS_TO_HF, module_path, targeted

_DECODER_LAYER = re.compile(r"(?:decoder_block|transformer_layer|decoder_layer)_(\d+)")


def add_lora(backbone: Any, lora: LoraSpec, seed: int) -> dict[str, "LoraLayer"]:
    """Put a fresh adapter on a frozen backbone.

    Args:
        backbone: A KerasHub backbone.
        lora: The adapter's options.
        seed: Seed of the initial factors and of the dropout.

    Returns:
        Hugging Face's module path -> the update there.

    Raises:
        ConfigError: A target is unknown, or the model has no such layer.
    """
    layers = adaptable_layers(backbone)
    return {
        module: LoraLayer(layers[module], module, lora, seed) for module in targeted(layers, lora.targets)
    }


def put_on(
    backbone: Any, factors: Mapping[str, Factors], *, trainable: bool = True
) -> dict[str, "LoraLayer"]:
    """Put a finished adapter on a backbone, on top of any that is there.

    Args:
        backbone: A KerasHub backbone.
        factors: Hugging Face's module path -> the update.
        trainable: Whether it may be trained on.

    Raises:
        AdapterError: It does not fit the backbone, or has DoRA's magnitudes.
    """
    layers = adaptable_layers(backbone)
    require_whole(factors, layers)
    geometries = {module: Geometry.of(layers[module]) for module in factors}
    require_shapes(factors, {name: (one.fan_out, one.fan_in) for name, one in geometries.items()})
    found = {module: lora_of(layers[module], module, update) for module, update in factors.items()}
    for lora in found.values():
        lora.a.trainable = lora.b.trainable = trainable
    return found


def lora_of(layer: Any, module: str, update: Factors) -> "LoraLayer":
    """Put a finished update on a linear layer, in PEFT's geometry.

    Raises:
        AdapterError: It has DoRA's magnitudes.
    """
    if update.magnitude is not None:
        raise AdapterError(
            f"{module}: has DoRA's magnitudes, which the keras stack cannot apply; use --stack hf"
        )
    lora = LoraLayer(layer, module, LoraSpec(rank=update.rank, alpha=update.alpha), seed=0)
    lora.assign(update)
    return lora


def adaptable_layers(backbone: Any) -> dict[str, Any]:
    """Find the linear layers of a backbone's decoder layers: Hugging Face's path -> Keras layer."""
    found: dict[str, Any] = {}
    for block in backbone.layers:
        match = _DECODER_LAYER.fullmatch(block.name)
        if match is None:
            continue
        for layer in block._flatten_layers():
            if layer.name in KERAS_TO_HF:
                found[module_path(int(match[1]), KERAS_TO_HF[layer.name])] = layer
    return found


class LoraLayer:
    """The update on one linear layer: its two variables, and what the layer adds of them.

    Args:
        layer: A built linear layer; its call is extended in place until `remove`.
        module: Hugging Face's path of the layer.
        lora: The adapter's options.
        seed: Seed of the initial A and of the dropout.
    """

    def __init__(self, layer: Any, module: str, lora: LoraSpec, seed: int) -> None:
        self.module = module
        self.native = lora.layout == "native"
        self.geometry = geometry = Geometry.of(layer)
        self.rank = lora.rank
        self.alpha = lora.rank * lora.scale
        if self.native:
            if geometry.kernel[-1] not in geometry.outputs:
                raise ConfigError(f"targets: {layer.path}: native layout needs outputs last in the kernel")
            a_letters, b_letters = geometry.kernel[:-1], geometry.kernel[-1]
        else:
            a_letters, b_letters = geometry.contracted, geometry.produced
        self._a_shape = (*geometry.shape(a_letters), lora.rank)
        self._b_shape = (lora.rank, *geometry.shape(b_letters))
        self._attach(layer, lora, seed)

    def _attach(self, layer: Any, lora: LoraSpec, seed: int) -> None:
        layer._tracker.unlock()  # as enable_lora does: a built layer takes no variables otherwise
        self.a = layer.add_weight(
            name="lora_a", shape=self._a_shape, initializer="zeros", dtype="float32", autocast=False
        )
        self.b = layer.add_weight(
            name="lora_b", shape=self._b_shape, initializer="zeros", dtype="float32", autocast=False
        )
        self.dropout = None
        if lora.dropout:
            draws = _stable_seed(self.module, seed)
            self.dropout = layer.lora_dropout = keras.layers.Dropout(
                lora.dropout, seed=draws, dtype="float32"
            )
        layer._tracker.lock()
        # A frozen layer freezes what is added to it; these two alone are trained.
        self.a.trainable = self.b.trainable = True
        self.a.assign(self._initial_a(seed))
        # A quantised layer is called by another name.
        self._layer, self._call = layer, "call" if layer.quantization_mode is None else "quantized_call"
        self._base_call = getattr(layer, self._call)
        setattr(layer, self._call, MethodType(_adapted(self._base_call, self, lora.scale), layer))

    def remove(self) -> None:
        """Leave the layer as it was."""
        setattr(self._layer, self._call, self._base_call)
        self._layer._untrack_variable(self.a)
        self._layer._untrack_variable(self.b)
        if self.dropout is not None:
            self._layer._layers.remove(self.dropout)
            self._layer.lora_dropout = None

    def merge(self) -> None:
        """Add the update to the layer's kernel, in float32, and leave the layer otherwise as it was."""
        update, kernel = self.factors(), self._layer.kernel
        matrix = np.float32(update.alpha / update.rank) * (update.b @ update.a)
        base = np.asarray(ops.convert_to_numpy(ops.cast(kernel, "float32")))
        self.remove()
        kernel.assign(base + self.geometry.as_kernel(matrix))

    def _initial_a(self, seed: int) -> Array:
        if self.native:
            return initial_native_a(self.module, self._a_shape, seed)
        return initial_a(self.module, self.geometry.fan_in, self.rank, seed).T.reshape(self._a_shape)

    def update(self, inputs: Any, shape: Any) -> Any:
        """Compute B A x of float32 inputs, without the scale, in the shape of the layer's outputs.

        As plain matrices: XLA finds its fast kernels for the gradients of these, and not for those of the
        einsums that would say the same; with every linear layer adapted a step took twice the time.
        """
        a = self.a
        if self.native and self.geometry.heads > 1:  # heads side by side: [in, heads x rank]
            heads, *rest, rank = self.geometry.heads_first
            a = ops.transpose(a, (*rest, heads, rank))
        a = ops.reshape(a, (self.geometry.fan_in, -1))
        down = ops.matmul(ops.reshape(inputs, (-1, self.geometry.fan_in)), a)
        up = ops.matmul(ops.reshape(down, (-1, self.rank)), ops.reshape(self.b, (self.rank, -1)))
        return ops.reshape(up, shape)

    def state(self) -> dict[str, Any]:
        """The variables that training changes."""
        state = {"a": self.a, "b": self.b}
        return state if self.dropout is None else {**state, "draws": self.dropout.seed_generator.state}

    def factors(self) -> Factors:
        """The update in PEFT's geometry."""
        a, b = (np.asarray(ops.convert_to_numpy(variable)) for variable in (self.a, self.b))
        if self.native:
            return native_to_peft(self.geometry.by_head(a), b, self.alpha)
        return self.as_factors(a, b)

    def as_factors(self, a: Array, b: Array) -> Factors:
        """Say arrays in the shapes of this update's variables in PEFT's geometry."""
        return Factors(a=a.reshape(-1, self.rank).T, b=b.reshape(self.rank, -1).T, alpha=self.alpha)

    def assign(self, factors: Factors) -> None:
        """Take an update in PEFT's geometry; this one is in the peft layout and of its shape and scale."""
        self.a.assign(factors.a.T.reshape(self._a_shape))
        self.b.assign(factors.b.T.reshape(self._b_shape))


def _adapted(base_call: Any, lora: LoraLayer, scale: float) -> Any:
    """The layer's call with the update added on."""

    def call(_: Any, inputs: Any, training: bool | None = None) -> Any:
        outputs = base_call(inputs)
        inputs = ops.cast(inputs, "float32")
        if lora.dropout is not None:
            inputs = lora.dropout(inputs, training=training)
        update = lora.update(inputs, ops.shape(outputs))
        return ops.cast(ops.cast(outputs, "float32") + scale * update, outputs.dtype)

    return call


def _stable_seed(module: str, seed: int) -> int:
    return int(np.random.SeedSequence([seed, *module.encode()]).generate_state(1)[0])
