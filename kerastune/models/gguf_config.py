"""A GGUF file's metadata as a config.json that transformers and KerasHub both read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

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
#: What llama.cpp takes where a file says nothing: every how many layers one attends to all tokens, the
#: base of RoPE in the others, and the context that Llama 3's RoPE was made for.
WINDOW_PATTERNS = {"gemma2": 2, "gemma3": 6}
GEMMA3_LOCAL_THETA = 10_000.0
LLAMA3_CONTEXT = 8192


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
    vocabulary, width = gguf.tensors["token_embd.weight"].shape
    if width != gguf.value("embedding_length"):
        raise ModelError(
            f"{gguf.path}: expected an embedding_length of {width}, which token_embd.weight has, received "
            f"{gguf.value('embedding_length')}; is the file damaged? Fetch it again"
        )
    head_size = int(gguf.value("attention.key_length", gguf.value("rope.dimension_count", width // heads)))
    gemma = arch.startswith("gemma")
    config: dict[str, Any] = {
        "architectures": [class_name],
        "model_type": model_type,
        "dtype": "float32",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _uniform(gguf, "feed_forward_length"),
        "num_hidden_layers": _layer_count(gguf),
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
        config["query_pre_attn_scalar"] = query_scalar(arch, config)
        config["sliding_window"] = int(gguf.value("attention.sliding_window", 4096))
        default = (50.0, 30.0) if arch == "gemma2" else (0.0, 0.0)
        for key, cap in zip(("attn_logit_softcapping", "final_logit_softcapping"), default, strict=True):
            config[key] = _short(gguf.value(key, cap)) or None
        config["layer_types"] = _layer_types(gguf, config["num_hidden_layers"])
    if arch.startswith("qwen"):
        # KerasHub demands the key; with the flag off, no window is applied.
        config |= {"use_sliding_window": False, "sliding_window": config["max_position_embeddings"]}
    return config | _rope(gguf, config)


def query_scalar(arch: str, config: Mapping[str, Any]) -> int:
    """What the queries of Gemma 2 and 3 are divided by the root of: a head's size, or width over heads."""
    if config["num_hidden_layers"] == _WIDE_QUERY_LAYERS[arch]:
        return int(config["hidden_size"] // config["num_attention_heads"])
    return int(config["head_dim"])


def _layer_types(gguf: Gguf, layers: int) -> list[str]:
    """What each layer attends to; the pattern is a period, or a flag a layer, or left unsaid."""
    said = np.atleast_1d(gguf.value("attention.sliding_window_pattern", WINDOW_PATTERNS[gguf.architecture]))
    slides = said.astype(bool) if len(said) == layers > 1 else (np.arange(layers) + 1) % int(said[0]) != 0
    return ["sliding_attention" if sliding else "full_attention" for sliding in slides]


def _rope(gguf: Gguf, config: dict[str, Any]) -> dict[str, Any]:
    theta = _short(gguf.value("rope.freq_base", 1_000_000.0 if gguf.architecture == "gemma3" else 10_000.0))
    scaling = _rope_scaling(gguf, theta, config["head_dim"])
    parameters = {"rope_theta": theta, **(scaling or {"rope_type": "default"})}
    rope: dict[str, Any] = {"rope_theta": theta, "rope_scaling": scaling, "rope_parameters": parameters}
    if gguf.architecture == "gemma3":
        local = _short(gguf.value("rope.freq_base_swa", GEMMA3_LOCAL_THETA))
        rope["rope_local_base_freq"] = local
        rope["rope_parameters"] = {
            "full_attention": parameters,
            "sliding_attention": {"rope_type": "default", "rope_theta": local},
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


def llama3_factors(
    theta: float, head_size: int, factor: float, low: float, high: float, original: int
) -> npt.NDArray[np.float64]:
    """What Llama 3's RoPE divides the frequencies by, `[head size / 2]`.

    Short waves stay, long ones are stretched by `factor`, between them it is interpolated (Llama 3.1's
    reference code, `apply_scaling`).
    """
    wavelengths = 2 * np.pi * theta ** (np.arange(0, head_size, 2) / head_size)
    smooth = np.clip((original / wavelengths - low) / (high - low), 0.0, 1.0)
    return np.asarray(1 / ((1 - smooth) / factor + smooth))


def _llama3_scaling(gguf: Gguf, theta: float, head_size: int) -> dict[str, Any]:
    """The parameters of Llama 3's RoPE, of which a GGUF keeps only the resulting factors."""
    received = gguf.array("rope_freqs.weight").astype(np.float64)
    factor, low, high = float(received.max()), 1.0, 4.0
    original = int(gguf.value("rope.scaling.original_context_length", LLAMA3_CONTEXT))
    fits = received.shape == (len(range(0, head_size, 2)),)
    if not fits or not np.allclose(
        received, llama3_factors(theta, head_size, factor, low, high, original), rtol=1e-3
    ):
        raise ModelError(
            f"{gguf.path}: expected the RoPE factors of Llama 3 (1 and 4 on {original} positions), "
            "received others"
        )
    return {
        "rope_type": "llama3",
        "factor": _short(factor),
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }


def _layer_count(gguf: Gguf) -> int:
    """The number of layers, before anything is made for each of them."""
    count = int(gguf.value("block_count"))
    if not 0 < count <= len(gguf.tensors):
        raise ModelError(
            f"{gguf.path}: expected between 1 and {len(gguf.tensors)} layers in as many tensors, received a "
            f"block_count of {count}; is the file damaged? Fetch it again"
        )
    return count


def _uniform(gguf: Gguf, key: str, default: int | None = None) -> int:
    """A positive number that some files give layer by layer."""
    values = np.unique(np.atleast_1d(gguf.value(key, default)))
    if len(values) != 1 or values[0] < 1:
        raise ModelError(
            f"{gguf.path}: expected one positive {key} for all layers, received {values.tolist()}"
        )
    return int(values[0])


def _short(value: float) -> float:
    """A float32 as the decimal that was meant: 1e-06, not 9.999999974752427e-07."""
    return float(str(np.float32(value)))
