"""Which axis of which weight is split over a mesh's `model` axis: a table a family, by KerasHub's paths.

The cut is Megatron's (Shoeybi et al. 2019, arXiv:1909.08053): queries, keys and values by heads, gate and up
by their outputs, the attention's output and down by their inputs, embedding and head by the vocabulary. Heads
that do not divide, as the one key/value head of the smallest Gemmas, leave their kernels to be split by the
width. Norms and biases are on every device.
"""

import re
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from kerastune.errors import ModelError

#: A pattern of paths -> the variable's axes that may be split, the first one that divides is.
Rules = Mapping[str, tuple[int, ...]]

_EMBEDDINGS = {"token_embedding/embeddings": (0, 1)}
_HEAD = {"token_embedding/reverse_embeddings": (1, 0)}
_GEMMA: Rules = {
    **_EMBEDDINGS,
    r"decoder_block_\d+/attention/query/kernel": (0, 1),
    r"decoder_block_\d+/attention/key/kernel": (0, 1),
    r"decoder_block_\d+/attention/value/kernel": (0, 1),
    r"decoder_block_\d+/attention/attention_output/kernel": (0, 2),
    r"decoder_block_\d+/ffw_gating/kernel": (1, 0),
    r"decoder_block_\d+/ffw_gating_2/kernel": (1, 0),
    r"decoder_block_\d+/ffw_linear/kernel": (0, 1),
}
_LLAMA: Rules = {
    **_EMBEDDINGS,
    r"transformer_layer_\d+/self_attention/query/kernel": (1, 0),
    r"transformer_layer_\d+/self_attention/key/kernel": (1, 0),
    r"transformer_layer_\d+/self_attention/value/kernel": (1, 0),
    r"transformer_layer_\d+/self_attention/attention_output/kernel": (0, 2),
    r"transformer_layer_\d+/feedforward_gate_dense/kernel": (1, 0),
    r"transformer_layer_\d+/feedforward_intermediate_dense/kernel": (1, 0),
    r"transformer_layer_\d+/feedforward_output_dense/kernel": (0, 1),
}

#: A backbone's class -> its rules; the head's beside where it is no copy of the embedding.
RULES: Mapping[str, Rules] = {
    "GemmaBackbone": _GEMMA,  # Gemma 2's too
    "Gemma3Backbone": _GEMMA,
    "LlamaBackbone": _LLAMA,
    "Llama3Backbone": _LLAMA,
    "MistralBackbone": _LLAMA,
    "QwenBackbone": _LLAMA,
    "Qwen3Backbone": _LLAMA,
}


def split_axes(
    backbone: str, tied: bool, shapes: Mapping[str, tuple[int, ...]], parts: int
) -> dict[str, int]:
    """Choose the axis that is split of each weight.

    Args:
        backbone: The class of the KerasHub backbone.
        tied: Whether the head is the embedding.
        shapes: Each weight's path and shape.
        parts: Over how many devices a weight is split.

    Returns:
        Path -> axis, of the weights that are split; the others are on every device.

    Raises:
        ModelError: There are no rules for the backbone, or one matched nothing.
    """
    if backbone not in RULES:
        raise ModelError(
            f"mesh: expected a backbone of {', '.join(RULES)}, received {backbone}, whose weights have no "
            "layout; use --devices N, which copies the model to each"
        )
    rules = RULES[backbone] if tied else {**RULES[backbone], **_HEAD}
    found = {}
    for pattern, axes in rules.items():
        paths = [path for path in shapes if re.fullmatch(pattern, path)]
        if not paths:
            raise ModelError(
                f"mesh: the rule {pattern} for {backbone} matched none of its {len(shapes)} weights, such as "
                f"{min(shapes)}; install the KerasHub that constraints.txt names, or use --devices N"
            )
        for path in paths:
            divides = [axis for axis in axes if shapes[path][axis] % parts == 0]
            if divides and parts > 1:
                found[path] = divides[0]
    return found


def split_share(split: Iterable[str], shapes: Mapping[str, tuple[int, ...]]) -> float:
    """The share of the bytes that is split, of weights of one dtype by path and shape.

    Example:
        >>> split_share(["a"], {"a": (3, 2), "b": (2,)})
        0.75
    """
    return sum(prod(shapes[path]) for path in split) / sum(map(prod, shapes.values()))


def axes_of(split: int | None, rank: int) -> tuple[Any, ...]:
    """A `TensorLayout`'s axes of a weight that is split at one axis, or at none.

    Example:
        >>> axes_of(1, 3), axes_of(None, 2)
        ((None, 'model', None), (None, None))
    """
    return tuple("model" if axis == split else None for axis in range(rank))
