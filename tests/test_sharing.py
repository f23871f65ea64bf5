"""Every row in one share, and every result back in its place."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerastune.batching import Batch
from kerastune.preference.loss import PreferenceLoss
from kerastune.sharing import in_order, share, share_size, sides_of

ARRAYS = ("token_ids", "padding_mask", "answer_positions", "answer_ids", "answer_weights")


@st.composite
def batches(draw) -> Batch:
    """Rows whose tokens are all different, with padding rows behind; single ones or pairs."""
    each, paired = draw(st.integers(1, 12)), draw(st.booleans())
    real = draw(st.integers(0, each))
    rows = each * (2 if paired else 1)
    used = np.tile(np.arange(each) < real, rows // each)
    return Batch(
        token_ids=np.arange(1, rows * 3 + 1, dtype=np.int32).reshape(rows, 3),
        padding_mask=np.column_stack([np.ones(rows, bool), used, used]),
        answer_positions=np.ones((rows, 1), np.int32),
        answer_ids=np.arange(rows, dtype=np.int32)[:, None],
        answer_weights=used[:, None].astype(np.float32),
        example_ids=tuple(map(str, range(real))),
        preference=PreferenceLoss() if paired else None,
        reference=np.arange(rows, dtype=np.float32) if paired else None,
    )


@given(batches(), st.integers(1, 5))
def test_every_row_is_in_one_share(batch, ranks):
    shares = [share(batch, rank, ranks) for rank in range(ranks)]
    weighted = [one.token_ids[one.answer_weights[:, 0] > 0] for one in shares]
    expected = batch.token_ids[batch.answer_weights[:, 0] > 0]
    assert sorted(map(tuple, np.concatenate(weighted))) == sorted(map(tuple, expected))
    assert sorted(name for one in shares for name in one.example_ids) == sorted(batch.example_ids)
    assert sum(one.weight for one in shares) == batch.weight
    for one in shares:
        assert len(one.token_ids) == share_size(len(batch.token_ids) // sides_of(batch), ranks) * sides_of(
            batch
        )
        assert one.padding_mask[:, 0].all()
        # Rows with a weight are at the front, as whatever reads the ids of the real ones expects.
        count = len(one.example_ids)
        assert one.answer_weights.reshape(sides_of(batch), -1)[:, :count].all()
        assert not one.answer_weights.reshape(sides_of(batch), -1)[:, count:].any()


@given(batches(), st.integers(1, 5))
def test_what_is_computed_of_the_shares_comes_back_in_order(batch, ranks):
    shares = [share(batch, rank, ranks) for rank in range(ranks)]
    rows = len(batch.token_ids)
    for name in ARRAYS:
        parts = [getattr(one, name) for one in shares]
        np.testing.assert_array_equal(in_order(parts, rows, sides_of(batch)), getattr(batch, name))


def test_the_answers_of_a_pair_stay_together():
    rows = 6
    batch = Batch(
        token_ids=np.arange(rows, dtype=np.int32)[:, None],
        padding_mask=np.ones((rows, 1), bool),
        answer_positions=np.zeros((rows, 1), np.int32),
        answer_ids=np.zeros((rows, 1), np.int32),
        answer_weights=np.ones((rows, 1), np.float32),
        example_ids=("a", "b", "c"),
        reference=np.arange(rows, dtype=np.float32),
    )
    first, second = share(batch, 0, 2), share(batch, 1, 2)
    assert first.token_ids[:, 0].tolist() == [0, 2, 3, 5]
    assert second.token_ids[:, 0].tolist() == [1, 0, 4, 3]  # the second pair of it is padding
    assert second.answer_weights[:, 0].tolist() == [1, 0, 1, 0]
    assert (first.example_ids, second.example_ids) == (("a", "c"), ("b",))
    assert first.reference is not None
    assert first.reference.tolist() == [0, 2, 3, 5]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_share_is_its_own(batch, ranks):
    before = {name: getattr(batch, name).copy() for name in ARRAYS}
    for rank in range(ranks):
        mine = share(replace(batch), rank, ranks)
        mine.token_ids[:] = -1
        mine.padding_mask[:] = False
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(batch, name), value)
