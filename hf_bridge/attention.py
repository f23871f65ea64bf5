"""Attention on a CPU: torch's fused kernel is slower there than the plain products."""

from typing import Any

# Beyond it the scores, which are kept for every layer, count in memory.
_SHORT = 256


class CpuAttention:
    """What computes a model's attention, chosen for each batch by its length.

    On two cores a training step on rows of 40 tokens takes a sixth less time with the plain products; the
    numbers are the same. Other devices, and models that have one way alone, are left as they are.

    Args:
        model: A causal language model of transformers.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        # What it was loaded with: transformers takes the fused kernel wherever an architecture allows it.
        self._active = model.config._attn_implementation
        self._chooses = model.device.type == "cpu" and self._active == "sdpa"

    def fit(self, tokens: int) -> None:
        """Choose for texts of this many tokens, a prefix included."""
        chosen = "eager" if tokens <= _SHORT else "sdpa"
        if self._chooses and chosen != self._active:
            self._model.set_attn_implementation(chosen)
            self._active = chosen
