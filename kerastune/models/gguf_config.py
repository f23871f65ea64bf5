"""A GGUF file's metadata as a config.json that transformers and KerasHub both read."""

from typing import Any

import numpy as np

from kerastune.errors import ModelError
from kerastune.models.gguf_reader import Gguf

#: GGUF architecture -> (transformers model type, transformers class).
ARCHITECTURES = {
    "gemma": ("gemma", "GemmaForCausalLM"),
    "gemma2": ("gemma2", "Gemma2ForCausalLM"),
    "gemma3": ("gemma3_text", "Gemma3ForCausalLM"),
    "llama": ("llama", "LlamaForCausalLM"),  # also what Mistral, SmolLM2 and TinyLlama are
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
}

# llama.cpp and transformers tell the 27B models, which scale queries otherwise, by their depth.
_WIDE_QUERY_LAYERS = {"gemma2": 46, "gemma3": 62}
_GEMMA3_LOCAL_THETA = 10_000.0
_GEMMA3_PATTERN = 6


def gguf_config(gguf: Gguf) -> dict[str, Any]:
    """Translate the metadata into the fields of a transformers config.json.

    RoPE is written twice: `rope_theta` and `rope_scaling` at the top, where KerasHub looks, and
    `rope_parameters`, where transformers 5 looks.

    Raises:
        ModelError: The architecture, or its kind of RoPE, cannot be converted.
    """
    arch = gguf.architecture
    if arch not in ARCHITECTURES:
        raise ModelError(
            f"{gguf.path}: expected one of the architectures {', '.join(ARCHITECTURES)}, received {arch!r}"
        )
    if int(gguf.value("expert_count", 0)) > 0:
        raise ModelError(f"{gguf.path}: {arch} with a mixture of experts is not supported; use a dense model")
    model_type, class_name = ARCHITECTURES[arch]
    heads = _uniform(gguf, "attention.head_count")
    width = int(gguf.value("embedding_length"))
    head_size = int(gguf.value("attention.key_length", gguf.value("rope.dimension_count", width // heads)))
    gemma = arch.startswith("gemma")
    config: dict[str, Any] = {
        "architectures": [class_name],
        "model_type": model_type,
        "dtype": "float32",
        "vocab_size": gguf.tensors["token_embd.weight"].shape[0],
        "hidden_size": width,
        "intermediate_size": _uniform(gguf, "feed_forward_length"),
        "num_hidden_layers": int(gguf.value("block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": _uniform(gguf, "attention.head_count_kv", heads),
        "head_dim": head_size,
        "max_position_embeddings": int(gguf.value("context_length")),
        "rms_norm_eps": _short(gguf.value("attention.layer_norm_rms_epsilon")),
        "attention_bias": "blk.0.attn_q.bias" in gguf.tensors,
        "attention_dropout": 0.0,
        "hidden_act": "gelu_pytorch_tanh" if gemma else "silu",
        "initializer_range": 0.02,
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
        "use_cache": True,
    }
    for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        token = gguf.metadata.get(f"tokenizer.ggml.{theirs}_token_id")
        config[f"{ours}_token_id"] = None if token is None else int(token)
    if gemma:
        config["hidden_activation"] = "gelu_pytorch_tanh"
    if arch in _WIDE_QUERY_LAYERS:
        wide = config["num_hidden_layers"] == _WIDE_QUERY_LAYERS[arch]
        config["query_pre_attn_scalar"] = width // heads if wide else head_size
        config["sliding_window"] = int(gguf.value("attention.sliding_window", 4096))
        default = (50.0, 30.0) if arch == "gemma2" else (0.0, 0.0)
        for key, cap in zip(("attn_logit_softcapping", "final_logit_softcapping"), default, strict=True):
            config[key] = _short(gguf.value(key, cap)) or None
        pattern = 2 if arch == "gemma2" else _GEMMA3_PATTERN
        config["layer_types"] = [
            "sliding_attention" if (layer + 1) % pattern else "full_attention"
            for layer in range(config["num_hidden_layers"])
        ]
    if arch.startswith("qwen"):
        # KerasHub demands the key; with the flag off, no window is applied.
        config |= {"use_sliding_window": False, "sliding_window": config["max_position_embeddings"]}
    return config | _rope(gguf, config)


def _rope(gguf: Gguf, config: dict[str, Any]) -> dict[str, Any]:
    theta = _short(gguf.value("rope.freq_base", 1_000_000.0 if gguf.architecture == "gemma3" else 10_000.0))
    scaling = _rope_scaling(gguf, theta, config["head_dim"])
    parameters = {"rope_theta": theta, **(scaling or {"rope_type": "default"})}
    rope: dict[str, Any] = {"rope_theta": theta, "rope_scaling": scaling, "rope_parameters": parameters}
    if gguf.architecture == "gemma3":
        rope["rope_local_base_freq"] = _GEMMA3_LOCAL_THETA
        rope["rope_parameters"] = {
            "full_attention": parameters,
            "sliding_attention": {"rope_type": "default", "rope_theta": _GEMMA3_LOCAL_THETA},
        }
    return rope


def _rope_scaling(gguf: Gguf, theta: float, head_size: int) -> dict[str, Any] | None:
    kind = str(gguf.value("rope.scaling.type", "none"))
    if "rope_freqs.weight" in gguf.tensors:
        return _llama3_scaling(gguf, theta, head_size)
    if kind == "none":
        return None
    if kind != "linear":
        raise ModelError(f"{gguf.path}: expected RoPE scaling of type linear, received {kind!r}")
    return {"rope_type": "linear", "factor": _short(gguf.value("rope.scaling.factor"))}


def _llama3_scaling(gguf: Gguf, theta: float, head_size: int) -> dict[str, Any]:
    """The parameters of Llama 3's RoPE, of which a GGUF keeps only the resulting factors."""
    received = gguf.array("rope_freqs.weight").astype(np.float64)
    factor, low, high, original = float(received.max()), 1.0, 4.0, 8192
    wavelengths = 2 * np.pi * theta ** (np.arange(0, head_size, 2) / head_size)
    smooth = np.clip((original / wavelengths - low) / (high - low), 0.0, 1.0)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if received.shape != expected.shape or not np.allclose(received, expected, rtol=1e-3):
        raise ModelError(
            f"{gguf.path}: expected the RoPE factors of Llama 3 (1 and 4 on 8192 positions), received others"
        )
    return {
        "rope_type": "llama3",
        "factor": _short(factor),
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }


def _uniform(gguf: Gguf, key: str, default: int | None = None) -> int:
    """A number that some files give layer by layer."""
    values = np.unique(np.atleast_1d(gguf.value(key, default)))
    if len(values) != 1:
        raise ModelError(f"{gguf.path}: expected one {key} for all layers, received {values.tolist()}")
    return int(values[0])


def _short(value: float) -> float:
    """A float32 as the decimal that was meant: 1e-06, not 9.999999974752427e-07."""
    return float(str(np.float32(value)))
