"""Gradients of the answer loss, for the proof that the stacks agree; training takes Keras' own way."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray


def gradients(model: Any, inputs: dict[str, Any], variables: Sequence[Any]) -> list[NDArray[np.float32]]:
    """Differentiate a model's loss by some of its trainable variables.

    Args:
        model: A Keras model that needs no truths to compute its loss.
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

    # The frozen weights are an argument: what a program closes over is written into JAX's cache with it.
    def loss(trainable: Sequence[Any], frozen: Sequence[Any]) -> Any:
        outputs, _ = model.stateless_call(trainable, frozen, inputs, training=False)
        return model.compute_loss(x=inputs, y_pred=outputs)

    values = [
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    return list(jax.jit(jax.grad(loss))(*values))


def _tensorflow(model: Any, inputs: dict[str, Any]) -> Sequence[Any]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = model.compute_loss(x=inputs, y_pred=model(inputs, training=False))
    return list(tape.gradient(loss, [variable.value for variable in model.trainable_variables]))


def _torch(model: Any, inputs: dict[str, Any]) -> Sequence[Any]:
    import torch

    loss = model.compute_loss(x=inputs, y_pred=model(inputs, training=False))
    values = [variable.value for variable in model.trainable_variables]
    return list(torch.autograd.grad(loss, values))
