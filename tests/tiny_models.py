"""Small random models of every architecture as Hugging Face layout folders, made in milliseconds.

The configs are what transformers 5 writes. RoPE's bases, windows and the norms' weights are none of the
defaults, and a few tokens overrun a window, so that a number that a loader leaves unread shows in the logits.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

_SHARED = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "attention_bias": False,
    "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
_GEMMA = {
    "head_dim": 16, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
}  # fmt: skip
_QWEN = {
    "hidden_act": "silu", "rms_norm_eps": 1e-6, "use_sliding_window": False, "sliding_window": None,
    "max_window_layers": 28, "layer_types": ["full_attention", "full_attention"],
}  # fmt: skip
_LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "head_dim": 8,
    "mlp_bias": False, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
}  # fmt: skip
_LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 70000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip


def _rope(theta: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta}


_CONFIGS: dict[str, dict[str, Any]] = {
    "gemma": _GEMMA | {
        "model_type": "gemma", "architectures": ["GemmaForCausalLM"], "num_key_value_heads": 1,
        "rope_parameters": _rope(3000.0),
    },
    "gemma2": _GEMMA | {
        "model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"], "rope_parameters": _rope(3000.0),
        "query_pre_attn_scalar": 16, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
        "sliding_window": 3, "layer_types": ["sliding_attention", "full_attention"],
    },
    "gemma3": _GEMMA | {
        "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "num_key_value_heads": 1,
        "query_pre_attn_scalar": 16, "sliding_window": 3,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"full_attention": _rope(500000.0), "sliding_attention": _rope(3000.0)},
    },
    "tinyllama": _LLAMA | {"rope_parameters": _rope(3000.0)},
    "llama3": _LLAMA | {"rope_parameters": _LLAMA3_ROPE},
    "llama3-tied": _LLAMA | {"rope_parameters": _LLAMA3_ROPE, "tie_word_embeddings": True},
    "qwen2": _QWEN | {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "rope_parameters": _rope(70000.0),
        "tie_word_embeddings": True,
    },
    "qwen3": _QWEN | {
        "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "rope_parameters": _rope(70000.0),
        "tie_word_embeddings": False, "head_dim": 16,
    },
    "mistral": {
        "model_type": "mistral", "architectures": ["MistralForCausalLM"], "rope_parameters": _rope(3000.0),
        "tie_word_embeddings": False, "head_dim": 16, "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "sliding_window": 3,
    },
}  # fmt: skip

#: The names that `write_model` knows.
ARCHITECTURES = tuple(_CONFIGS)


# What KerasHub's presets can say of a Gemma 3; the numbers above are none of the defaults.
PRESET_GEMMA3 = {
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention"] * 2,
    "rope_parameters": {
        kind: {"rope_type": "default", "rope_theta": theta}
        for kind, theta in (("sliding_attention", 10_000.0), ("full_attention", 1_000_000.0))
    },
}


def write_model(folder: Path, architecture: str, vocabulary: int, seed: int = 7, **changes: Any) -> None:
    """Put a model beside the tokenizer that is in the folder; another seed is another base.

    Args:
        folder: Where config.json and model.safetensors are written.
        architecture: One of `ARCHITECTURES`.
        vocabulary: How many tokens it knows.
        seed: Seed of the weights.
        changes: Values of the config that differ from the architecture's.
    """
    config = _SHARED | _CONFIGS[architecture] | {"vocab_size": vocabulary} | changes
    (folder / "config.json").write_text(json.dumps(config))
    save_file(_tensors(config, seed), folder / "model.safetensors", metadata={"format": "pt"})


def _tensors(config: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """The weights that transformers expects under this config."""
    draw = np.random.default_rng(seed)
    kind, vocabulary = config["model_type"], config["vocab_size"]
    gemma = kind.startswith("gemma")
    width, hidden = config["hidden_size"], config["intermediate_size"]
    size = config.get("head_dim") or width // config["num_attention_heads"]
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size

    def weight(*shape: int) -> np.ndarray:
        return (draw.standard_normal(shape) * 0.15).astype(np.float32)

    def norm(length: int) -> np.ndarray:
        return weight(length) + np.float32(not gemma)  # Gemma's norms multiply by one more than their weight

    tensors = {"model.embed_tokens.weight": weight(vocabulary, width), "model.norm.weight": norm(width)}
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = weight(vocabulary, width)
    for layer in range(config["num_hidden_layers"]):
        attention, mlp = f"model.layers.{layer}.self_attn.", f"model.layers.{layer}.mlp."
        tensors |= {
            f"{attention}q_proj.weight": weight(queries, width),
            f"{attention}k_proj.weight": weight(keys, width),
            f"{attention}v_proj.weight": weight(keys, width),
            f"{attention}o_proj.weight": weight(width, queries),
            f"{mlp}gate_proj.weight": weight(hidden, width),
            f"{mlp}up_proj.weight": weight(hidden, width),
            f"{mlp}down_proj.weight": weight(width, hidden),
        }
        if kind == "qwen2":
            for name, length in (("q", queries), ("k", keys), ("v", keys)):
                tensors[f"{attention}{name}_proj.bias"] = weight(length)
        if kind in ("gemma3_text", "qwen3"):
            tensors |= {f"{attention}{name}_norm.weight": norm(size) for name in "qk"}
        norms = ["input", "post_attention"]
        if kind in ("gemma2", "gemma3_text"):
            norms += ["pre_feedforward", "post_feedforward"]
        tensors |= {f"model.layers.{layer}.{name}_layernorm.weight": norm(width) for name in norms}
    return tensors
