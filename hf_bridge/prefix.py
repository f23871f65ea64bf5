"""The keys and values of a beginning that all prompts share, computed once and lent to every batch."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from kerastune.stack import Prefix


def prefill(model: Any, token_ids: Sequence[int]) -> Prefix | None:
    """Run a model over the tokens once; see `Stack.prefill`.

    Args:
        model: A causal language model of transformers.
        token_ids: The tokens.

    Returns:
        None for models whose layers keep something else than a key and a value a token, such as Mamba's
        states: those cannot be lent to several rows.
    """
    if getattr(model, "_is_stateful", False):
        return None
    # Without the config every layer keeps all of its past. A cache that is told of sliding windows drops
    # what is outside of them; the masks see to the windows either way.
    cache = DynamicCache()
    tokens = torch.tensor([list(token_ids)], device=model.device)
    with torch.no_grad():
        model.base_model(input_ids=tokens, past_key_values=cache, use_cache=True)
    state = [(layer.keys, layer.values) for layer in cache.layers]
    whole = len(state) == model.config.get_text_config().num_hidden_layers
    if not whole or any(keys is None or keys.shape[-2] != len(token_ids) for keys, _ in state):
        return None
    return Prefix(len(token_ids), state)


def past_of(prefix: Prefix, rows: int) -> DynamicCache:
    """The prefix as the past of a batch. Its layers copy it when they add to it, so it stays as it is."""
    return DynamicCache([tuple(past.expand(rows, -1, -1, -1) for past in layer) for layer in prefix.state])
