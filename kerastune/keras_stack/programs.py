"""Compiled programs of Keras models: forward passes and training steps.

On JAX they are compiled here: Keras' own trainer takes every frozen weight into a step and hands it out
again, and traces the model once more before the first one. On TensorFlow and torch, whose variables stay
where they are, Keras' own are used.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

#: Inputs of a model, by name, or one array -> its outputs.
Forward = Callable[[Any], Any]


def forward(model: Any) -> Forward:
    """Compile a model's forward pass, without dropout.

    Args:
        model: A Keras model whose `built` is set; the variables that it has now are its variables for good.

    Returns:
        Inputs -> outputs, as the backend's arrays or numpy's.
    """
    if keras.config.backend() == "jax":
        return _JaxForward(model)
    return lambda inputs: model.predict_on_batch(inputs)


def training_step(model: Any, optimizer: Any) -> Callable[[Mapping[str, Any]], float]:
    """Compile a training step of a model whose outputs are losses.

    Args:
        model: As for `forward`; `compute_loss` sums its outputs.
        optimizer: A Keras optimizer, which may accumulate gradients.

    Returns:
        Inputs -> the loss before the step; model and optimizer have taken it.
    """
    optimizer.build(model.trainable_variables)
    if keras.config.backend() == "jax":
        return _JaxStep(model, optimizer)
    model.compile(optimizer=optimizer)
    return lambda inputs: float(np.mean(model.train_on_batch(inputs)))


def _values(variables: Sequence[Any]) -> list[Any]:
    return [variable.value for variable in variables]


class _JaxForward:
    """A forward pass on JAX; the weights are arguments, so that none is compiled in."""

    def __init__(self, model: Any) -> None:
        import jax

        self._trainable, self._fixed = model.trainable_variables, model.non_trainable_variables

        def run(trainable: list[Any], fixed: list[Any], inputs: Any) -> Any:
            return model.stateless_call(trainable, fixed, inputs)[0]

        self._run = jax.jit(run)

    def __call__(self, inputs: Any) -> Any:
        return self._run(_values(self._trainable), _values(self._fixed), inputs)


class _JaxStep:
    """A training step on JAX, which returns what training changes and nothing else."""

    def __init__(self, model: Any, optimizer: Any) -> None:
        import jax

        self._trainable, self._optimizer = model.trainable_variables, optimizer
        self._fixed = model.non_trainable_variables
        weights = {id(weight) for weight in model.weights}
        # Which of them are no weights: the states of dropout's random numbers.
        drawn = [place for place, one in enumerate(self._fixed) if id(one) not in weights]
        self._draws = [self._fixed[place] for place in drawn]

        def run(trainable: list[Any], moments: list[Any], fixed: list[Any], inputs: Any) -> Any:
            def loss_of(trainable: list[Any]) -> Any:
                losses, states = model.stateless_call(trainable, fixed, inputs, training=True)
                return keras.ops.sum(losses), [states[place] for place in drawn]

            (loss, draws), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable)
            trainable, moments = optimizer.stateless_apply(moments, gradients, trainable)
            return loss, trainable, moments, draws

        self._run = jax.jit(run)

    def __call__(self, inputs: Mapping[str, Any]) -> float:
        optimizer = self._optimizer.variables
        loss, *changed = self._run(
            _values(self._trainable), _values(optimizer), _values(self._fixed), dict(inputs)
        )
        for variables, values in zip((self._trainable, optimizer, self._draws), changed, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        return float(loss)
