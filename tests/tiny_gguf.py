"""A small random Llama as a GGUF file, made without torch."""

from pathlib import Path

import gguf
import numpy as np

_WIDTH, _HIDDEN, _LAYERS, _HEADS, _KEYS, _HEAD = 32, 64, 2, 4, 2, 8
_TOKENS = [
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    *(f"<0x{byte:02X}>" for byte in range(256)),
    "▁",
    *"가나다맛음식",
]
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def write_gguf(path: Path, seed: int = 3) -> None:
    """Write the file; another seed is another model."""
    draw = np.random.default_rng(seed)

    def weight(*shape: int) -> np.ndarray:
        return (draw.standard_normal(shape) * 0.15).astype(np.float32)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(_LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_HIDDEN)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KEYS)
    writer.add_key_length(_HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(_TOKENS)
    writer.add_token_scores([0.0] * len(_TOKENS))
    kinds = [_CONTROL] * 3 + [_UNKNOWN] + [_BYTE] * 256
    writer.add_token_types(kinds + [_NORMAL] * (len(_TOKENS) - len(kinds)))
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_space_prefix(False)
    writer.add_tensor("token_embd.weight", weight(len(_TOKENS), _WIDTH))
    writer.add_tensor("output_norm.weight", weight(_WIDTH))
    for layer in range(_LAYERS):
        for name, shape in {
            "attn_norm": (_WIDTH,),
            "ffn_norm": (_WIDTH,),
            "attn_q": (_HEADS * _HEAD, _WIDTH),
            "attn_k": (_KEYS * _HEAD, _WIDTH),
            "attn_v": (_KEYS * _HEAD, _WIDTH),
            "attn_output": (_WIDTH, _HEADS * _HEAD),
            "ffn_gate": (_HIDDEN, _WIDTH),
            "ffn_up": (_HIDDEN, _WIDTH),
            "ffn_down": (_WIDTH, _HIDDEN),
        }.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", weight(*shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
