"""Slices and confident errors on tables small enough to count by hand."""

import numpy as np
import pandas as pd
import pytest

from kerastune.dataset import read_dataset
from kerastune.errors import DataError
from kerastune.evaluation import find_mistakes, find_slices, wilson_interval
from kerastune.scoring import Scores


def table(texts, **columns):
    return read_dataset(pd.DataFrame({"comment": texts, "label": [0, 1] * (len(texts) // 2), **columns}))


def having(name, texts):
    """The texts that are in the slice `name`, `with`."""
    data = table([*texts, "그냥 밥집", "동네 식당"][: len(texts) + 2 - len(texts) % 2])
    found = []
    for place, text in enumerate(texts):
        right = np.arange(len(data)) == place
        parts = {part.value: part for part in find_slices(data, right) if part.slice == name}
        if "with" in parts and parts["with"].accuracy > 0:
            found.append(text)
    return found


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("emoji", ["맛있어요 👍", "최고❤", "또 올게요 🇰🇷", "굿☺️"], ["별 5개!! #맛집 100%", "ㅋㅋ ^^", "™ ©"]),
        ("jamo slang", ["맛있음ㅋㅋ", "별로 ㅠㅠ", "ㄹㅇ 맛집", "ㅇㅈ"], ["맛있다 하하", "lol 굿"]),
        (
            "negation",
            ["안 가요", "다신 안가요", "맛이 없어요", "좋지 않아요", "못 먹겠다", "못먹음", "맛집이 아닙니다",
             "별로예요", "전혀 새롭지가", "not good", "don't go", "친절하진 않고", "먹지 말 것"],
            ["안녕하세요", "안주 좋아요", "안내 친절", "정말 맛있다", "안심 스테이크", "knot", "편안한 곳"],
        ),
        ("English", ["taste 굿", "best", "USA산"], ["A급", "1 2 3", "맛있다"]),
    ],
)  # fmt: skip
def test_what_is_in_a_text(name, inside, outside):
    assert having(name, inside + outside) == inside


def test_every_cut_holds_every_row_once():
    texts = [
        "짧다",
        "조금 더 길다",
        "이것은 꽤 긴 문장이에요 ㅋㅋ",
        "a",
        "not bad 👍",
        "이것도 그렇게 짧지는 않은 문장",
    ]
    right = np.array([True, False, True, True, False, True])
    slices = find_slices(table(texts), right)
    cuts = {part.slice for part in slices}
    assert cuts == {"length", "emoji", "jamo slang", "negation", "English"}
    for cut in cuts:
        parts = [part for part in slices if part.slice == cut]
        assert sum(part.rows for part in parts) == 6
        assert sum(part.rows * part.accuracy for part in parts) == pytest.approx(4)
    for part in slices:
        assert part.interval == wilson_interval(round(part.rows * part.accuracy), part.rows)
    lengths = [(part.value, part.rows) for part in slices if part.slice == "length"]
    assert lengths == [("to 7 characters", 3), ("over 7 to 16 characters", 2), ("over 16 characters", 1)]


def test_texts_of_one_length_are_one_slice():
    slices = find_slices(table(["가나", "다라"]), [True, False])
    assert [(part.value, part.rows) for part in slices if part.slice == "length"] == [("to 2 characters", 2)]


def test_by_a_column():
    data = table(["가", "나", "다", "라"], place=["서울", "부산", "서울", None])
    slices = find_slices(data, [True, True, False, False], ["place"])[-3:]
    assert [(part.slice, part.value, part.rows, part.accuracy) for part in slices] == [
        ("place", "서울", 2, 0.5),
        ("place", "(empty)", 1, 0.0),
        ("place", "부산", 1, 1.0),
    ]


def test_many_numbers_are_cut_into_thirds():
    data = table([f"글 {number}" for number in range(60)], price=list(range(60)))
    slices = [part for part in find_slices(data, np.arange(60) < 20, ["price"]) if part.slice == "price"]
    assert [(part.value, part.rows, part.accuracy) for part in slices] == [
        ("to 20", 21, pytest.approx(20 / 21)),
        ("over 20 to 40", 20, 0.0),
        ("over 40", 19, 0.0),
    ]


def test_columns_that_do_not_group_are_refused():
    data = table([f"글 {number}" for number in range(40)], place=[f"{n} 동" for n in range(40)])
    right = np.ones(40, bool)
    with pytest.raises(DataError, match=r"no column 'plce' to slice by; there are: .*; is it 'place'\?"):
        find_slices(data, right, ["plce"])
    with pytest.raises(DataError, match="column 'place' has 40 values, too many to slice by; expected 30"):
        find_slices(data, right, ["place"])


def scores(probabilities, **more):
    log_probabilities = np.log(np.array(probabilities))
    return Scores(tuple(map(str, range(len(probabilities)))), (0, 1), log_probabilities, **more)


def test_mistakes_come_the_most_confident_first():
    data = table(["가", "나", "다", "라"])  # labels 0 1 0 1
    found = find_mistakes(scores([[0.1, 0.9], [0.3, 0.7], [0.6, 0.4], [0.99, 0.01]]), data)
    assert [(m.row, m.id, m.text, m.label, m.predicted) for m in found] == [
        (3, "4", "라", 1, 0),
        (0, "1", "가", 0, 1),
    ]
    assert [mistake.confidence for mistake in found] == pytest.approx([0.99, 0.9])
    assert len(find_mistakes(scores([[0.1, 0.9]] * 4), data, most=1)) == 1


def test_a_threshold_and_generated_text_decide_what_is_a_mistake():
    data = table(["가", "나"])
    tuned = scores([[0.6, 0.4], [0.6, 0.4]], decision_offsets=np.array([0.0, 1.0]))
    (mistake,) = find_mistakes(tuned, data)
    assert (mistake.row, mistake.predicted, mistake.confidence) == (0, 1, pytest.approx(0.4))
    generated = scores([[0.9, 0.1], [0.2, 0.8]], generated=np.array([-1, 1]))
    (mistake,) = find_mistakes(generated, data)
    assert (mistake.row, mistake.predicted, mistake.confidence) == (0, None, pytest.approx(0.9))
