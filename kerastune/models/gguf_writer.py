"""Write a model folder as one GGUF file for llama.cpp: the way back of `gguf_convert`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kerastune.errors import ModelError
from kerastune.extras import require
from kerastune.float_tensors import from_bfloat16
from kerastune.models.files import ModelFiles
from kerastune.models.gguf_metadata import add_model, gguf_architecture, rope_factors
from kerastune.models.gguf_vocabulary import add_vocabulary
from kerastune.models.hf_config import with_defaults
from kerastune.models.stored import checkpoint_files, safetensors_header

GgufKind = Literal["f16", "q8_0"]

_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
_BLOCK = 32  # of Q8_0
_ROWS_BYTES = 64 << 20


@dataclass(frozen=True)
class _Stored:
    """A tensor in a safetensors file."""

    file: Path
    kind: str
    shape: tuple[int, ...]
    start: int

    def blocks(self, rows_bytes: int = _ROWS_BYTES) -> Iterator[npt.NDArray[np.float32]]:
        """The rows in float32, some at a time."""
        flat = np.memmap(self.file, _FLOATS[self.kind], "r", self.start, self.shape)
        step = max(1, rows_bytes // (4 * max(1, int(np.prod(self.shape[1:])))))
        for first in range(0, len(flat), step):
            block = np.asarray(flat[first : first + step])
            yield from_bfloat16(block) if self.kind == "BF16" else block.astype(np.float32)

    def array(self) -> npt.NDArray[np.float32]:
        """The whole in float32."""
        return np.concatenate(list(self.blocks()))


def write_gguf(files: ModelFiles, path: Path, kind: GgufKind, chat_template: str | None) -> tuple[str, ...]:
    """Write a model with its tokenizer as GGUF.

    Matrices are written as `kind`, those that Q8_0's blocks of 32 do not fit as f16, vectors in float32:
    what llama.cpp's own converter does.

    Args:
        files: The model, in Hugging Face layout, not quantised.
        path: The file.
        kind: `"f16"` or `"q8_0"`.
        chat_template: The Jinja template of the model's chats, if it has one.

    Returns:
        What llama.cpp does otherwise than transformers, if anything: a sentence each.

    Raises:
        ModelError: The model, or its tokenizer, is of a kind that GGUF or llama.cpp does not have.
        MissingExtraError: The gguf package is not installed.
    """
    gguf = require("gguf", "gemma")
    arch, config = gguf_architecture(files), with_defaults(files.config)
    tensors = _named(gguf, files, arch, config)
    embedding = tensors["token_embd.weight"]
    head_size = int(config["head_dim"])
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(Path(files.base_id).name)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind.upper()}"])
    if kind == "q8_0":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    notes = add_model(writer, files, head_size)
    add_vocabulary(writer, files, embedding.shape[0], chat_template)
    factors = rope_factors(files, head_size)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    kinds = {name: _kind(gguf, tensor, kind) for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        _announce(gguf, writer, name, tensor.shape, kinds[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    for name, tensor in tensors.items():
        blocks = [_as(gguf, block, kinds[name], name) for block in _weights(arch, config, name, tensor)]
        writer.write_tensor_data(np.concatenate(blocks))
    writer.close()
    return notes


def _named(gguf: Any, files: ModelFiles, arch: str, config: dict[str, Any]) -> dict[str, _Stored]:
    """The model's tensors by their names in GGUF."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], config["num_hidden_layers"])
    found: dict[str, _Stored] = {}
    for file in checkpoint_files(files.path):
        start = 8 + int.from_bytes(file.open("rb").read(8), "little")
        for name, entry in safetensors_header(file).items():
            tied = name == "lm_head.weight" and config["tie_word_embeddings"]
            if name == "__metadata__" or tied or name.endswith("rotary_emb.inv_freq"):
                continue
            # Checkpoints of the bare decoder leave `model.` out.
            full = name if name.startswith(("model.", "lm_head.")) else f"model.{name}"
            stem, _, suffix = full.rpartition(".")
            target = names.get_name(stem)
            if target is None or entry["dtype"] not in _FLOATS:
                raise ModelError(
                    f"{file}: {name} ({entry['dtype']}) has no place in a GGUF file of {arch}; "
                    "expected a dense model that is not quantised"
                )
            place = start + entry["data_offsets"][0]
            found[f"{target}.{suffix}"] = _Stored(file, entry["dtype"], tuple(entry["shape"]), place)
    if "token_embd.weight" not in found:
        raise ModelError(f"{files.name}: its files have no embedding; fetch the model again")
    return found


def _kind(gguf: Any, tensor: _Stored, kind: GgufKind) -> Any:
    types = gguf.GGMLQuantizationType
    if len(tensor.shape) < 2:
        return types.F32
    return types.Q8_0 if kind == "q8_0" and tensor.shape[-1] % _BLOCK == 0 else types.F16


def _announce(gguf: Any, writer: Any, name: str, shape: tuple[int, ...], kind: Any) -> None:
    if kind == gguf.GGMLQuantizationType.Q8_0:
        shape = gguf.quant_shape_to_byte_shape(shape, kind)
        writer.add_tensor_info(name, shape, np.dtype(np.uint8), int(np.prod(shape)), kind)
        return
    dtype = np.dtype(np.float32 if kind == gguf.GGMLQuantizationType.F32 else np.float16)
    writer.add_tensor_info(name, shape, dtype, int(np.prod(shape)) * dtype.itemsize)


def _weights(
    arch: str, config: dict[str, Any], name: str, tensor: _Stored
) -> Iterator[npt.NDArray[np.float32]]:
    """The blocks of a tensor as llama.cpp wants them."""
    for layer, heads in (("attn_q.", "num_attention_heads"), ("attn_k.", "num_key_value_heads")):
        if arch == "llama" and layer in name:
            yield _permuted(tensor.array(), config[heads])
            return
    # Gemma's norms are the factor itself there, its distance from one in transformers.
    one = arch.startswith("gemma") and name.endswith("norm.weight")
    for block in tensor.blocks():
        yield block + np.float32(1) if one else block


def _permuted(rows: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Rotary halves interleaved, as llama.cpp has a Llama's; transformers has them side by side."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _as(gguf: Any, block: npt.NDArray[np.float32], kind: Any, name: str) -> npt.NDArray[Any]:
    if not np.isfinite(block).all():
        raise ModelError(f"{name}: holds what is no number; train the adapter anew")
    if kind == gguf.GGMLQuantizationType.Q8_0:
        return np.asarray(gguf.quants.quantize(block, kind))
    if kind == gguf.GGMLQuantizationType.F32:
        return block
    if np.abs(block).max() > np.finfo(np.float16).max:
        raise ModelError(f"{name}: holds {np.abs(block).max():.3g}, which float16 cannot; use --gguf q8_0")
    return block.astype(np.float16)
