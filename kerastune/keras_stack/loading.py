"""A model's files -> a KerasHub backbone and causal language model that compute what transformers computes.

KerasHub 0.32 reads a part of a Hugging Face config and takes numbers of its own for the rest, in silence. So
the backbone is built here, and what its constructor cannot be told or does not pass on is set on its layers:

| model type            | what KerasHub leaves out                                              | in the logits |
| --------------------- | --------------------------------------------------------------------- | ------------- |
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kerastune.errors import ModelError
from kerastune.extras import require
from kerastune.keras_stack.hf_config import SLIDING, Config, layer_types, rope_of, with_defaults
from kerastune.keras_stack.weights import NORMS, assign_weights
from kerastune.models import ModelFiles

_SIZES = {
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
_POST_NORMS = {"use_post_ffw_norm": True, "use_post_attention_norm": True}
_TANH = "gelu_pytorch_tanh"


@dataclass(frozen=True, kw_only=True)
class _Family:
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


_FAMILIES = {
    "gemma": _Family(
        keras="Gemma", read=_HEAD, gates=2,
        activations=(_TANH, "gelu"),  # its first configs say gelu and mean the approximation
        norms={**NORMS, "pre_ffw_norm": "post_attention_layernorm"},
    ),
    "gemma2": _Family(
        keras="Gemma", read=_HEAD | _CAPS | _WINDOW, fixed=_POST_NORMS, gates=2, activations=(_TANH,)
    ),
    "gemma3_text": _Family(
        keras="Gemma3", read=_HEAD | _CAPS | _WINDOW, fixed={"image_size": None, **_POST_NORMS},
        activations=(_TANH,),
    ),
    "llama": _Family(keras="Llama3", read=_TIED),
    "mistral": _Family(keras="Mistral", read=_HEAD | {"sliding_window": "sliding_window"}),
    "qwen2": _Family(keras="Qwen", read=_TIED),
    "qwen3": _Family(keras="Qwen3", read=_HEAD | _TIED, fixed={"sliding_window_size": None}),
}  # fmt: skip


def load_model(files: ModelFiles, dtype: str) -> tuple[Any, Any]:
    """Load a model that takes arrays: without its preprocessor.

    Args:
        files: The model, of either layout.
        dtype: Of its weights and its computation.

    Returns:
        The KerasHub backbone, and the causal language model around it.

    Raises:
        MissingExtraError: KerasHub is not installed.
        ModelError: KerasHub cannot load the model, or would compute something else than transformers.
    """
    models = require("keras_hub", "keras").models
    load = _load_preset if files.layout == "keras" else _load_checkpoint
    try:
        return load(models, files, dtype)
    except (ValueError, TypeError, LookupError, OSError, NotImplementedError) as error:
        reason = f"no {error} in its config.json" if isinstance(error, KeyError) else str(error)
        reason = " ".join(reason.split())[:300]
        raise ModelError(f"{files.name}: KerasHub cannot load {files.path}: {reason}") from error


def _load_preset(models: Any, files: ModelFiles, dtype: str) -> tuple[Any, Any]:
    """Load a KerasHub preset."""
    backbone = models.Backbone.from_preset(str(files.path), dtype=dtype)
    if any(type(backbone).__name__ == f"{family.keras}Backbone" for family in _FAMILIES.values()):
        _pass_on(backbone)
    return backbone, models.CausalLM.from_preset(str(files.path), backbone=backbone, preprocessor=None)


def _load_checkpoint(models: Any, files: ModelFiles, dtype: str) -> tuple[Any, Any]:
    """Load a Hugging Face layout folder."""
    kind = files.config.get("model_type")
    if kind not in _FAMILIES:
        raise NotImplementedError(
            f"expected one of the model types {', '.join(_FAMILIES)}, received {kind!r}; use --stack hf"
        )
    family, config = _FAMILIES[kind], with_defaults(files.config)
    _refuse_unlike(family, config)
    arguments = {ours: config[theirs] for ours, theirs in (_SIZES | dict(family.read)).items()}
    arguments |= {"intermediate_dim": family.gates * config["intermediate_size"], **family.fixed}
    if kind.startswith("gemma"):
        arguments["query_head_dim_normalize"] = _scaled_by_head_size(config)
    backbone = getattr(models, f"{family.keras}Backbone")(**arguments, dtype=dtype)
    _pass_on(backbone)
    for block, layer_type in zip(backbone.transformer_layers, layer_types(config), strict=True):
        _set_rope(block, rope_of(config, layer_type), config)
        if kind.startswith("gemma"):
            _set(block.attention, use_sliding_window_attention=layer_type == SLIDING)
    assign_weights(backbone, files, config["tie_word_embeddings"], family.norms)
    return backbone, getattr(models, f"{family.keras}CausalLM")(backbone=backbone, preprocessor=None)


def _pass_on(backbone: Any) -> None:
    """Give a backbone's layers what its constructor was given and kept to itself."""
    epsilon = backbone.layer_norm_epsilon
    _set(backbone.layer_norm, epsilon=epsilon)
    for block in backbone.transformer_layers:
        for layer in block._flatten_layers():
            if layer.name in NORMS:
                _set(layer, epsilon=epsilon)
        if hasattr(backbone, "query_head_dim_normalize"):
            _set(block.attention, query_head_dim_normalize=backbone.query_head_dim_normalize)


def _set_rope(block: Any, rope: Mapping[str, Any], config: Config) -> None:
    """Set the numbers of a decoder layer's rotary embedding."""
    rotary = require("keras_hub", "keras").layers.RotaryEmbedding
    (layer,) = (layer for layer in block._flatten_layers() if isinstance(layer, rotary))
    llama = config["model_type"] == "llama"
    if rope["rope_type"] not in ("default", "llama3" if llama else "linear"):
        raise _unlike(f"RoPE of type default or {'llama3' if llama else 'linear'}", rope["rope_type"])
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise _unlike("RoPE on whole heads", f"a share of {rope['partial_rotary_factor']}")
    _set(layer, max_wavelength=rope["rope_theta"])
    if rope["rope_type"] == "linear":
        _set(layer, scaling_factor=rope["factor"])
    elif rope["rope_type"] == "llama3":
        length = rope.get("original_max_position_embeddings") or config["max_position_embeddings"]
        _set(
            layer,
            frequency_adjustment_factor=rope["factor"],
            low_freq_factor=rope["low_freq_factor"],
            high_freq_factor=rope["high_freq_factor"],
            pretraining_sequence_length=length,
        )


def _scaled_by_head_size(config: Config) -> bool:
    """Whether queries are divided by the root of a head's size, or of the width over the heads."""
    size, share = config["head_dim"], config["hidden_size"] // config["num_attention_heads"]
    scalar = config.get("query_pre_attn_scalar") or size
    if scalar not in (size, share):
        raise _unlike(f"query_pre_attn_scalar {size} or {share}", scalar)
    return bool(scalar == size)


def _refuse_unlike(family: _Family, config: Config) -> None:
    """Refuse what KerasHub's layers cannot be told to compute."""
    activation = config.get("hidden_activation") or config.get("hidden_act") or family.activations[0]
    if activation not in family.activations:
        raise _unlike(f"the activation {family.activations[0]}", activation)
    if config.get("use_bidirectional_attention"):
        raise _unlike("causal attention", "attention both ways")
    if config["model_type"].startswith("qwen") and SLIDING in layer_types(config):
        raise _unlike("attention to all tokens", f"a sliding window of {config['sliding_window']}")


def _set(layer: Any, **values: Any) -> None:
    for name, value in values.items():
        if not hasattr(layer, name):
            raise NotImplementedError(f"{layer.path} has no {name} in this version of KerasHub")
        setattr(layer, name, value)


def _unlike(expected: str, received: Any) -> NotImplementedError:
    return NotImplementedError(f"expected {expected}, received {received}; use --stack hf")
