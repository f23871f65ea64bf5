"""LoRA without a framework: a module's two factors, how they begin, and their two geometries.

On disk and between the stacks an adapter is in PEFT's geometry: A is `[rank, in]`, B is `[out, rank]`,
and the layer adds `scale * B A x`. Keras' `enable_lora` factorises a kernel `[..., last]` as A
`[..., rank]` times B `[rank, last]`; where the kernel has a heads axis, every head has an A of its own and
all share one B.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastune.errors import AdapterError

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Factors:
    """One module's update in PEFT's geometry.

    Args:
        a: `[rank, in] float32`.
        b: `[out, rank] float32`.
        alpha: Numerator of the scale `alpha / rank`.
        magnitude: `[out] float32`, DoRA's magnitudes of the adapted weight's rows, if it has them.
    """

    a: Array
    b: Array
    alpha: float
    magnitude: Array | None = None

    @property
    def rank(self) -> int:
        """Rank of the update."""
        return int(self.a.shape[0])


def require_whole(factors: Mapping[str, Factors], modules: Iterable[str]) -> None:
    """Refuse an adapter that does not fit a base, or is not all there.

    Args:
        factors: The adapter, module by module.
        modules: The base's linear layers that can be adapted.

    Raises:
        AdapterError: The base lacks a module, or a kind of layer is adapted in some decoder layers alone.

    Example:
        >>> modules = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]
        >>> require_whole({}, modules)
        Traceback (most recent call last):
        kerastune.errors.AdapterError: the adapter adapts nothing; train it anew
    """
    if not factors:
        raise AdapterError("the adapter adapts nothing; train it anew")
    kinds = {module.rsplit(".", 1)[1] for module in factors}
    expected = {module for module in modules if module.rsplit(".", 1)[1] in kinds}
    missing, unexpected = sorted(expected - set(factors)), sorted(set(factors) - expected)
    if missing or unexpected:
        raise AdapterError(
            f"the adapter does not fit the base: missing {missing[:3]}, unexpected {unexpected[:3]}; "
            "use the base that it was trained on, or copy the adapter again"
        )


def require_shapes(factors: Mapping[str, Factors], shapes: Mapping[str, tuple[int, int]]) -> None:
    """Refuse an adapter whose factors are of another size than the base's layers.

    Args:
        factors: The adapter, module by module.
        shapes: Module -> its (outputs, inputs).

    Raises:
        AdapterError: A factor has another shape.
    """
    for module, update in factors.items():
        outputs, inputs = shapes[module]
        for name, value, expected in (
            ("A", update.a, (update.rank, inputs)),
            ("B", update.b, (outputs, update.rank)),
            ("DoRA magnitudes", update.magnitude, (outputs,)),
        ):
            if value is not None and value.shape != expected:
                raise AdapterError(
                    f"{module}: expected {name} of shape {expected}, received {value.shape}; use the base "
                    "that the adapter was trained on"
                )


def summed(adapters: Sequence[Mapping[str, Factors]]) -> dict[str, Factors]:
    """Say several adapters, one on top of the other, exactly as one of their ranks' sum.

    Args:
        adapters: Module -> its update, in each.

    Raises:
        AdapterError: One has DoRA's magnitudes, whose scales are of what is beneath it.

    Example:
        >>> one = Factors(a=np.ones((2, 3), np.float32), b=np.ones((4, 2), np.float32), alpha=4.0)
        >>> both = summed([{"q_proj": one}, {"q_proj": one}])["q_proj"]
        >>> both.rank, bool(np.allclose(both.alpha / both.rank * both.b @ both.a, 2 * 2 * one.b @ one.a))
        (4, True)
    """
    if len(adapters) == 1:
        return dict(adapters[0])
    found: dict[str, Factors] = {}
    for module in dict.fromkeys(module for adapter in adapters for module in adapter):
        updates = [adapter[module] for adapter in adapters if module in adapter]
        if any(update.magnitude is not None for update in updates):
            raise AdapterError(
                f"{module}: has DoRA's magnitudes, so nothing goes beneath it or on top; merge it first, and "
                "train on what that wrote"
            )
        scaled = [np.float32(update.alpha / update.rank) * update.b for update in updates]
        a = np.concatenate([update.a for update in updates])
        found[module] = Factors(a=a, b=np.concatenate(scaled, axis=1), alpha=float(len(a)))
    return found


def _generator(module: str, seed: int) -> np.random.Generator:
    # A stream for each module: adding a target or a layer leaves the others' beginnings as they were.
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *module.encode()])))


def initial_a(module: str, fan_in: int, rank: int, seed: int) -> Array:
    """PEFT's beginning of A `[rank, in]`: Kaiming-uniform with a = sqrt(5), so within 1 / sqrt(in).

    The numbers depend on the module's name and the seed alone, whichever stack or backend asks. B begins
    at zero, so that the adapted model begins as the base.

    Args:
        module: Hugging Face's path of the module.
        fan_in: Length of the module's input.
        rank: Rank of the update.
        seed: Seed of the run.
    """
    limit = 1.0 / np.sqrt(fan_in)
    return _generator(module, seed).uniform(-limit, limit, (rank, fan_in)).astype(np.float32)


def initial_native_a(module: str, shape: tuple[int, ...], seed: int) -> Array:
    """Keras' beginning of A `[..., rank]`: He-uniform over all axes but the last."""
    limit = np.sqrt(6.0 / np.prod(shape[:-1]))
    return _generator(module, seed).uniform(-limit, limit, shape).astype(np.float32)


def native_to_peft(a: Array, b: Array, alpha: float) -> Factors:
    """Say a native update exactly in PEFT's geometry, at rank heads x rank.

    The heads' A are stacked and the shared B stands on the diagonal, so that B A is the same product; the
    scale stays, so alpha grows with the rank.

    Args:
        a: `[heads, in, rank]`.
        b: `[rank, head size]`.
        alpha: The native alpha.

    Example:
        >>> a = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
        >>> b = np.ones((2, 5), np.float32)
        >>> peft = native_to_peft(a, b, alpha=2.0)
        >>> peft.a.shape, peft.b.shape, peft.alpha
        ((4, 3), (10, 4), 4.0)
        >>> bool(np.allclose((peft.b @ peft.a).reshape(2, 5, 3), (a @ b).transpose(0, 2, 1)))
        True
    """
    heads, _, rank = a.shape
    stacked = a.transpose(0, 2, 1).reshape(heads * rank, -1)
    diagonal = np.kron(np.eye(heads, dtype=np.float32), b.T)
    return Factors(a=np.ascontiguousarray(stacked), b=diagonal, alpha=alpha * heads)


def peft_to_native(factors: Factors, heads: int, module: str) -> tuple[Array, Array]:
    """Undo `native_to_peft`.

    Returns:
        A `[heads, in, rank]` and B `[rank, head size]`.

    Raises:
        AdapterError: The factors are not a native update in PEFT's geometry.
    """
    rank, rest = divmod(factors.rank, heads)
    size = factors.b.shape[0] // heads
    b = factors.b[:size, :rank].T
    if rest or not np.array_equal(np.kron(np.eye(heads, dtype=np.float32), b.T), factors.b):
        raise AdapterError(
            f"{module}: B is not block-diagonal over {heads} heads, so it has no native Keras form; "
            f'load the adapter with layout "peft"'
        )
    a = factors.a.reshape(heads, rank, -1).transpose(0, 2, 1)
    return np.ascontiguousarray(a), np.ascontiguousarray(b)
