"""The project's own reviews: enough of them, balanced, and no two alike."""

import pytest

from kerastune.dataset import Dataset, read_dataset
from tests.data_rows import DATA, near_pairs, plain_lines

REVIEWS = DATA / "reviews"
AT_LEAST = {"train": 400, "more": 400, "validation": 200, "test": 200, "challenge": 80}


@pytest.fixture(scope="module")
def tables() -> dict[str, Dataset]:
    return {name: read_dataset(REVIEWS / f"{name}.tsv") for name in AT_LEAST}


@pytest.mark.parametrize("name", AT_LEAST)
def test_bytes_are_plain(name):
    assert all(line.count("\t") == 2 for line in plain_lines(REVIEWS / f"{name}.tsv"))


@pytest.mark.parametrize("name", AT_LEAST)
def test_columns_size_and_balance(tables, name):
    data = tables[name]
    assert list(data.frame) == ["id", "comment", "label"]
    assert not data.ids_generated
    assert len(data) >= AT_LEAST[name]
    assert set(data.frame["label"]) == {"0", "1"}
    assert 0.45 <= data.labels.mean() <= 0.55
    assert all(text == text.strip() for text in data.texts)


def test_no_comment_is_there_twice_in_or_across_files(tables):
    comments = [" ".join(text.split()) for data in tables.values() for text in data.texts]
    assert len(set(comments)) == len(comments)


def test_no_two_comments_are_near_copies(tables):
    assert near_pairs([text for data in tables.values() for text in data.texts], 0.6) == []


def test_near_copies_would_be_found():
    texts = ["국물이 진하고 고기가 많아요", "국물이 진하고 고기가 많네요", "배달이 너무 늦었습니다"]
    assert near_pairs(texts, 0.6) == [(texts[0], texts[1])]


def test_sample_submission_is_the_test_file_with_placeholders(tables):
    sample = read_dataset(REVIEWS / "sample_submission.tsv")
    assert sample.ids == tables["test"].ids
    assert sample.texts == tables["test"].texts
    assert set(sample.frame["label"]) == {"0"}
