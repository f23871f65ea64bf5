"""Shots: chosen by label and seed, never what is scored, in front of every prompt as the template renders."""

from dataclasses import replace

import pandas as pd
import pytest

from kerastune.dataset import Dataset, read_dataset
from kerastune.encoding import Encoder
from kerastune.errors import ConfigError, DataError, EncodingError
from kerastune.few_shot import choose_shots
from kerastune.prefix import shared_prefix
from kerastune.task import get_task
from kerastune.template import get_template


def table(texts, labels=None, start=0) -> Dataset:
    frame = {"id": [f"t{start + row}" for row in range(len(texts))], "comment": list(texts)}
    if labels is not None:
        frame["label"] = labels
    return read_dataset(pd.DataFrame(frame), labelled=labels is not None)


@pytest.fixture
def pool() -> Dataset:
    """Forty rows, every fourth of them positive."""
    return table([f"리뷰 {row}" for row in range(40)], [int(row % 4 == 0) for row in range(40)])


@pytest.fixture
def encoder(tiny_tokenizer) -> Encoder:
    task = get_task("review-sentiment")
    template = get_template("restaurant-cloze")
    return Encoder(task=task, template=template, tokenizer=tiny_tokenizer, max_length=96)


def test_each_label_has_its_rows_and_the_labels_take_turns(pool):
    shots = choose_shots(pool, k=5, seed=3).shots
    label_of = dict(zip(pool.ids, pool.labels.tolist(), strict=True))
    assert all(label_of[shot.row_id] == shot.label for shot in shots)
    assert len({shot.row_id for shot in shots}) == len(shots) == 10
    turns = [(shots[turn].label, shots[turn + 1].label) for turn in range(0, 10, 2)]
    assert all(set(turn) == {0, 1} for turn in turns)


def test_a_seed_gives_the_same_shots_and_another_seed_others(pool):
    assert choose_shots(pool, k=4, seed=7) == choose_shots(pool, k=4, seed=7)
    found = {tuple(shot.row_id for shot in choose_shots(pool, k=4, seed=seed).shots) for seed in range(5)}
    assert len(found) == 5
    ends = {choose_shots(pool, k=4, seed=seed).shots[-1].label for seed in range(20)}
    assert ends == {0, 1}  # no label is always the last that is read


def test_more_shots_begin_with_the_fewer(pool):
    assert choose_shots(pool, k=6, seed=1).shots[:4] == choose_shots(pool, k=2, seed=1).shots


def test_what_is_scored_is_never_shown(pool, encoder):
    scored = table(
        [f" 리뷰  {row}" for row in range(0, 40, 4) if row != 12], start=100
    )  # all positives but one
    for seed in range(10):
        shots = choose_shots(pool, k=1, seed=seed, scored=[scored])
        assert [shot.row_id for shot in shots.shots if shot.label == 1] == ["t12"]
        assert not any(shots.shows(row) for row in scored.rows())
    with pytest.raises(DataError, match="label 1 has 1 rows to show that are not scored, expected 2"):
        choose_shots(pool, k=2, scored=[scored])
    shots = choose_shots(pool, k=3, seed=0)
    with pytest.raises(EncodingError, match=r"row 't\d+' is one of the rows that are shown"):
        replace(encoder, shots=shots).encode(pool)


def test_rows_of_one_text_are_shown_once():
    pool = table(["같다", "같다 ", "다르다", "또 다르다"], [0, 0, 0, 1])
    for seed in range(5):
        with pytest.raises(DataError, match="label 1 has 1 rows"):
            choose_shots(pool, k=2, seed=seed)
        texts = [shot.fields["comment"].strip() for shot in choose_shots(pool, k=1, seed=seed).shots]
        assert len(set(texts)) == 2


def test_no_shots_and_no_labels_are_refused(pool):
    with pytest.raises(ConfigError, match="shots: expected 1 or more rows of each label, received 0"):
        choose_shots(pool, k=0)
    with pytest.raises(DataError, match="labels were not read"):
        choose_shots(table(["하나"]), k=1)


def test_shots_are_rendered_as_training_renders_them(pool, encoder, reviews):
    shots = choose_shots(pool, k=2, seed=0)
    shown = replace(encoder, shots=shots)
    blocks = shown.prompts(reviews)[3].split("\n\n")
    words = encoder.task.words()
    assert blocks[:-1] == [
        f"음식점 리뷰: {shot.fields['comment']}\n한마디로 말해 이 가게는 {words[shot.label]}"
        for shot in shots.shots
    ]
    assert blocks[-1] == encoder.prompts(reviews)[3]


def test_ids_begin_with_the_shots_and_the_answer_continues_the_prompt(pool, encoder, reviews, tiny_tokenizer):
    shown = replace(encoder, shots=choose_shots(pool, k=2, seed=0))
    encodings, prompts = shown.encode(reviews), shown.prompts(reviews)
    assert encodings.label_ids == encoder.encode(reviews).label_ids
    for example, prompt, label in zip(encodings.examples, prompts, reviews.labels, strict=True):
        assert example.prompt_ids == (2, *tiny_tokenizer.encode(prompt))
        whole = tiny_tokenizer.encode(prompt + shown.completions[label])
        assert example.prompt_ids + example.completion_ids == (2, *whole, 1)
    shared = shared_prefix([example.prompt_ids for example in encodings.examples])
    shots_ids = tiny_tokenizer.encode(shown.shots.render(shown.task, shown.template))
    assert len(shared) > len(shots_ids)
    assert all(example.prompt_ids[: len(shared)] == shared for example in encodings.examples)


def test_a_long_row_is_cut_off_as_without_shots_and_the_shots_are_whole(pool, encoder):
    long = table(["국물이 진하고 " * 60, "짧다"])
    shown = replace(encoder, shots=choose_shots(pool, k=5, seed=0))
    bare, few = encoder.encode(long).examples, shown.encode(long).examples
    assert bare[0].characters_lost == few[0].characters_lost > 0
    extra = {len(few[row].prompt_ids) - len(bare[row].prompt_ids) for row in (0, 1)}
    assert len(extra) == 1
    assert extra.pop() > 96  # more than max_length: the shots do not count


def test_what_is_longer_than_the_model_reads_is_refused(pool, encoder, reviews):
    shots = choose_shots(pool, k=3, seed=0)
    longest = max(map(len, replace(encoder, shots=shots).encode(reviews).examples))
    assert replace(encoder, shots=shots, context_length=longest).encode(reviews)
    with pytest.raises(EncodingError, match=f"the longest row has {longest} tokens .* at most {longest - 1}"):
        replace(encoder, shots=shots, context_length=longest - 1).encode(reviews)
