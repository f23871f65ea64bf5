"""A function over a model's variables, compiled by the backend that Keras runs on."""

from collections.abc import Callable
from typing import Any

import keras

from kerastune.keras_stack.placement import Placement


def compiled(
    model: Any, function: Callable[..., Any], placement: Placement, outputs: Any = "whole"
) -> Callable[..., Any]:
    """Compile a function that reads a model's variables; a program for each shape of the arguments.

    Args:
        model: The model; its variables are handed over at each call, not built into the program. Those that
            it has now are its variables for good.
        function: Tensors in, tensors out, by operations of Keras'.
        placement: Where the model is.
        outputs: Where what comes out is; see `Placement.jit`.
    """
    if keras.config.backend() == "jax":
        return _jax(model, function, placement, outputs)
    return {"tensorflow": _tensorflow, "torch": _torch}[keras.config.backend()](function)


def _jax(model: Any, function: Callable[..., Any], placement: Placement, outputs: Any) -> Callable[..., Any]:
    variables = model.variables  # found by walking through all layers, which is not for every token

    def stateless(values: list[Any], *arguments: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*arguments)

    placement.variables(variables)
    program = placement.jit(stateless, outputs)
    return lambda *arguments: program(
        [variable.value for variable in variables], *placement.inputs(arguments)
    )


def _tensorflow(function: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    program: Callable[..., Any] = tf.function(function)
    return program


def _torch(function: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    return torch.no_grad()(function)  # type: ignore[no-any-return]
