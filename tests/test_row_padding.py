"""Rows of zero weight: how many, where, and that nothing real has changed."""

from dataclasses import replace

import numpy as np

from kerastune.batching import make_batch
from kerastune.preference.loss import PreferenceLoss
from kerastune.row_padding import pad_rows


def test_rows_of_zero_weight_fill_up(encodings):
    batch = make_batch(encodings.examples[:3], rows=3, length=96, pad_id=0, answers=2)
    padded = pad_rows(batch, 4)
    assert padded.token_ids.shape == (4, 96)
    assert padded.answer_weights[3].sum() == 0
    assert padded.padding_mask[3].tolist() == [True] + [False] * 95
    assert padded.weight == batch.weight
    assert padded.example_ids == batch.example_ids
    np.testing.assert_array_equal(padded.token_ids[:3], batch.token_ids)
    assert pad_rows(batch, 3) is batch


def test_each_half_of_a_batch_of_pairs_is_filled_up(encodings):
    rows = make_batch(encodings.examples[:6], rows=6, length=96, pad_id=0, answers=2)
    reference = -np.arange(6, dtype=np.float32)
    batch = replace(rows, preference=PreferenceLoss(), reference=reference)
    assert batch.weight == 3
    padded = pad_rows(batch, 4)
    chosen, rejected = slice(0, 3), slice(4, 7)
    for name in (
        "token_ids",
        "padding_mask",
        "answer_positions",
        "answer_ids",
        "answer_weights",
        "reference",
    ):
        before, after = getattr(batch, name), getattr(padded, name)
        assert len(after) == 8
        np.testing.assert_array_equal(after[chosen], before[:3])
        np.testing.assert_array_equal(after[rejected], before[3:])
    assert padded.weight == 3  # a pair of no weight is none
    assert padded.answer_weights[[3, 7]].sum() == 0
    assert pad_rows(batch, 3) is batch
