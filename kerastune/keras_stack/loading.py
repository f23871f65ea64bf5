"""A model's files -> a KerasHub backbone and causal language model that compute what transformers computes.

KerasHub 0.32 reads a part of a Hugging Face config and takes numbers of its own for the rest, in silence. So
the backbone is built here, and what its constructor cannot be told or does not pass on is set on its layers.
In front, how far it put the logits of small random models off, relative to the largest:

| off  | model type         | KerasHub's from_preset                                                      |
| ---- | ------------------ | --------------------------------------------------------------------------- |
| 8e-1 | gemma3_text        | `layer_types`: every sixth layer is global, whatever it says                |
| 3e-2 | gemma3_text        | RoPE's two bases: 10,000 and 1,000,000, whatever it says                    |
| 4e-1 | gemma2, gemma3     | `query_pre_attn_scalar`: queries are scaled by the head's size, at 27B too  |
| 1e-1 | gemma, gemma2      | RoPE's base: 10,000, whatever it says                                       |
| 1e-4 | gemma, gemma2      | `rms_norm_eps`: 1e-6 in decoder layers, whatever it says                    |
| 4e-1 | llama              | RoPE of type llama3: not read where transformers 5 writes it                |
| 8e-4 | llama              | `rms_norm_eps`: 1e-6, whatever it says                                      |
| 4e-3 | gemma3_text, qwen3 | `rms_norm_eps`: 1e-6 and 1e-5 in the norms of queries and keys              |
| 2e-3 | mistral            | weights are rounded to float16, hence weights.py; a tied head is not loaded |
|      | qwen2, qwen3       | a sliding window is left out on JAX and torch: refused here                 |
|      | all but gemma3     | linear RoPE scaling is left out                                             |
"""

from collections.abc import Mapping
from typing import Any

import keras

from kerastune.errors import ModelError, one_line
from kerastune.extras import require
from kerastune.keras_stack.families import FAMILIES, SIZES, Family
from kerastune.keras_stack.placement import Placement
from kerastune.keras_stack.weights import NORMS, assign_weights
from kerastune.models import ModelFiles
from kerastune.models.hf_config import SLIDING, Config, layer_types, rope_of, with_defaults


def load_model(files: ModelFiles, dtype: str, placement: Placement) -> tuple[Any, Any]:
    """Load a model that takes arrays: without its preprocessor.

    Args:
        files: The model, of either layout.
        dtype: Of its weights and its computation.
        placement: Where it goes.

    Returns:
        The KerasHub backbone, and the causal language model around it.

    Raises:
        MissingExtraError: KerasHub is not installed.
        ModelError: KerasHub cannot load the model, or would compute something else than transformers.
    """
    models = require("keras_hub", "keras").models
    load = _load_preset if files.layout == "keras" else _load_checkpoint
    try:
        return load(models, files, dtype, placement)
    except (ValueError, TypeError, LookupError, OSError, NotImplementedError) as error:
        reason = f"no {error} in its config.json" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{files.name}: KerasHub cannot load {files.path}: {one_line(reason, most=300)}"
        ) from error


def _load_preset(models: Any, files: ModelFiles, dtype: str, placement: Placement) -> tuple[Any, Any]:
    """Load a KerasHub preset."""
    backbone = models.Backbone.from_preset(str(files.path), dtype=dtype)
    # Read onto one device first: Keras reads a preset's weights into variables that are there.
    placement.plan(backbone)
    placement.variables(backbone.variables)
    if any(type(backbone).__name__ == f"{family.keras}Backbone" for family in FAMILIES.values()):
        _pass_on(backbone)
    return backbone, models.CausalLM.from_preset(str(files.path), backbone=backbone, preprocessor=None)


def _load_checkpoint(models: Any, files: ModelFiles, dtype: str, placement: Placement) -> tuple[Any, Any]:
    """Load a Hugging Face layout folder."""
    kind = files.config.get("model_type")
    if kind not in FAMILIES:
        raise NotImplementedError(
            f"expected one of the model types {', '.join(FAMILIES)}, received {kind!r}; use --stack hf"
        )
    family, config = FAMILIES[kind], with_defaults(files.config)
    _refuse_unlike(family, config)
    arguments = {ours: config[theirs] for ours, theirs in (SIZES | dict(family.read)).items()}
    arguments |= {"intermediate_dim": family.gates * config["intermediate_size"], **family.fixed}
    if kind.startswith("gemma"):
        arguments["query_head_dim_normalize"] = _scaled_by_head_size(config)
    with keras.StatelessScope():  # whose end makes the variables
        backbone = getattr(models, f"{family.keras}Backbone")(**arguments, dtype=dtype)
        _pass_on(backbone)
        for block, layer_type in zip(backbone.transformer_layers, layer_types(config), strict=True):
            _set_rope(block, rope_of(config, layer_type), config)
            if kind.startswith("gemma"):
                _set(block.attention, use_sliding_window_attention=layer_type == SLIDING)
        placement.plan(backbone)
        assign_weights(backbone, files, config["tie_word_embeddings"], family.norms, placement)
    placement.variables(backbone.variables)
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
        raise _unlike(f"RoPE of type default or {'llama3' if llama else 'linear'}", repr(rope["rope_type"]))
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


def _refuse_unlike(family: Family, config: Config) -> None:
    """Refuse what KerasHub's layers cannot be told to compute."""
    activation = config.get("hidden_activation") or config.get("hidden_act") or family.activations[0]
    if activation not in family.activations:
        raise _unlike(f"the activation {family.activations[0]}", repr(activation))
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
