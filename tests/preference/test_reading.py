"""Tables of pairs: what is read, what is refused and how, and what encoding leaves of a long prompt."""

import json

import pytest

from kerastune.chat.encoders import make_dialogue_encoder
from kerastune.errors import DataError, EncodingError
from kerastune.preference.encoding import encode_pair
from kerastune.preference.reading import read_pairs
from kerastune.preference.task import PREFERENCE

GOOD = {"id": "a", "prompt": "왜?", "chosen": "그래서요", "rejected": "몰라요", "chosen_score": 8}


@pytest.fixture
def write(tmp_path):
    def make(*rows):
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    return make


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rejected": " 그래서요 "}, "line 2: 'chosen' and 'rejected' are the same text"),
        ({"rejected": ""}, "line 2: 'rejected': empty; write a text"),
        ({"chosen": None}, "line 2: 'chosen': expected text, received None"),
        ({"prompt": "  "}, "line 2: 'prompt': empty"),
        ({"chosen_score": "높음"}, "line 2: 'chosen_score': expected a number, received '높음'"),
        (
            {"prompt": [{"role": "user", "content": "왜?"}, {"role": "assistant", "content": "음"}]},
            "line 2: 'prompt': expected the user to have the last word",
        ),
        ({"id": "a"}, "line 2: the id 'a' is already that of another row"),
    ],
)
def test_a_row_that_is_no_pair(write, change, message):
    path = write(GOOD, GOOD | {"id": "b"} | change)
    with pytest.raises(DataError, match=message) as refused:
        read_pairs(path)
    assert str(path) in str(refused.value)
    assert str(refused.value).endswith("--skip-bad-rows leaves such rows out")
    rows = read_pairs(path, skip_bad_rows=True)
    assert rows.ids == ("a",)
    assert len(rows.left) == 1


def test_a_missing_column(write):
    path = write({"prompt": "왜?", "choosen": "그래서요", "rejected": "몰라요"})
    with pytest.raises(DataError, match="line 1: expected the columns prompt, chosen and rejected, received"):
        read_pairs(path)


def test_pairs_are_filtered_by_score(write):
    rows = read_pairs(
        write(GOOD, GOOD | {"id": "b", "chosen_score": 6}, GOOD | {"id": "c", "chosen_score": 7})
    )
    assert rows.at_least(7).ids == ("a", "c")
    assert rows.at_least(None).ids == ("a", "b", "c")
    with pytest.raises(DataError, match="no chosen answer has a score of 9 or more"):
        rows.at_least(9)
    without = read_pairs(write({key: GOOD[key] for key in ("prompt", "chosen", "rejected")}))
    with pytest.raises(DataError, match="line 1: expected a number in 'chosen_score'"):
        without.at_least(5)


def test_both_sides_have_one_prompt_and_end_in_the_end_token(tiny_model):
    encoder = make_dialogue_encoder(tiny_model, template=None, max_length=512, last_turn_alone=True)
    pair = encode_pair(encoder, PREFERENCE.pair(GOOD), "a")
    assert pair.chosen.prompt_ids == pair.rejected.prompt_ids
    for side in (pair.chosen, pair.rejected):
        assert side.ids[side.trained[-1]] in encoder.stop_ids
        assert side.trained[0] == len(side.prompt_ids)


def test_a_long_prompt_loses_the_same_turns_on_both_sides(tiny_model):
    turns = [("가요 가요 가요", "네"), ("나요 나요 나요", "네"), ("다요", None)]
    prompt = []
    for said, answered in turns:
        prompt.append({"role": "user", "content": said})
        if answered:
            prompt.append({"role": "assistant", "content": answered})
    row = GOOD | {"prompt": prompt, "chosen": "아주 길고 긴 좋은 대답이에요 정말로요", "rejected": "짧게"}
    pair = PREFERENCE.pair(row)
    whole = make_dialogue_encoder(tiny_model, template=None, max_length=2000, last_turn_alone=True)
    longer, shorter = (len(whole.encode(side)) for side in (pair.chosen, pair.rejected))
    # The shorter side would fit as it is.
    tight = make_dialogue_encoder(
        tiny_model, template=None, max_length=(longer + shorter) // 2, last_turn_alone=True
    )
    fitted = encode_pair(tight, pair, "a")
    assert fitted.chosen.prompt_ids == fitted.rejected.prompt_ids
    assert len(fitted) <= tight.max_length
    assert len(fitted.chosen.prompt_ids) < len(whole.encode(pair.chosen).prompt_ids)
    assert fitted.chosen.characters_lost == fitted.rejected.characters_lost > 0
    assert fitted.chosen.completion_ids == whole.encode(pair.chosen).completion_ids
    tiny = make_dialogue_encoder(tiny_model, template=None, max_length=20, last_turn_alone=True)
    with pytest.raises(EncodingError, match="the last exchange alone"):
        encode_pair(tiny, pair, "a")
