"""The last decoder layer, computed behind its attention only where its output is read.

Keys and values of the last layer are needed of every token, its output projection and feed-forward only
where an answer is predicted. Of Gemma 3 270M's 18 layers that spares a training step 4 % of its products.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


@contextmanager
def last_layer_at(model: Any, rows: Tensor, places: Tensor) -> Iterator[None]:
    """Let the decoder return the hidden states of some tokens, `[1, N, width]`.

    Args:
        model: A causal language model of transformers.
        rows: `[N]`, the tokens' rows in the batch.
        places: `[N]`, their places in their rows.
    """
    layer = model.base_model.layers[-1]
    attended: list[Tensor] = []

    def narrow(states: Tensor) -> Tensor:
        return states[rows.to(states.device), places.to(states.device)][None]

    def enter(_: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        # The residual stream that the layer sees is narrow, what it attends to is not.
        attended[:] = [kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]]
        return (narrow(attended[0]), *args[1:]), {k: v for k, v in kwargs.items() if k != "hidden_states"}

    hooks = (
        layer.register_forward_pre_hook(enter, with_kwargs=True),
        layer.input_layernorm.register_forward_pre_hook(lambda *_: (attended[0],)),
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _, args: (narrow(args[0]),)),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
