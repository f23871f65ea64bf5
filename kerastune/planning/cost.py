"""Floating-point operations of a forward pass and of a LoRA step, counted as 2 a multiply-add.

Backward costs twice the forward where weights and activations both have gradients (Kaplan et al. 2020,
arXiv:2001.08361, appendix B: 6 operations a parameter and token in all). A frozen matrix has no gradient of
its own, so that its backward is the product by the activations' gradient alone: 4 in all. Everything else
is a small share and not counted: norms, activations, the softmax and the optimizer.
"""

from kerastune.planning.shapes import Shape


def head_rows(shape: Shape, choices: int) -> int:
    """The rows of the head at an answer position: the labels' alone, or the whole vocabulary's for 0."""
    return choices or shape.vocabulary


def forward_flops(shape: Shape, tokens: int, length: int, positions: int, rows: int) -> int:
    """Operations of a forward pass.

    Each token is multiplied with the backbone once. Attention multiplies each query with every key, and each
    attention weight with every value, a head's size each (Chowdhery et al. 2022, arXiv:2204.02311, appendix
    B); causal and sliding masks are not taken off, because kernels that compute under them are rare on a CPU.

    Args:
        shape: The base.
        tokens: Tokens of the batch, padding included.
        length: Tokens of a row.
        positions: Positions at which the head is computed.
        rows: Rows of the head there; see `head_rows`.
    """
    attention = 4 * shape.layers * shape.heads * shape.head_size * length
    return tokens * (2 * shape.backbone + attention) + 2 * positions * rows * shape.width


def step_flops(shape: Shape, trainable: int, tokens: int, length: int, positions: int, rows: int) -> int:
    """Operations of a LoRA step: forward, and backward through the activations.

    Frozen matrices, the head among them, cost as much again; attention, whose factors both have gradients,
    twice as much; so do the adapter's factors, 6 operations a parameter and token in all.

    Args:
        shape: The base.
        trainable: The adapter's parameters.
        tokens: Tokens of the batch, padding included.
        length: Tokens of a row.
        positions: Positions at which the head is computed.
        rows: Rows of the head there.
    """
    attention = 4 * shape.layers * shape.heads * shape.head_size * length
    frozen = tokens * 2 * shape.backbone + 2 * positions * rows * shape.width
    return 2 * frozen + tokens * (3 * attention + 6 * trainable)


def floor_flops(shape: Shape, tokens: int, positions: int, rows: int, *, training: bool) -> int:
    """The least that must be multiplied: the backbone at real tokens and the head at answer positions.

    4 operations a parameter for a LoRA step, 2 for a forward pass; neither attention nor the adapter.

    Args:
        shape: The base.
        tokens: Real tokens: no padding.
        positions: Answer positions.
        rows: Rows of the head there.
        training: Whether it is a LoRA step.

    Example:
        >>> from kerastune.planning.known import known_shape
        >>> shape = known_shape("google/gemma-3-270m")
        >>> shape.backbone, floor_flops(shape, 1000, 8, 2, training=True) // 10**9
        (100270080, 401)
    """
    once = 2 * (tokens * shape.backbone + positions * rows * shape.width)
    return (2 if training else 1) * once
