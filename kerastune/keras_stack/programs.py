"""Compiled programs of Keras models: forward passes and training steps.

On JAX they are compiled here: Keras' own trainer takes every frozen weight into a step and hands it out
again, and traces the model once more before the first one. On TensorFlow and torch, whose variables stay
where they are, Keras' own are used.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from kerastune.keras_stack.compiling import compiled
from kerastune.keras_stack.placement import Placement

#: Inputs of a model, by name, or one array -> its outputs.
Forward = Callable[[Any], Any]


def forward(model: Any, placement: Placement) -> Forward:
    """Compile a model's forward pass, without dropout.

    Args:
        model: A Keras model whose `built` is set; the variables that it has now are its variables for good.
        placement: Where it is.

    Returns:
        Inputs -> outputs, as the backend's arrays or numpy's.
    """
    if keras.config.backend() == "jax":
        return compiled(model, model.call, placement)
    return lambda inputs: model.predict_on_batch(inputs)


def training_step(
    model: Any, optimizer: Any, placement: Placement
) -> Callable[[Mapping[str, Any]], dict[str, float]]:
    """Compile a training step.

    Args:
        model: An `AnswerModel`; its `preference` of now is the step's for good.
        optimizer: A Keras optimizer that is built, which may accumulate gradients.
        placement: Where they are.

    Returns:
        Inputs -> the loss before the step, as `"loss"`, and the means of the pairs' rewards, if there are
        pairs; model and optimizer have taken the step.
    """
    if keras.config.backend() == "jax":
        return _JaxStep(model, optimizer, placement)
    model.compile(optimizer=optimizer)

    def step(inputs: Mapping[str, Any]) -> dict[str, float]:
        found = model.train_on_batch(inputs, return_dict=True)
        return {name: float(found[name]) for name in ("loss", *model.measured)}

    return step


def _values(variables: Sequence[Any]) -> list[Any]:
    return [variable.value for variable in variables]


class _JaxStep:
    """A training step on JAX, which returns what training changes and nothing else."""

    def __init__(self, model: Any, optimizer: Any, placement: Placement) -> None:
        import jax

        placement.variables([*model.variables, *optimizer.variables])
        self._placement = placement
        self._trainable, self._optimizer = model.trainable_variables, optimizer
        self._fixed = model.non_trainable_variables
        weights = {id(weight) for weight in model.weights}
        # Which of them are no weights: the states of dropout's random numbers.
        drawn = [place for place, one in enumerate(self._fixed) if id(one) not in weights]
        self._draws = [self._fixed[place] for place in drawn]

        def run(trainable: list[Any], moments: list[Any], fixed: list[Any], inputs: Any) -> Any:
            def loss_of(trainable: list[Any]) -> Any:
                losses, states = model.stateless_call(trainable, fixed, inputs, training=True)
                rewards, weights = model.rewards(inputs, losses)
                means = {
                    name: keras.ops.sum(values * weights) / keras.ops.sum(weights)
                    for name, values in rewards.items()
                }
                loss = model.compute_loss(x=inputs, y_pred=losses)
                return loss, (means, [states[place] for place in drawn])

            (loss, (means, draws)), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable)
            trainable, moments = optimizer.stateless_apply(moments, gradients, trainable)
            return {"loss": loss, **means}, trainable, moments, draws

        self._run = placement.jit(run)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, float]:
        optimizer = self._optimizer.variables
        found, *changed = self._run(
            _values(self._trainable),
            _values(optimizer),
            _values(self._fixed),
            self._placement.inputs(dict(inputs)),
        )
        for variables, values in zip((self._trainable, optimizer, self._draws), changed, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        return {name: float(value) for name, value in found.items()}
