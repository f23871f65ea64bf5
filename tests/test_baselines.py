"""Baselines on tables small enough to know the answers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kerastune.baselines import baseline_metrics, majority_baseline, tfidf_baseline
from kerastune.dataset import read_dataset
from kerastune.errors import DataError
from kerastune.task import get_task


def table(comments, labels, task="review-sentiment"):
    return read_dataset(pd.DataFrame({"comment": comments, "label": labels}), task)


def test_majority_is_that_of_the_training_rows():
    train, test = table(["가", "나", "다", "라"], [1, 1, 1, 0]), table(["마", "바", "사"], [0, 0, 1])
    metrics = baseline_metrics(train, test)["majority"]
    assert majority_baseline(train, test) == metrics.accuracy == pytest.approx(1 / 3)
    assert metrics.confusion == ((0, 2), (0, 1))
    assert metrics.log_loss == pytest.approx(-(2 * np.log(1 / 4) + np.log(3 / 4)) / 3)


def test_tfidf_learns_the_telling_characters():
    train = table(
        ["맛있어요 최고", "최고예요", "또 올게요 최고", "별로예요", "맛없고 별로", "별로 안 가요"],
        [1, 1, 1, 0, 0, 0],
    )
    test = table(["여기 최고네", "정말 별로네", "역시 최고임"], [1, 0, 1])
    metrics = baseline_metrics(train, test)["tfidf"]
    assert metrics.accuracy == 1.0
    assert metrics.log_loss < np.log(2)


def test_tfidf_is_the_same_every_time(reviews):
    first, second = (tfidf_baseline(reviews).predict_proba(reviews.texts) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_label_without_training_rows_has_probability_zero():
    task = replace(
        get_task("review-sentiment"), labels=(0, 1, 2), verbalizers={"v": ("a", "b", "c")}, verbalizer="v"
    )
    metrics = baseline_metrics(
        table(["최고", "별로"], [2, 0], task), table(["최고야", "그냥", "별로야"], [2, 1, 0], task)
    )
    for name in ("majority", "tfidf"):
        assert len(metrics[name].confusion) == 3
        assert [row[1] for row in metrics[name].confusion] == [0, 0, 0]
    assert metrics["tfidf"].accuracy == pytest.approx(2 / 3)


def test_one_label_is_nothing_to_learn():
    with pytest.raises(DataError, match="all 2 rows have the label 1"):
        tfidf_baseline(table(["가", "나"], [1, 1]))


@pytest.mark.parametrize("unlabelled", ["train", "test"])
def test_labels_are_needed(reviews, unlabelled):
    tables = {"train": reviews, "test": reviews} | {unlabelled: replace(reviews, labels=None)}
    with pytest.raises(DataError, match="labels were not read"):
        baseline_metrics(**tables)
