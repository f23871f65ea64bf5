"""One update in another rank or geometry: truncated SVD, and Keras' native form of any PEFT update.

In Keras' native geometry a module's heads share one B, so an update of PEFT's has that form too, only at a
higher rank: at most heads x rank, and never more than a head's size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastune.errors import AdapterError
from kerastune.lora import Array, Factors, peft_to_native

_Wide = NDArray[np.float64]


@dataclass(frozen=True)
class Loss:
    """What a truncation left out of an update, in squared Frobenius norms.

    Args:
        lost: Of what was left out.
        whole: Of the update.
    """

    lost: float
    whole: float

    @property
    def error(self) -> float:
        """The relative Frobenius error; 0 of an update that is zero."""
        return float(np.sqrt(self.lost / self.whole)) if self.whole else 0.0

    @classmethod
    def over(cls, losses: Sequence["Loss"]) -> "Loss":
        """The loss of all updates together."""
        return cls(sum(loss.lost for loss in losses), sum(loss.whole for loss in losses))


def compacted(factors: Factors, rank: int) -> tuple[Factors, Loss]:
    """The nearest update of a rank (Eckart & Young 1936): its largest singular values.

    Args:
        factors: The update, without DoRA's magnitudes.
        rank: The most that its rank may be; an update of less comes back as it is.

    Example:
        >>> b = np.array([[3.0, 0.0], [0.0, 4.0]], np.float32)
        >>> nearest, loss = compacted(Factors(a=np.eye(2, dtype=np.float32), b=b, alpha=2.0), rank=1)
        >>> np.abs(nearest.b @ nearest.a).round(3).tolist(), round(loss.error, 3)
        ([[0.0, 0.0], [0.0, 4.0]], 0.6)
    """
    scale = factors.alpha / factors.rank
    if factors.rank <= rank:
        return factors, Loss(0.0, scale**2 * _squared(factors.b, factors.a))
    left, right, loss = _truncate(scale * factors.b.astype(np.float64), factors.a.astype(np.float64), rank)
    return Factors(a=_narrow(right), b=_narrow(left), alpha=float(len(right))), loss


def compact_native(a: Array, b: Array, rank: int) -> tuple[Array, Array, Loss]:
    """The nearest native update of a rank: its heads' A stand on each other, so this is one SVD.

    Args:
        a: `[heads, in, rank]`.
        b: `[rank, head size]`.
        rank: The most that its rank may be.

    Returns:
        A and B of that rank, and what they leave out.
    """
    heads, width, wide = a.shape
    stacked = a.reshape(heads * width, wide)
    if wide <= rank:
        return a, b, Loss(0.0, _squared(stacked, b))
    left, right, loss = _truncate(stacked.astype(np.float64), b.astype(np.float64), rank)
    return _narrow(left).reshape(heads, width, -1), _narrow(right), loss


def native_form(factors: Factors, heads: int, module: str) -> tuple[Array, Array]:
    """Say an update of PEFT's in Keras' native geometry, at a scale of 1.

    Args:
        factors: The update.
        heads: How many A share one B.
        module: The module's path.

    Returns:
        A `[heads, in, rank]` and B `[rank, head size]`; where the update is none that Keras wrote, of a rank
        of heads x its own, or of a head's size where that is less.

    Raises:
        AdapterError: The update has DoRA's magnitudes, or its outputs are no whole number of heads.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> a, b = (draw.standard_normal(shape).astype(np.float32) for shape in ((2, 5), (12, 2)))
        >>> native = native_form(Factors(a=a, b=b, alpha=2.0), heads=3, module="q_proj")
        >>> [part.shape for part in native]
        [(3, 5, 4), (4, 4)]
        >>> bool(np.allclose((native[0] @ native[1]).transpose(0, 2, 1).reshape(12, 5), b @ a, atol=1e-5))
        True
    """
    if factors.magnitude is not None:
        raise AdapterError(
            f"{module}: has DoRA's magnitudes, for which Keras' file has no place; merge it into its base: "
            "kerastune merge"
        )
    outputs, rank = factors.b.shape
    size, rest = divmod(outputs, heads)
    if rest:
        raise AdapterError(
            f"{module}: expected outputs of {heads} heads, received {outputs}; use the base that the adapter "
            "was trained on"
        )
    scaled = np.float32(factors.alpha / rank) * factors.b
    try:
        return peft_to_native(Factors(a=factors.a, b=scaled, alpha=float(rank)), heads, module)
    except AdapterError:
        by_head = scaled.reshape(heads, size, rank).transpose(0, 2, 1)
    if heads * rank <= size:
        a = np.zeros((heads, factors.a.shape[1], heads * rank), np.float32)
        for head in range(heads):
            a[head, :, head * rank : (head + 1) * rank] = factors.a.T
        return a, by_head.reshape(heads * rank, size)
    return factors.a.T @ by_head, np.eye(size, dtype=np.float32)


def widened(a: Array, b: Array, rank: int) -> tuple[Array, Array]:
    """The same native update at a higher rank, by zeros."""
    more = rank - len(b)
    return np.pad(a, ((0, 0), (0, 0), (0, more))), np.pad(b, ((0, more), (0, 0)))


def _truncate(left: _Wide, right: _Wide, rank: int) -> tuple[_Wide, _Wide, Loss]:
    """Keep `rank` singular values of `left @ right`, which is never made: its factors are thin."""
    left_base, left_core = np.linalg.qr(left)
    right_base, right_core = np.linalg.qr(right.T)
    u, values, v = np.linalg.svd(left_core @ right_core.T, full_matrices=False)
    roots = np.sqrt(values[:rank])
    loss = Loss(float(np.sum(values[rank:] ** 2)), float(np.sum(values**2)))
    return left_base @ (u[:, :rank] * roots), (roots[:, None] * v[:rank]) @ right_base.T, loss


def _squared(left: Array, right: Array) -> float:
    """The squared Frobenius norm of `left @ right`."""
    grams = (left.T @ left).astype(np.float64) * (right @ right.T)
    return float(grams.sum())


def _narrow(wide: _Wide) -> Array:
    return np.ascontiguousarray(wide, np.float32)
