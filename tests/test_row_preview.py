"""The preview tells text, tokens and labels, with and without colour."""

import json
import re
from dataclasses import replace
from io import StringIO
from itertools import pairwise

import pandas as pd
import pytest
from rich.console import Console

from kerastune.chat.encoders import make_dialogue_encoder
from kerastune.config import RunConfig
from kerastune.dataset import read_dataset
from kerastune.encoding import Encoder
from kerastune.errors import ConfigError
from kerastune.preference.encoding import encode_pair
from kerastune.preference.reading import read_pairs
from kerastune.row_preview import preview, preview_file, preview_pair
from kerastune.task import get_task
from kerastune.template import get_template


@pytest.fixture
def encoder(tiny_tokenizer):
    template = get_template("restaurant-cloze")
    return Encoder(task=get_task("review-sentiment"), template=template, tokenizer=tiny_tokenizer)


def shown(renderable, **options):
    console = Console(file=StringIO(), width=200, **options)
    console.print(renderable)
    return console.file.getvalue()


def test_a_labelled_row_without_colour(reviews, encoder):
    example = encoder.encode(reviews).examples[2]
    text = shown(preview(reviews, encoder, 2), color_system=None)
    lines = text.splitlines()
    assert lines[0] == "the frame, row 3, id r2, template restaurant-cloze"
    assert lines[1:3] == ["음식점·리뷰:·가격도·착하고·맛도·최고·ㅋㅋㅋ↵", "한마디로·말해·이·가게는⟦·최고⟧"]
    size = len("음식점 리뷰: 가격도 착하고 맛도 최고 ㅋㅋㅋ\n한마디로 말해 이 가게는 최고".encode())
    prompt_tokens = len(example.prompt_ids)
    assert lines[3] == (
        f"{size} bytes of UTF-8, {prompt_tokens} prompt tokens, 2 trained tokens, "
        f"{prompt_tokens + 2} of 256 in all; nothing was cut off"
    )
    bad, good = (ids[0] for ids in encoder.encode(reviews).label_ids)
    assert "<bos>/2  음식점/" in text
    assert f"⟦▁최고/{good}⟧  ⟦<eos>/1⟧\n" in text
    assert text.count("⟦") == 3
    assert [line.split() for line in lines[-2:]] == [
        ["0", "·별로", f"▁별로/{bad}"],
        ["1", "·최고", f"▁최고/{good}", "this", "row"],
    ]


def test_trained_tokens_are_in_colour_and_the_prompt_is_dim(reviews, encoder):
    text = shown(preview(reviews, encoder), force_terminal=True, color_system="standard")
    assert "\x1b[2m<bos>/2\x1b[0m" in text
    assert "\x1b[1;32m⟦<eos>/1⟧\x1b[0m" in text


def test_an_unlabelled_row_trains_nothing(reviews, encoder):
    text = shown(preview(replace(reviews, labels=None), encoder), color_system=None)
    assert " 0 trained tokens" in text
    assert "⟦" not in text
    assert "this row" not in text
    assert "·별로" in text


def test_a_cut_row_says_how_much_and_shows_what_is_left(encoder):
    data = read_dataset(pd.DataFrame({"comment": ["맛" * 100], "label": [0]}))
    encoder = replace(encoder, max_length=30)
    (example,) = encoder.encode(data).examples
    text = shown(preview(data, encoder), color_system=None)
    assert f"30 of 30 in all; {example.characters_lost} characters were cut off" in text
    assert f"리뷰:·{'맛' * (100 - example.characters_lost)}↵" in text


def test_what_cannot_be_seen_is_spelt_out_and_markup_is_text(encoder):
    data = read_dataset(
        pd.DataFrame({"comment": ["[bold]맛\u200b\u00a0\x1b \n👨\u200d👩\u200d👧"], "label": [0]})
    )
    text = shown(preview(data, encoder), color_system=None)
    assert "[bold]맛<U+200B><U+00A0><U+001B>·↵\n👨\u200d👩\u200d👧↵" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("row", [-1, 10])
def test_no_such_row(reviews, encoder, row):
    with pytest.raises(ConfigError, match=f"row: expected 0 to 9, received {row}"):
        preview(reviews, encoder, row)


@pytest.fixture
def pairs_file(tmp_path):
    said = [{"role": "user", "content": "국물은?"}, {"role": "assistant", "content": "음"}]
    row = {
        "id": "p7", "prompt": [*said, {"role": "user", "content": "맛은 어때요?"}], "chosen": "맛이 최고예요",
        "rejected": "맛이 없어요!", "chosen_score": 9,
    }  # fmt: skip
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def test_a_pair_is_its_prompt_once_and_both_answers(pairs_file, tiny_model):
    """By the zephyr template, in which the answer before the last one is not trained."""
    encoder = make_dialogue_encoder(tiny_model, template="zephyr", max_length=512, last_turn_alone=True)
    rows = read_pairs(pairs_file)
    encoded = encode_pair(encoder, rows.values[0], "p7")
    lines = shown(preview_pair(rows, encoder), color_system=None).splitlines()
    assert lines[0] == f"{pairs_file}, line 1, id p7, template zephyr"
    starts = [lines.index(title) for title in ("prompt", "chosen, scored 9", "rejected")]
    prompt, *answers = (lines[start:stop] for start, stop in pairwise([*starts, len(lines)]))
    text = "<|user|>\n국물은?<eos>\n<|assistant|>\n음<eos>\n<|user|>\n맛은 어때요?<eos>\n<|assistant|>\n"
    size, tokens = len(text.encode()), len(encoded.prompt_ids)
    assert f"{size} bytes of UTF-8, {tokens} tokens; nothing was cut off" in prompt
    assert "맛은·어때요?<eos>↵" in prompt
    assert "⟦" not in "".join(prompt)
    for block, said, side in zip(
        answers, ("맛이 최고예요<eos>", "맛이 없어요!<eos>"), (encoded.chosen, encoded.rejected), strict=True
    ):
        assert block[1] == f"⟦{said.replace(' ', '·')}⟧↵"
        size, trained = len(f"{said}\n".encode()), len(side.completion_ids)
        assert f"{size} bytes of UTF-8, {trained} trained tokens, {len(side)} of 512 with the prompt" in block
        assert [int(n) for n in re.findall(r"/(\d+)⟧", "".join(block))] == list(side.completion_ids)
    with pytest.raises(ConfigError, match="row: expected 0 to 0, received 1"):
        preview_pair(rows, encoder, 1)


def test_a_file_of_pairs_is_shown_by_its_task(pairs_file, tiny_model):
    config = RunConfig().with_options(
        {"task": "preference", "model": str(tiny_model.path), "max_length": 300}
    )
    text = shown(preview_file(config, pairs_file), color_system=None)
    assert " of 300 with the prompt" in text
    assert "\nrejected\n" in text
