"""A model's config.json as the metadata that llama.cpp reads: the way back of `gguf_config`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kerastune.errors import ModelError
from kerastune.models.files import ModelFiles
from kerastune.models.gguf_config import (
    ARCHITECTURES,
    GEMMA3_LOCAL_THETA,
    LLAMA3_CONTEXT,
    WINDOW_PATTERNS,
    llama3_factors,
    query_scalar,
)
from kerastune.models.hf_config import FULL, SLIDING, layer_types, rope_of, with_defaults

# What llama.cpp computes as a Llama, because it is one but for its name.
_AS = {"mistral": "llama"}


def gguf_architecture(files: ModelFiles) -> str:
    """llama.cpp's name of a model's architecture, such as `"gemma3"`.

    Raises:
        ModelError: It has none that is known here.
    """
    kinds = {kind: arch for arch, (kind, _) in ARCHITECTURES.items()} | _AS
    if files.model_type not in kinds:
        raise ModelError(
            f"{files.name}: expected a model of type {', '.join(kinds)} for GGUF, received "
            f"{files.model_type!r}"
        )
    return kinds[files.model_type]


def add_model(writer: Any, files: ModelFiles, head_size: int) -> tuple[str, ...]:
    """Write what `config.json` says as metadata.

    Args:
        writer: A `gguf.GGUFWriter` of the model's architecture.
        files: The model, in Hugging Face layout.
        head_size: The size of an attention head.

    Returns:
        What llama.cpp does otherwise than transformers, if anything: a sentence each.

    Raises:
        ModelError: llama.cpp cannot be told what the config says.
    """
    config, arch = with_defaults(files.config), gguf_architecture(files)
    _refuse_unlike(files, config, arch)
    context, notes = int(config["max_position_embeddings"]), []
    window = config.get("sliding_window")
    if config["model_type"] == "mistral" and window and window < context:
        notes.append(f"the context is {window} tokens, not {context}: llama.cpp has no window for a Mistral")
        context = int(window)
    writer.add_context_length(context)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    if arch == "llama":
        writer.add_rope_dimension_count(head_size)
    if arch in WINDOW_PATTERNS:
        _add_windows(writer, config, arch)
    _add_rope(writer, rope_of(config, FULL))
    return tuple(notes)


def rope_factors(files: ModelFiles, head_size: int) -> npt.NDArray[np.float32] | None:
    """The divisors of Llama 3's frequencies, `[head size / 2]`; None where the model has none."""
    config = with_defaults(files.config)
    rope = rope_of(config, FULL)
    if rope["rope_type"] != "llama3":
        return None
    factors = llama3_factors(
        rope["rope_theta"],
        head_size,
        rope["factor"],
        rope["low_freq_factor"],
        rope["high_freq_factor"],
        _original_context(rope),
    )
    return factors.astype(np.float32)


def _original_context(rope: Mapping[str, Any]) -> int:
    return int(rope.get("original_max_position_embeddings") or LLAMA3_CONTEXT)


def _add_windows(writer: Any, config: Mapping[str, Any], arch: str) -> None:
    writer.add_sliding_window(config["sliding_window"])
    types = layer_types(config)
    pattern = WINDOW_PATTERNS[arch]
    if types != [FULL if (layer + 1) % pattern == 0 else SLIDING for layer in range(len(types))]:
        writer.add_sliding_window_pattern([kind == SLIDING for kind in types])
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if config[key] is not None:
            getattr(writer, f"add_{key}")(config[key])
    local = rope_of(config, SLIDING)["rope_theta"]
    if arch == "gemma3" and local != GEMMA3_LOCAL_THETA:
        writer.add_rope_freq_base_swa(local)


def _add_rope(writer: Any, rope: Mapping[str, Any]) -> None:
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(_linear())
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "llama3":  # of which the factors themselves are a tensor
        writer.add_rope_scaling_orig_ctx_len(_original_context(rope))


def _linear() -> Any:
    import gguf

    return gguf.RopeScalingType.LINEAR


def _refuse_unlike(files: ModelFiles, config: Mapping[str, Any], arch: str) -> None:
    def refuse(expected: str, received: Any) -> ModelError:
        return ModelError(f"{files.name}: for GGUF of {arch}, expected {expected}, received {received}")

    rope = rope_of(config, FULL)["rope_type"]
    known = ("default", "linear", *(("llama3",) if arch == "llama" else ()))
    if rope not in known:
        raise refuse(f"RoPE of type {' or '.join(known)}", repr(rope))
    if arch in WINDOW_PATTERNS:
        scalar = config.get("query_pre_attn_scalar") or config["head_dim"]
        if scalar != (expected := query_scalar(arch, config)):
            raise refuse(f"query_pre_attn_scalar {expected}, which llama.cpp takes", scalar)
    if arch.startswith("qwen") and SLIDING in layer_types(config):
        raise refuse("attention to all tokens", f"a sliding window of {config['sliding_window']}")
    for key in ("mlp_bias", "use_bidirectional_attention"):
        if config.get(key):
            raise refuse(f"no {key}", config[key])
