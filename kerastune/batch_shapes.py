"""The shapes of batches: few, since each is a program to compile, and with little padding."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kerastune.errors import EncodingError


def bucket_lengths(
    lengths: Sequence[int], *, most: int = 3, multiple: int = 8, compiling: int = 0
) -> tuple[int, ...]:
    """Choose the padded lengths that waste the fewest tokens on these examples.

    A length of its own costs a compilation, so one that saves less than a thirtieth of the tokens is
    not worth it.

    Args:
        lengths: The examples' lengths in tokens.
        most: The most lengths to choose.
        multiple: Lengths are rounded up to a multiple of this.
        compiling: The tokens that could be computed while the program of another length is compiled; it has
            to save more than these.

    Returns:
        Ascending lengths; the last holds the longest example.

    Example:
        >>> bucket_lengths([20] * 90 + [100] * 10)
        (24, 104)
        >>> bucket_lengths([20] * 100)
        (24,)
        >>> bucket_lengths([20] * 9 + [100], compiling=2000)
        (104,)
    """
    rounded = -(-np.sort(np.asarray(lengths)) // multiple) * multiple
    edges, counts = np.unique(rounded, return_counts=True)
    covered = np.concatenate([[0], np.cumsum(counts)])
    # waste[k][j]: the fewest padded tokens of all examples up to edge j in k + 1 lengths.
    cost = [edges[j] * covered[j + 1] for j in range(len(edges))]
    chosen = [[int(edge)] for edge in edges]
    best, best_edges = cost[-1], chosen[-1]
    for _ in range(1, most):
        next_cost, next_chosen = list(cost), list(chosen)
        for j in range(len(edges)):
            for i in range(j):
                split = cost[i] + edges[j] * (covered[j + 1] - covered[i + 1])
                if split < next_cost[j]:
                    next_cost[j], next_chosen[j] = split, [*chosen[i], int(edges[j])]
        cost, chosen = next_cost, next_chosen
        if cost[-1] + compiling < (1 - 1 / 30) * best:
            best, best_edges = cost[-1], chosen[-1]
    return tuple(best_edges)


def batch_rows(
    own_lengths: Sequence[int], lengths: Sequence[int], batch_size: int, *, parts: int = 1, multiple: int = 8
) -> dict[int, int]:
    """Choose how many rows the batches of each padded length have: one number, and so one compiled program.

    A length's examples are shared out evenly over the fewest batches that hold them. Five long rows in a
    batch of 32 would be computed as 32.

    Args:
        own_lengths: All examples' lengths in tokens.
        lengths: The padded lengths.
        batch_size: The most rows of a batch.
        parts: In how many parts, of one size, the examples are going to be batched.
        multiple: Rows are rounded up to a multiple of this, as far as `batch_size` allows.

    Returns:
        Padded length -> rows.

    Example:
        >>> batch_rows([20] * 70 + [100] * 5, (24, 104), 32)
        {24: 24, 104: 8}
    """
    padded = padded_lengths(own_lengths, lengths)
    found = {}
    for length in lengths:
        expected = max(1, -(-int(np.sum(padded == length)) // parts))
        even = -(-expected // -(-expected // batch_size))
        found[length] = min(batch_size, -(-even // multiple) * multiple)
    return found


def padded_lengths(own_lengths: Sequence[int], lengths: Sequence[int]) -> NDArray[np.int64]:
    """Find the first of the ascending padded lengths that holds each example.

    Raises:
        EncodingError: None holds one of them.
    """
    own, edges = np.asarray(own_lengths, np.int64), np.asarray(lengths, np.int64)
    longest = edges.max(initial=0)
    if (own > longest).any():
        raise EncodingError(
            f"an example has {own[own > longest][0]} tokens, the longest of the padded lengths is {longest}; "
            "choose the lengths from these examples with bucket_lengths"
        )
    return edges[np.searchsorted(edges, own)]
