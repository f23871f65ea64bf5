"""How KerasHub spells the model types that the Keras stack loads: one table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kerastune.keras_stack.weights import NORMS

#: An argument of every backbone -> the config's key.
SIZES = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_query_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "hidden_dim": "hidden_size",
    "layer_norm_epsilon": "rms_norm_eps",
}
_HEAD, _TIED = {"head_dim": "head_dim"}, {"tie_word_embeddings": "tie_word_embeddings"}
_WINDOW = {"sliding_window_size": "sliding_window"}
_CAPS = {
    "attention_logit_soft_cap": "attn_logit_softcapping",
    "final_logit_soft_cap": "final_logit_softcapping",
}
_MIXED = {"use_post_ffw_norm": True, "use_post_attention_norm": True, "use_sliding_window_attention": True}
_TANH = "gelu_pytorch_tanh"


@dataclass(frozen=True, kw_only=True)
class Family:
    """How KerasHub spells a model type.

    Args:
        keras: What its classes' names begin with.
        read: An argument of its backbone -> the config's key, beside the sizes that all have.
        fixed: Arguments that are the same for all models of the type.
        activations: The activations by which configs mean the one that KerasHub computes.
        gates: How many times KerasHub counts the feed-forward width.
        norms: Its norms' names -> Hugging Face's.
    """

    keras: str
    read: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    activations: tuple[str, ...] = ("silu",)
    gates: int = 1
    norms: Mapping[str, str] = field(default_factory=lambda: NORMS)


#: Hugging Face's model type -> the family.
FAMILIES = {
    "gemma": Family(
        keras="Gemma", read=_HEAD, gates=2,
        activations=(_TANH, "gelu"),  # its first configs say gelu and mean the approximation
        norms={**NORMS, "pre_ffw_norm": "post_attention_layernorm"},
    ),
    "gemma2": Family(
        keras="Gemma", read=_HEAD | _CAPS | _WINDOW, fixed=_MIXED, gates=2, activations=(_TANH,)
    ),
    "gemma3_text": Family(
        keras="Gemma3", read=_HEAD | _CAPS | _WINDOW, fixed={"image_size": None, **_MIXED},
        activations=(_TANH,),
    ),
    "llama": Family(keras="Llama3", read=_TIED),
    "mistral": Family(keras="Mistral", read=_HEAD | {"sliding_window": "sliding_window"}),
    "qwen2": Family(keras="Qwen", read=_TIED),
    "qwen3": Family(keras="Qwen3", read=_HEAD | _TIED, fixed={"sliding_window_size": None}),
}  # fmt: skip
