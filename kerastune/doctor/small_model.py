"""A small random model on disk, to see a stack load and train something."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from kerastune.models import ModelFiles

VOCABULARY = 64
_WIDTH, _HIDDEN, _LAYERS, _HEADS, _SIZE = 32, 48, 2, 4, 8
_CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY,
    "hidden_size": _WIDTH, "intermediate_size": _HIDDEN, "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS, "num_key_value_heads": _HEADS, "head_dim": _SIZE, "hidden_act": "silu",
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "mlp_bias": False,
    "attention_bias": False, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}  # fmt: skip


def write_small_model(folder: Path) -> ModelFiles:
    """Write a Llama of 30,000 random weights in Hugging Face layout.

    Args:
        folder: An empty folder.
    """
    draw = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return (draw.standard_normal(shape) * 0.15).astype(np.float32)

    ones = np.ones(_WIDTH, np.float32)
    tensors = {
        "model.embed_tokens.weight": weight(VOCABULARY, _WIDTH),
        "lm_head.weight": weight(VOCABULARY, _WIDTH),
        "model.norm.weight": ones,
    }
    for layer in range(_LAYERS):
        path = f"model.layers.{layer}"
        attention = {f"{path}.self_attn.{name}_proj.weight": weight(_WIDTH, _WIDTH) for name in "qkvo"}
        tensors |= attention | {
            f"{path}.mlp.gate_proj.weight": weight(_HIDDEN, _WIDTH),
            f"{path}.mlp.up_proj.weight": weight(_HIDDEN, _WIDTH),
            f"{path}.mlp.down_proj.weight": weight(_WIDTH, _HIDDEN),
            f"{path}.input_layernorm.weight": ones,
            f"{path}.post_attention_layernorm.weight": ones,
        }
    (folder / "config.json").write_text(json.dumps(_CONFIG), encoding="utf-8")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return ModelFiles(
        name="a small random model", base_id="small", path=folder, layout="hf", cache_dir=folder
    )
