"""Convert a GGUF file into a Hugging Face layout folder, once, without torch or transformers."""

import json
import logging
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kerastune.errors import ModelError
from kerastune.models.gguf_config import gguf_config
from kerastune.models.gguf_reader import Gguf, GgufTensor, read_gguf
from kerastune.models.gguf_tokenizer import write_tokenizer

#: Raised whenever the converted files change, so that an older cache is not taken for a newer one.
CONVERSION = 1

_log = logging.getLogger(__name__)

_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GEMMA_NORMS = {  # Gemma 2 and 3 have a norm on either side of each half of a layer
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_IGNORED = {"rope_freqs.weight"}  # said in config.json
_LAYER_NAME = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")


def convert_gguf(source: Path, folder: Path) -> None:
    """Write `source` into the empty `folder` in the Hugging Face layout.

    The weights are the exact dequantised values in float32, in one `model.safetensors`.

    Args:
        source: A GGUF file.
        folder: Where the files go.

    Raises:
        ModelError: The file is damaged, or of a kind that cannot be converted.
    """
    _log.info("converting %s (once)", source.name)
    gguf = read_gguf(source)
    try:
        config = gguf_config(gguf)
        end_ids = write_tokenizer(gguf, folder)
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError) as error:
        raise ModelError(f"{source}: the GGUF file's metadata is damaged or incomplete: {error!r}") from error
    generation = {key: config[key] for key in ("bos_token_id", "pad_token_id")} | {"eos_token_id": end_ids}
    for name, content in (("config.json", config), ("generation_config.json", generation)):
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
    _check_layers(gguf, config["num_hidden_layers"])
    _write_safetensors(gguf, config, folder / "model.safetensors")


def _check_layers(gguf: Gguf, count: int) -> None:
    layers: dict[int, set[str]] = {number: set() for number in range(count)}
    for name in gguf.tensors:
        if found := _LAYER_NAME.fullmatch(name):
            layers.setdefault(int(found[1]), set()).add(f"{found[2]}.{found[3]}")
    for number, kinds in layers.items():
        if kinds != layers[0] or not kinds:
            odd = sorted(kinds ^ layers[0]) or ["all of them"]
            raise ModelError(
                f"{gguf.path}: expected the same tensors in each of {count} layers; layer {number} differs "
                f"in {', '.join(odd)}"
            )


def _write_safetensors(gguf: Gguf, config: dict[str, Any], path: Path) -> None:
    """Write tensor after tensor, so that no more than a part of one is in memory."""
    names = {name: _target(gguf, name) for name in gguf.tensors if name not in _IGNORED}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, target in names.items():
        shape = gguf.tensors[name].shape
        end = offset + 4 * int(np.prod(shape))
        header[target] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for name in names:
            for block in _weights(gguf, config, gguf.tensors[name]):
                file.write(np.ascontiguousarray(block, dtype="<f4").data)


def _target(gguf: Gguf, name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    layer_names = _LAYER | (_GEMMA_NORMS if gguf.architecture in ("gemma2", "gemma3") else {})
    found = _LAYER_NAME.fullmatch(name)
    if found is None or found[2] not in layer_names:
        raise ModelError(f"{gguf.path}: tensor {name} has no place in a {gguf.architecture} model")
    return f"model.layers.{found[1]}.{layer_names[found[2]]}.{found[3]}"


def _weights(gguf: Gguf, config: dict[str, Any], tensor: GgufTensor) -> Iterator[npt.NDArray[np.float32]]:
    """The blocks of a tensor, with what llama.cpp did to them undone."""
    found = _LAYER_NAME.fullmatch(tensor.name)
    kind = found[2] if found else ""
    if gguf.architecture == "llama" and kind in ("attn_q", "attn_k"):
        heads = config["num_attention_heads" if kind == "attn_q" else "num_key_value_heads"]
        if tensor.shape[0] % (2 * heads):
            raise ModelError(
                f"{gguf.path}: expected tensor {tensor.name} to have a multiple of {2 * heads} rows, two for "
                f"each of {heads} heads, received {tensor.shape[0]}; fetch the file again"
            )
        yield _unpermuted(gguf.array(tensor.name), heads)
        return
    # llama.cpp stores Gemma's norms as the factor itself, transformers as its distance from one.
    one = gguf.architecture.startswith("gemma") and tensor.name.endswith("norm.weight")
    for block in gguf.blocks(tensor.name):
        yield block - np.float32(1) if one else block


def _unpermuted(rows: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Rotary halves side by side again, as transformers has them; llama.cpp interleaves them."""
    halves = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)
