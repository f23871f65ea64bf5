"""Batches whose rows divide: rows of zero weight behind the others, as batching itself has them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kerastune.batching import Batch


def pad_rows(batch: Batch, multiple: int) -> Batch:
    """Add rows of zero weight until the rows divide; of pairs, to each half alike.

    Args:
        batch: The rows.
        multiple: What the number of rows, or of pairs, shall be a multiple of.

    Returns:
        The batch itself where it divides already.
    """
    sides = 1 if batch.preference is None else 2
    each = len(batch.token_ids) // sides
    wanted = -(-each // multiple) * multiple
    if wanted == each:
        return batch
    return take_rows(batch, np.arange(wanted), sides)


def take_rows(batch: Batch, rows: NDArray[np.intp], sides: int) -> Batch:
    """Take rows by their numbers; a number past the last is a row of zero weight.

    Args:
        batch: The rows; its `example_ids` stay as they are.
        rows: `[n]`, the numbers within each side.
        sides: How many equal parts the batch has; of each the same rows are taken.

    Returns:
        `n` rows a side.
    """
    each = len(batch.token_ids) // sides
    real = np.tile(rows < each, sides)
    places = np.concatenate([np.where(rows < each, rows, 0) + side * each for side in range(sides)])
    mask = batch.padding_mask[places]
    mask[~real] = False
    mask[~real, 0] = True  # a row of nothing but padding would have no key to attend to
    return replace(
        batch,
        token_ids=batch.token_ids[places],
        padding_mask=mask,
        answer_positions=batch.answer_positions[places],
        answer_ids=batch.answer_ids[places],
        answer_weights=batch.answer_weights[places] * real[:, None].astype(np.float32),
        reference=None if batch.reference is None else batch.reference[places],
    )
