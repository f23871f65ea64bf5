"""A Hugging Face checkpoint's tensors -> a KerasHub backbone's variables: every one, each exactly as written.

Not by KerasHub's own converters: they round Mistral to float16, and leave a bias that they do not expect
unread without a word.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from kerastune.errors import ModelError
from kerastune.keras_stack.geometry import Geometry
from kerastune.keras_stack.placement import Placement
from kerastune.models import ModelFiles
from kerastune.models.stored import checkpoint_files
from kerastune.targets import KERAS_TO_HF, module_path

#: KerasHub's name of a norm in a decoder layer -> Hugging Face's, where the family says no other.
NORMS: Mapping[str, str] = {
    "pre_attention_norm": "input_layernorm",
    "self_attention_layernorm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "feedforward_layernorm": "post_attention_layernorm",
    "pre_ffw_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "query_norm": "self_attn.q_norm",
    "query_dense_layernorm": "self_attn.q_norm",
    "key_norm": "self_attn.k_norm",
    "key_dense_layernorm": "self_attn.k_norm",
}


@dataclass(frozen=True)
class _Place:
    """Where a tensor goes.

    Args:
        source: The tensor's name in the checkpoint.
        variable: The Keras variable.
        shape: The tensor's shape in the checkpoint.
        arrange: Turns the tensor into the variable's shape.
    """

    source: str
    variable: Any
    shape: tuple[int, ...]
    arrange: Callable[[NDArray[Any]], NDArray[Any]]


def assign_weights(
    backbone: Any,
    files: ModelFiles,
    tied: bool,
    norms: Mapping[str, str] = NORMS,
    placement: Placement | None = None,
) -> None:
    """Let a backbone that is being built under a `keras.StatelessScope` begin with a checkpoint's weights.

    The scope's end reads each tensor, when it makes the variable. A backbone that is built first and given
    its weights after draws random ones, which takes seconds and four times the embedding's memory.

    Args:
        backbone: A KerasHub backbone of the checkpoint's shape.
        files: The checkpoint.
        tied: Whether the head is the embedding.
        norms: KerasHub's name of a norm in a decoder layer -> Hugging Face's.
        placement: Where the weights go; one device when None.

    Raises:
        ModelError: A weight is missing, has another shape, or has no place in the backbone.
    """
    places = [*_outer_places(backbone, tied)]
    for index, block in enumerate(backbone.transformer_layers):
        places += _block_places(block, index, norms)
    unset = {v.path for v in backbone.weights} - {place.variable.path for place in places}
    if unset:
        raise ModelError(
            f"{files.name}: this version of KerasHub has a weight of unknown origin, {min(unset)}; "
            "install one that kerastune's constraints.txt names"
        )
    tensors = _tensors(files)
    _refuse_leftovers(files, set(tensors) - {place.source for place in places}, tied)
    for place in places:
        if place.source not in tensors:
            raise ModelError(f"{files.path}: expected the weight {place.source}, received none")
        path, name, shape = tensors[place.source]
        if shape != place.shape:
            raise ModelError(
                f"{files.path}: {place.source}: under this config.json KerasHub expected the shape "
                f"{place.shape}, received {shape}; use --stack hf"
            )
        place.variable._initializer = _reader(path, name, place, placement or Placement())


def _tensors(files: ModelFiles) -> dict[str, tuple[Path, str, tuple[int, ...]]]:
    """A checkpoint's tensors: name -> its file, its name there, and its shape."""
    found = {}
    try:
        for path in checkpoint_files(files.path):
            with safe_open(path, framework="np") as handle:
                for name in handle.keys():  # noqa: SIM118
                    found[_full_name(name)] = (path, name, tuple(handle.get_slice(name).get_shape()))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{files.path}: cannot read the weights: {error}; fetch them again") from error
    return found


def _reader(path: Path, name: str, place: _Place, placement: Placement) -> Callable[..., Any]:
    """A Keras initializer that reads a tensor."""

    def read(_: tuple[int, ...], dtype: str) -> Any:
        # A file that stays open keeps what was read of it in memory beside the tensors.
        with safe_open(path, framework="np") as handle:
            tensor = handle.get_tensor(name)
        return placement.weight(place.variable, place.arrange(tensor), dtype)

    return read


def _full_name(name: str) -> str:
    """A tensor's name in the causal language model; checkpoints of the bare decoder leave `model.` out."""
    return name if name.startswith(("model.", "lm_head.")) else f"model.{name}"


def _refuse_leftovers(files: ModelFiles, left: set[str], tied: bool) -> None:
    left = {name for name in left if not name.endswith("rotary_emb.inv_freq")}  # old ones store RoPE's table
    if tied:
        left -= {"lm_head.weight"}  # a copy of the embedding
    if left:
        raise ModelError(
            f"{files.path}: KerasHub has no place for {len(left)} of its weights, such as {min(left)}; "
            "use --stack hf"
        )


def _outer_places(backbone: Any, tied: bool) -> Iterator[_Place]:
    """The embedding, the head and the last norm."""
    embedding = backbone.token_embedding
    yield _vector("model.norm.weight", backbone.layer_norm.scale)
    rows = tuple(embedding.embeddings.shape)
    yield _Place("model.embed_tokens.weight", embedding.embeddings, rows, np.asarray)
    if not embedding.tie_weights:
        source = "model.embed_tokens.weight" if tied else "lm_head.weight"
        yield _Place(source, embedding.reverse_embeddings, rows, np.transpose)


def _block_places(block: Any, index: int, norms: Mapping[str, str]) -> Iterator[_Place]:
    """The linear layers and the norms of a decoder layer."""
    for layer in block._flatten_layers():
        if layer.name in norms:
            yield _vector(f"model.layers.{index}.{norms[layer.name]}.weight", layer.scale)
        elif layer.name in KERAS_TO_HF:
            module = module_path(index, KERAS_TO_HF[layer.name])
            yield _matrix(f"{module}.weight", layer)
            if layer.bias is not None:
                yield _vector(f"{module}.bias", layer.bias)


def _vector(source: str, variable: Any) -> _Place:
    shape = tuple(variable.shape)
    return _Place(source, variable, (int(np.prod(shape)),), lambda tensor: tensor.reshape(shape))


def _matrix(source: str, layer: Any) -> _Place:
    """A linear layer's `[outputs, inputs]`, whose kernel may split both and order them otherwise."""
    geometry = Geometry.of(layer)
    return _Place(source, layer.kernel, (geometry.fan_out, geometry.fan_in), geometry.as_kernel)
