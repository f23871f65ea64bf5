"""Leakage against every pair compared by itself."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerastune.dataset import find_leakage, read_dataset

TEXTS = st.lists(st.text("가나 ㅋA", min_size=1, max_size=9).filter(str.strip), min_size=1, max_size=12)


def table(texts):
    return read_dataset(pd.DataFrame({"comment": texts}), labelled=False)


def folded(text):
    return " ".join(text.split()).casefold()


def jaccard(first, second):
    one, other = ({text[place : place + 3] for place in range(len(text) - 2)} for text in (first, second))
    return len(one & other) / len(one | other) if one | other else 0.0


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS, st.sampled_from([0.3, 0.5, 0.6, 0.8, 1.0]))
def test_every_pair_is_found(train, test, threshold):
    leakage = find_leakage(table(train), table(test), threshold)
    known = [folded(text) for text in train]
    for row, text in enumerate(map(folded, test)):
        similarities = np.array([jaccard(text, other) for other in known])
        if text in known:
            expected = (True, False, known.index(text), 1.0)
        elif similarities.max() >= threshold:
            expected = (False, True, similarities.argmax(), similarities.max())
        else:
            expected = (False, False, -1, 0.0)
        found = (leakage.exact[row], leakage.near[row], leakage.nearest[row], leakage.similarity[row])
        assert found == expected
    np.testing.assert_array_equal(leakage.leaked, leakage.exact | leakage.near)


def test_spaces_and_case_make_no_other_text():
    leakage = find_leakage(table(["GOOD  맛집", "별로"]), table(["별로 ", "good 맛집", "별로라"]))
    assert leakage.exact.tolist() == [True, True, False]
    assert leakage.nearest.tolist() == [1, 0, -1]


def test_a_near_copy_of_a_review():
    train = table(["배달이 너무 늦었습니다", "국물이 진하고 고기가 많아요"])
    leakage = find_leakage(train, table(["국물이 진하고 고기가 많네요", "국물이 진하네요"]))
    assert leakage.near.tolist() == [True, False]
    assert (leakage.nearest[0], leakage.similarity[0]) == (1, pytest.approx(11 / 15))


def test_blocks_change_nothing(monkeypatch):
    generator = np.random.default_rng(0)
    texts = [
        "".join(generator.choice(list("가나다라마 "), size)) + "끝" for size in generator.integers(3, 20, 120)
    ]
    train, test = table(texts[:80]), table([*texts[80:], *(text + "!" for text in texts[:40])])
    whole = find_leakage(train, test)
    assert whole.near.sum() > 20
    monkeypatch.setattr("kerastune.dataset.leakage._BLOCK", 7)
    parts = find_leakage(train, test)
    np.testing.assert_array_equal(parts.nearest, whole.nearest)
    np.testing.assert_array_equal(parts.similarity, whole.similarity)
