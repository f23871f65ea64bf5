"""The project's own texts to generate: well-formed rows, enough of them, and no two alike."""

import functools
import json
import re

import pytest

from tests.data_rows import DATA, near_pairs, plain_lines

KEYS = {
    "qa": ["id", "context", "question"],
    "chat": ["id", "messages"],
    "preference": ["id", "prompt", "chosen", "rejected", "chosen_score", "rejected_score"],
}
AT_LEAST = {"train": 150, "test": 30}
ID_PREFIX = {
    ("qa", "train"): "q", ("qa", "test"): "x",
    ("chat", "train"): "m", ("chat", "test"): "n",
    ("preference", "train"): "p", ("preference", "test"): "r",
}  # fmt: skip

each_set = pytest.mark.parametrize("name", KEYS)
each_file = pytest.mark.parametrize(("name", "split"), ID_PREFIX)


@functools.cache
def rows_of(name, *splits):
    """Rows of the set's given files, of all its files where none is given."""
    paths = [DATA / name / f"{split}.jsonl" for split in splits or AT_LEAST]
    return [json.loads(line) for path in paths for line in plain_lines(path)]


def texts(row):
    """Every text of a row, its id and the roles left out."""
    if "messages" in row:
        return [message["content"] for message in row["messages"]]
    return [value for key, value in row.items() if key != "id" and not key.endswith("_score")]


def roles(row):
    return [message["role"] for message in row["messages"]]


@each_file
def test_a_line_is_one_plain_json_object(name, split):
    for line in plain_lines(DATA / name / f"{split}.jsonl"):
        row = json.loads(line)
        assert list(row) == KEYS[name]
        assert json.dumps(row, ensure_ascii=False) == line


@each_file
def test_size_and_ids(name, split):
    ids = [row["id"] for row in rows_of(name, split)]
    assert len(ids) >= AT_LEAST[split]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(ID_PREFIX[name, split] + r"\d{4}", row_id) for row_id in ids)


@each_set
def test_texts_are_korean_and_none_is_empty(name):
    for row in rows_of(name):
        assert all(isinstance(text, str) and text and text == text.strip() for text in texts(row)), row["id"]
        assert re.search("[가-힣]", " ".join(texts(row))), row["id"]


@each_set
def test_no_row_is_there_twice_in_or_across_files(name):
    joined = [" ".join(" ".join(texts(row)).split()) for row in rows_of(name)]
    assert len(set(joined)) == len(joined)


@each_set
def test_no_two_rows_are_near_copies(name):
    assert near_pairs(["\n".join(texts(row)) for row in rows_of(name)], 0.6) == []


@pytest.mark.parametrize(("name", "key"), [("qa", "context"), ("qa", "question")])
def test_no_two_contexts_or_questions_are_near_copies(name, key):
    assert near_pairs([row[key] for row in rows_of(name)], 0.6) == []


def test_no_two_requests_are_near_copies_in_or_across_dialogues_and_preferences():
    """Preferences are trained on top of dialogues, so neither set may hold what the other holds out."""
    requests = [next(m["content"] for m in row["messages"] if m["role"] == "user") for row in rows_of("chat")]
    requests += [row["prompt"] for row in rows_of("preference")]
    assert near_pairs(requests, 0.6) == []


def test_a_context_is_a_short_argument_and_its_question_is_one():
    for row in rows_of("qa"):
        assert 60 <= len(row["context"]) <= 220, row["id"]
        assert row["question"].endswith("?"), row["id"]
        assert row["question"].count("?") == 1, row["id"]


def test_roles_alternate_after_an_optional_system_message_and_end_with_the_assistant():
    for row in rows_of("chat"):
        assert all(list(message) == ["role", "content"] for message in row["messages"]), row["id"]
        turns = roles(row)[1:] if roles(row)[0] == "system" else roles(row)
        assert turns, row["id"]
        assert turns == ["user", "assistant"] * (len(turns) // 2), row["id"]


@pytest.mark.parametrize("split", AT_LEAST)
def test_some_dialogues_have_several_turns_and_some_a_system_message(split):
    dialogues = rows_of("chat", split)
    several_turns = [row for row in dialogues if roles(row).count("user") > 1]
    with_system = [row for row in dialogues if roles(row)[0] == "system"]
    assert len(several_turns) >= len(dialogues) / 5
    assert len(with_system) >= len(dialogues) / 10


def test_the_chosen_answer_is_another_one_and_has_the_higher_score():
    for row in rows_of("preference"):
        scores = row["chosen_score"], row["rejected_score"]
        assert row["chosen"] != row["rejected"], row["id"]
        assert all(type(score) is int and 1 <= score <= 10 for score in scores), row["id"]
        assert row["chosen_score"] > row["rejected_score"], row["id"]


@pytest.mark.parametrize("split", AT_LEAST)
def test_length_does_not_tell_the_chosen_answer(split):
    longer = [len(row["chosen"]) > len(row["rejected"]) for row in rows_of("preference", split)]
    assert 0.35 <= sum(longer) / len(longer) <= 0.65
