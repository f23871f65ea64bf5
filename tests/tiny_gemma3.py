"""A small random Gemma 3 as a Hugging Face layout folder, made in milliseconds."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

WIDTH, HEADS, HEAD_SIZE, LAYERS, HIDDEN = 32, 4, 8, 2, 48


def gemma3_config(vocabulary: int) -> dict:
    return {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "vocab_size": vocabulary,
        "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": 1, "head_dim": HEAD_SIZE,
        "query_pre_attn_scalar": HEAD_SIZE, "rms_norm_eps": 1e-6, "sliding_window": 512,
        "layer_types": ["sliding_attention"] * LAYERS, "max_position_embeddings": 512,
        "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, "attention_bias": False,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
        "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "bos_token_id": 2, "eos_token_id": 1,
        "pad_token_id": 0,
    }  # fmt: skip


def gemma3_tensors(vocabulary: int, seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)

    def weight(*shape: int) -> np.ndarray:
        return (draw.standard_normal(shape) * 0.15).astype(np.float32)

    tensors = {"model.embed_tokens.weight": weight(vocabulary, WIDTH), "model.norm.weight": weight(WIDTH)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        tensors |= {
            prefix + "self_attn.q_proj.weight": weight(HEADS * HEAD_SIZE, WIDTH),
            prefix + "self_attn.k_proj.weight": weight(HEAD_SIZE, WIDTH),
            prefix + "self_attn.v_proj.weight": weight(HEAD_SIZE, WIDTH),
            prefix + "self_attn.o_proj.weight": weight(WIDTH, HEADS * HEAD_SIZE),
            prefix + "self_attn.q_norm.weight": weight(HEAD_SIZE),
            prefix + "self_attn.k_norm.weight": weight(HEAD_SIZE),
            prefix + "mlp.gate_proj.weight": weight(HIDDEN, WIDTH),
            prefix + "mlp.up_proj.weight": weight(HIDDEN, WIDTH),
            prefix + "mlp.down_proj.weight": weight(WIDTH, HIDDEN),
        }
        for norm in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            tensors[f"{prefix}{norm}_layernorm.weight"] = weight(WIDTH)
    return tensors


def write_gemma3(folder: Path, vocabulary: int, seed: int = 7) -> None:
    """Put a model beside the tokenizer that is in the folder; another seed is another base."""
    (folder / "config.json").write_text(json.dumps(gemma3_config(vocabulary)))
    save_file(gemma3_tensors(vocabulary, seed), folder / "model.safetensors", metadata={"format": "pt"})
