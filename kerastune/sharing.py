"""Which process takes which rows of a batch, and how what they return is put in order again.

Row i goes to process i modulo their number. Batches are sorted by length when they are scored, so that every
process has long rows and short ones. Where the rows do not divide, rows of zero weight fill up the last
shares: every share has the same shape, every row is in one of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastune.batching import Batch
from kerastune.row_padding import take_rows


def share_size(rows: int, ranks: int) -> int:
    """How many rows each of the processes takes, those that fill up included.

    Example:
        >>> share_size(10, 4)
        3
    """
    return -(-rows // ranks)


def share(batch: Batch, rank: int, ranks: int) -> Batch:
    """Take one process' rows of a batch; of pairs, both answers of each.

    Args:
        batch: The rows of all.
        rank: The process, from 0.
        ranks: How many there are.

    Returns:
        `share_size` rows, or pairs.
    """
    sides = sides_of(batch)
    each = len(batch.token_ids) // sides
    mine = np.arange(share_size(each, ranks)) * ranks + rank
    return replace(take_rows(batch, mine, sides), example_ids=batch.example_ids[rank::ranks])


def in_order(parts: Sequence[NDArray[Any]], rows: int, sides: int = 1) -> NDArray[Any]:
    """Put what the processes computed of their shares into the order of the rows.

    Args:
        parts: An array of each process, a row of its share a row.
        rows: How many rows there were.
        sides: How many of them belong together; see `sides_of`.

    Returns:
        `[rows, ...]`.

    Example:
        >>> in_order([np.array([0, 2, 4]), np.array([1, 3, -1])], 5).tolist()
        [0, 1, 2, 3, 4]
    """
    size = parts[0].shape[1:]
    laid = np.stack([part.reshape(sides, -1, *size) for part in parts], axis=2)
    return laid.reshape(sides, -1, *size)[:, : rows // sides].reshape(rows, *size)


def sides_of(batch: Batch) -> int:
    """How many rows belong together, of which the first half of a batch has one and the second the other."""
    return 1 if batch.reference is None else 2
