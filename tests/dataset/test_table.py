"""Labels, splits and the data report."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerastune.dataset import read_dataset, report_data, require_classes
from kerastune.dataset.data_report import Lengths
from kerastune.errors import ConfigError, DataError
from kerastune.task import SubmissionSchema, get_task

REVIEWS = get_task("review-sentiment")


def dataset(labels, comments=None, task=REVIEWS):
    comments = comments or [f"평 {number}" for number in range(len(labels))]
    return read_dataset(pd.DataFrame({"comment": comments, "label": labels}), task)


@pytest.mark.parametrize(
    "column",
    [[1, 0, 1], ["1", "0", "1"], [1.0, 0.0, 1.0], ["1.0", "0", "1.000"], pd.array([1, 0, 1], "Int64")],
)
def test_whole_numbers_are_labels_however_they_are_held(column):
    labels = dataset(column).labels
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 1]


def test_labels_are_indices_into_the_tasks_labels():
    shifted = replace(REVIEWS, labels=(1, 0), aliases={"positive": 1, "부정": 0})
    assert dataset([1, 0, "positive", "부정"], task=shifted).labels.tolist() == [0, 1, 0, 1]
    named = replace(REVIEWS, labels=("bad", "good"), submission=SubmissionSchema())
    assert dataset(["good", "bad"], task=named).labels.tolist() == [1, 0]
    with pytest.raises(DataError, match=r"expected one of bad, good, received 1 \(int\)"):
        dataset([1], task=named)


def test_take_keeps_rows_together():
    data = dataset([1, 0, 1]).take([2, 0])
    assert (data.ids, data.texts, data.labels.tolist()) == (("3", "1"), ("평 2", "평 0"), [1, 1])
    assert data.where(0) == "the frame, row 3"
    assert data.frame.index.tolist() == [0, 1]


def test_texts_join_several_fields():
    task = replace(REVIEWS, slots={"context": "menu", "comment": "comment"})
    data = read_dataset(pd.DataFrame({"comment": ["짜요"], "menu": ["국밥"]}), task, labelled=False)
    assert data.texts == ("국밥\n짜요",)
    assert list(data.rows()) == [{"menu": "국밥", "comment": "짜요"}]


class_sizes = st.tuples(st.integers(5, 40), st.integers(5, 40))


@given(class_sizes, st.floats(0.05, 0.95), st.integers(0, 99))
def test_split_is_a_stratified_partition(sizes, fraction, seed):
    data = dataset([0] * sizes[0] + [1] * sizes[1])
    train, validation = data.split(fraction, seed)
    assert sorted(train.ids + validation.ids, key=int) == list(data.ids)
    assert list(validation.ids) == sorted(validation.ids, key=int)
    for label, size in enumerate(sizes):
        held_out = int((validation.labels == label).sum())
        assert abs(held_out - fraction * size) <= 1
        assert 1 <= held_out < size
    assert data.split(fraction, seed)[1].ids == validation.ids


@given(class_sizes, st.integers(2, 5), st.integers(0, 99))
def test_folds_are_a_stratified_partition(sizes, k, seed):
    data = dataset([0] * sizes[0] + [1] * sizes[1])
    parts = list(data.folds(k, seed))
    assert sorted((name for _, fold in parts for name in fold.ids), key=int) == list(data.ids)
    for train, fold in parts:
        assert set(train.ids) == set(data.ids) - set(fold.ids)
        for label, size in enumerate(sizes):
            assert (fold.labels == label).sum() in (size // k, -(-size // k))
    assert max(len(fold) for _, fold in parts) - min(len(fold) for _, fold in parts) <= 1


def test_seeds_differ():
    data = dataset([0, 1] * 50)
    assert data.split(seed=0)[1].ids != data.split(seed=1)[1].ids


def test_splits_refuse_what_cannot_be_shared_out():
    with pytest.raises(
        DataError, match="label 1 has too few rows to share out: expected 2 or more, received 1"
    ):
        dataset([0, 0, 1]).split()
    with pytest.raises(
        DataError, match="label 0 has too few rows to share out: expected 5 or more, received 3"
    ):
        list(dataset([0] * 3 + [1] * 9).folds())
    with pytest.raises(ConfigError, match=r"fraction: expected a number between 0 and 1, received 1\.0"):
        dataset([0, 1]).split(1.0)
    with pytest.raises(ConfigError, match="k: expected 2 folds or more, received 1"):
        list(dataset([0, 1]).folds(1))
    with pytest.raises(DataError, match="the labels were not read; read the table with labelled=True"):
        read_dataset(pd.DataFrame({"comment": ["a", "b"]}), labelled=False).split()


def test_one_class_only_is_refused_by_name():
    require_classes(dataset([0, 1]))
    with pytest.raises(
        DataError, match="all 3 rows have the label 1; training needs rows of at least two of 0, 1"
    ):
        require_classes(dataset([1, 1, 1]))


def test_report_counts():
    train = dataset([1, 0, 1, 0, 1], ["좋아요", "좋아요", "좋아요", "Bad  food", "한 글자 더"])
    test = read_dataset(pd.DataFrame({"comment": [" bad food", "처음 봐요", "좋아요"]}), labelled=False)
    report = report_data(
        train, test, count_tokens=lambda texts: [len(text) * 2 for text in texts], max_length=12
    )
    assert report.train.rows == 5
    assert report.train.label_counts == {0: 2, 1: 3}
    assert report.train.duplicate_rows == 2
    assert report.train.conflicting_texts == 1
    assert report.train.characters == Lengths(shortest=3, median=3, p90=9, p99=9, longest=9)
    assert report.train.tokens == Lengths(shortest=6, median=6, p90=18, p99=18, longest=18)
    assert report.train.truncated_rows == 1
    assert report.train.encoding == "str"
    assert report.overlap_rows == 2
    assert report.test.label_counts is None
    assert report.test.conflicting_texts is None


def test_report_without_tokens_or_test_and_what_it_shows():
    from rich.console import Console

    console = Console(width=120, record=True)
    report = report_data(dataset([1, 0], ["같아요", "같아요"]))
    assert (report.train.tokens, report.train.truncated_rows, report.test, report.overlap_rows) == (None,) * 4
    console.print(report.render())
    shown = {
        tuple(part.strip() for part in line.split("│")[1:3]) for line in console.export_text().splitlines()
    }
    assert ("labels", "0: 1, 1: 1") in shown
    assert ("texts with two labels", "1") in shown
    assert not any("tokens" in line[0] for line in shown if line)
