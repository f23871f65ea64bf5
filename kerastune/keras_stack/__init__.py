"""The Keras 3 stack: KerasHub models on JAX, TensorFlow or torch."""

from kerastune.keras_stack.model import KerasStack

__all__ = ["KerasStack"]
