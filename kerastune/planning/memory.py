"""Bytes of a LoRA training, part by part, from a base's shape.

What is held of a token until its gradient is known follows from what each operation's backward reads (the
accounting of Korthikanti et al. 2022, arXiv:2205.05198, section 4.1, for gated layers and frozen matrices: a
frozen matrix needs no input kept, an adapted one does). The parts that no formula gives are measured; see
`kerastune.planning.runtimes`.
"""

from kerastune.config import LoraSpec, Quantize
from kerastune.planning.shapes import Shape
from kerastune.targets import canonical_targets

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_FLOAT32 = 4
_NF4_BLOCK = 64


def weight_bytes(shape: Shape, dtype: str, quantization: Quantize | None = None, parts: int = 1) -> int:
    """Bytes of the frozen base, or of a device's part of it.

    Quantised are the decoder layers' linear layers; embedding, head, norms and biases stay in `dtype`. NF4
    has 4 bits a weight and a float32 scale for each block of 64 (Dettmers et al. 2023, arXiv:2305.14314,
    without its double quantisation); `int8` and `int4` have a float32 scale for each output.

    Args:
        shape: The base.
        dtype: Of the weights that are not quantised.
        quantization: How the others are; not where the base is split.
        parts: Over how many devices the linear layers, embedding and head are split; norms and biases are
            whole on each.

    Example:
        >>> from kerastune.planning.known import known_shape
        >>> shape = known_shape("google/gemma-2b")
        >>> weight_bytes(shape, "bfloat16"), weight_bytes(shape, "bfloat16", "nf4")
        (5012344832, 2163494912)
    """
    size = DTYPE_BYTES[dtype]
    if quantization is None:
        split = shape.backbone + shape.head * (1 if shape.tied else 2)
        return (shape.parameters - split + split // parts) * size
    outputs = shape.layers * sum(out for out, _ in shape.linear.values())
    rest = (shape.parameters - shape.backbone) * size
    if quantization == "nf4":
        return rest + shape.backbone // 2 + shape.backbone // _NF4_BLOCK * _FLOAT32
    return rest + shape.backbone // (1 if quantization == "int8" else 2) + outputs * _FLOAT32


def state_bytes(trainable: int, accumulate: int = 1) -> int:
    """Bytes of what is trained, in float32: the weights, their gradients and Adam's two moments.

    Args:
        trainable: The adapter's parameters.
        accumulate: Batches of a step; more than one need a sum of the gradients beside.
    """
    return trainable * _FLOAT32 * (4 + (accumulate > 1))


def activation_bytes(
    shape: Shape, lora: LoraSpec, batch_size: int, length: int, dtype: str, *, whole_attention: bool
) -> int:
    """Bytes of activations that backward reads, of all layers, without recomputation.

    Of a token in a decoder layer, in numbers of `dtype` but for those in float32, with w the width, f the
    feed-forward length, h and k the query and key heads, s a head's size:

    - each norm's input in float32: w for each norm of the width, (h + k) s where queries and keys have norms;
    - queries, keys, values and their result for attention's own backward, keys and values as many as there
      are query heads: 4 h s; where attention is not fused, its weights too, twice: before and after the
      softmax, 2 h L;
    - the gate before and after its activation and what it is multiplied with: 3 f;
    - each distinct input of adapted layers in float32, unless it is kept already: w for queries, keys and
      values, h s for the attention's output, w for gate and up, f for down; and `rank` numbers an adapted
      layer.

    Args:
        shape: The base.
        lora: Its adapter.
        batch_size: Rows.
        length: Tokens of a row.
        dtype: What is computed in.
        whole_attention: Whether attention's weights are held as a whole, as where it is not fused.
    """
    size, targets = DTYPE_BYTES[dtype], canonical_targets(lora.targets)
    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    norms = shape.norms * shape.width + (queries + keys) * shape.has_query_norms
    attention = 4 * queries + (2 * shape.heads * length if whole_attention else 0)
    groups = {
        ("q_proj", "k_proj", "v_proj"): shape.width,
        ("o_proj",): queries,
        ("gate_proj", "up_proj"): shape.width,
        ("down_proj",): shape.feed_forward,
    }
    adapted = sum(inputs for names, inputs in groups.items() if set(names) & set(targets))
    adapted += lora.rank * len(targets)
    held = _FLOAT32 * (norms + adapted) + size * (attention + 3 * shape.feed_forward)
    return batch_size * length * shape.layers * held


def logits_bytes(positions: int, rows: int, copies: float) -> int:
    """Bytes of the logits and what their loss keeps of them.

    Args:
        positions: Positions at which the head is computed.
        rows: Rows of the head there.
        copies: How many float32 arrays of that size there are at once.
    """
    return int(positions * rows * _FLOAT32 * copies)
