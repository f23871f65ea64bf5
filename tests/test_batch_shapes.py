"""The shapes of batches: the least padding that few lengths allow, and no batch more than rows need."""

from collections import Counter
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from kerastune.batch_shapes import batch_rows, bucket_lengths


@given(st.lists(st.integers(1, 120), min_size=1, max_size=40))
def test_bucket_lengths_waste_the_least(lengths):
    rounded = [-(-length // 8) * 8 for length in lengths]

    def total(buckets):
        return sum(min(bucket for bucket in buckets if bucket >= length) for length in rounded)

    def least(count):
        lower = sorted(set(rounded) - {max(rounded)})
        few = min(count - 1, len(lower))
        return min(
            total((*others, max(rounded))) for n in range(few + 1) for others in combinations(lower, n)
        )

    expected = least(1)
    for count in (2, 3):
        if least(count) < (1 - 1 / 30) * expected:
            expected = least(count)
    chosen = bucket_lengths(lengths)
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) <= 3
    assert total(chosen) == expected


@given(st.lists(st.integers(1, 90), min_size=1, max_size=200), st.integers(1, 40), st.integers(1, 3))
def test_batches_hold_their_rows_and_are_as_few_as_can_be(own_lengths, batch_size, parts):
    lengths = bucket_lengths(own_lengths)
    rows = batch_rows(own_lengths, lengths, batch_size, parts=parts)
    counts = Counter(min(one for one in lengths if one >= length) for length in own_lengths)
    assert rows.keys() == set(lengths)
    for length, count in counts.items():
        assert 1 <= rows[length] <= batch_size
        assert rows[length] == batch_size or rows[length] % 8 == 0
        share = -(-count // parts)
        batches = -(-share // rows[length])
        assert batches == -(-share // batch_size)
        # Less than eight rows of padding for each batch.
        assert batches * rows[length] - share < 8 * batches
