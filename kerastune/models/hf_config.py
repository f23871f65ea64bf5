"""What a Hugging Face config.json says, wherever transformers 4 or 5 wrote it, and what it leaves unsaid."""

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]

SLIDING, FULL = "sliding_attention", "full_attention"

_GEMMA3_THETA = {SLIDING: ("rope_local_base_freq", 10_000.0), FULL: ("rope_theta", 1_000_000.0)}
_SLIDING_PATTERN = {"gemma2": 2, "gemma3_text": 6}


def with_defaults(config: Config) -> dict[str, Any]:
    """Fill in what transformers takes where a config says nothing, as old ones do.

    Raises:
        KeyError: A size that has no default is missing.
    """
    kind, heads = config["model_type"], config["num_attention_heads"]
    derived = {"num_key_value_heads": heads, "head_dim": config["hidden_size"] // heads}
    return {
        "rms_norm_eps": 1e-6,
        "sliding_window": 4096,
        "tie_word_embeddings": kind.startswith("gemma"),
        "attn_logit_softcapping": 50.0 if kind == "gemma2" else None,
        "final_logit_softcapping": 30.0 if kind == "gemma2" else None,
        **config,
        **{key: value for key, value in derived.items() if config.get(key) is None},
    }


def layer_types(config: Config) -> list[str]:
    """What each decoder layer attends to, `SLIDING` or `FULL`, in the families that mix them.

    Example:
        >>> layer_types({"model_type": "gemma2", "num_hidden_layers": 3})
        ['sliding_attention', 'full_attention', 'sliding_attention']
    """
    kind, layers = config["model_type"], range(config["num_hidden_layers"])
    if config.get("layer_types"):
        return list(config["layer_types"])
    if kind in _SLIDING_PATTERN:
        every = config.get("sliding_window_pattern", _SLIDING_PATTERN[kind])
        return [SLIDING if (layer + 1) % every else FULL for layer in layers]
    first = config.get("max_window_layers", 28) if config.get("use_sliding_window") else len(layers)
    return [SLIDING if layer >= first else FULL for layer in layers]


def rope_of(config: Config, layer_type: str) -> dict[str, Any]:
    """A layer type's RoPE, as transformers 5 puts it: `rope_type`, `rope_theta` and the type's own numbers.

    Transformers 4 wrote `rope_theta` and `rope_scaling` at the top, of which only Gemma 3's full attention
    layers take the scaling; transformers 5 writes `rope_parameters`, for Gemma 3 one for each layer type.

    Example:
        >>> rope_of({"model_type": "llama", "rope_theta": 500000.0, "rope_scaling": None}, FULL)
        {'rope_type': 'default', 'rope_theta': 500000.0}
    """
    written, scaling = config.get("rope_parameters") or {}, config.get("rope_scaling") or {}
    if config["model_type"] == "gemma3_text":
        rope = {**(written.get(layer_type) or {}), **(scaling if layer_type == FULL else {})}
        key, default = _GEMMA3_THETA[layer_type]
    else:
        rope = scaling or written.get(layer_type) or written
        key, default = "rope_theta", 10_000.0
    theta = rope.get("rope_theta") or config.get(key) or default
    return {"rope_type": rope.get("type", "default"), **rope, "rope_theta": float(theta)}
