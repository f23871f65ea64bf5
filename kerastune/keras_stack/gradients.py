"""Gradients of the answer loss, for the proof that the stacks agree; training takes Keras' own way."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray


def gradients(model: Any, inputs: dict[str, Any], variables: Sequence[Any]) -> list[NDArray[np.float32]]:
    """Differentiate the sum of a model's outputs by some of its trainable variables.

    Args:
        model: A Keras model whose outputs are losses.
        inputs: Its inputs.
        variables: The variables.

    Returns:
        A gradient for each variable, of its shape.
    """
    of_backend = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}[keras.config.backend()]
    places = {id(variable): place for place, variable in enumerate(model.trainable_variables)}
    found = of_backend(model, inputs)
    return [
        np.asarray(ops.convert_to_numpy(found[places[id(variable)]]), np.float32) for variable in variables
    ]


def _jax(model: Any, inputs: dict[str, Any]) -> Sequence[Any]:
    import jax

    def loss(trainable: Sequence[Any]) -> Any:
        outputs, _ = model.stateless_call(
            trainable, [variable.value for variable in model.non_trainable_variables], inputs, training=False
        )
        return ops.sum(outputs)

    return list(jax.jit(jax.grad(loss))([variable.value for variable in model.trainable_variables]))


def _tensorflow(model: Any, inputs: dict[str, Any]) -> Sequence[Any]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = ops.sum(model(inputs, training=False))
    return list(tape.gradient(loss, [variable.value for variable in model.trainable_variables]))


def _torch(model: Any, inputs: dict[str, Any]) -> Sequence[Any]:
    import torch

    loss = ops.sum(model(inputs, training=False))
    values = [variable.value for variable in model.trainable_variables]
    return list(torch.autograd.grad(loss, values))
