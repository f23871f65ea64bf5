"""The keys and values of a beginning that all prompts share, computed once and lent to every batch.

KerasHub's decoder layers can go on from keys and values that they are given, for generation. Here they do
so for a batch of several tokens a row. The layers' windows, soft caps, norms and adapters are their own, so
the numbers are those of the whole prompt.
"""

from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops


@dataclass(frozen=True, kw_only=True)
class Calls:
    """How a family's decoder layers are called with keys and values, in KerasHub 0.32.

    Args:
        past: The argument for the keys and values.
        index: The argument for how many of them there are already.
        padding: The argument for the mask of the keys.
        pair: Whether keys and values are a tuple; otherwise they are one array, `[B, 2, L, heads, size]`.
        scaled: Whether embeddings are multiplied by the root of the width.
    """

    past: str
    index: str
    padding: str
    pair: bool = False
    scaled: bool = False


_GEMMA = Calls(past="cache", index="cache_update_index", padding="padding_mask", scaled=True)
_LLAMA = Calls(
    past="self_attention_cache", index="self_attention_cache_update_index", padding="decoder_padding_mask"
)

#: A backbone's class -> how its layers are called. Any other computes whole prompts.
CALLS = {
    "GemmaBackbone": _GEMMA,  # Gemma 2's too
    "Gemma3Backbone": replace(_GEMMA, pair=True),
    "LlamaBackbone": _LLAMA,
    "Llama3Backbone": _LLAMA,
    "MistralBackbone": _LLAMA,
    "QwenBackbone": _LLAMA,
    "Qwen3Backbone": _LLAMA,
}


def can_go_on(backbone: Any) -> bool:
    """Whether a backbone can go on from the middle of a text; one that reads images too cannot."""
    return type(backbone).__name__ in CALLS and getattr(backbone, "vision_encoder", None) is None


class PrefixModel(keras.Model):  # type: ignore[misc]  # keras has no types
    """A backbone that returns its layers' keys and values.

    Args:
        backbone: A KerasHub backbone that `can_go_on`.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__(name="prefix_model", dtype="float32")
        self.backbone = backbone
        self.built = True

    def call(self, token_ids: Any) -> list[Any]:
        """Compute the keys and values of tokens.

        Args:
            token_ids: `[1, L]`, without padding.

        Returns:
            For each layer `[1, 2, L, heads, size]`.
        """
        backbone = self.backbone
        heads = backbone.num_key_value_heads
        size = getattr(backbone, "head_dim", None) or backbone.hidden_dim // backbone.num_query_heads
        nothing = ops.zeros((1, 2, 0, heads, size), backbone.compute_dtype)
        return _run(backbone, token_ids, ops.ones_like(token_ids), [nothing] * backbone.num_layers)[1]


def hidden_after(backbone: Any, token_ids: Any, padding_mask: Any, past: list[Any]) -> Any:
    """Run a backbone over what comes after a prefix.

    Args:
        backbone: A KerasHub backbone that `can_go_on`.
        token_ids: `[B, L]`, padded on the right.
        padding_mask: `[B, L]`, True at tokens.
        past: What `PrefixModel` returned of the tokens before.

    Returns:
        `[B, L, width]` in the backbone's dtype.
    """
    return _run(backbone, token_ids, padding_mask, past)[0]


def _run(backbone: Any, token_ids: Any, padding_mask: Any, past: list[Any]) -> tuple[Any, list[Any]]:
    """Return the hidden states, and each layer's keys and values with the past in front."""
    calls = CALLS[type(backbone).__name__]
    rows, length = ops.shape(token_ids)
    before = ops.shape(past[0])[2]
    visible = ops.concatenate([ops.ones((rows, before), "bool"), ops.cast(padding_mask, "bool")], axis=1)
    hidden = backbone.token_embedding(token_ids)
    if calls.scaled:
        hidden = hidden * ops.cast(ops.sqrt(backbone.hidden_dim), hidden.dtype)
    found = []
    for layer, kept in zip(backbone.transformer_layers, past, strict=True):
        kept = ops.cast(kept, backbone.compute_dtype)
        kept = ops.broadcast_to(kept, (rows, *ops.shape(kept)[1:]))
        # The layer writes what is new into the room that is left for it.
        room = ops.pad(kept, [(0, 0), (0, 0), (0, length), (0, 0), (0, 0)])
        arguments = {
            calls.past: (room[:, 0], room[:, 1]) if calls.pair else room,
            calls.index: before,
            calls.padding: visible,
        }
        hidden, after = layer(hidden, **arguments)
        found.append(ops.stack(after, axis=1) if calls.pair else after)
    return backbone.layer_norm(hidden), found
