"""The real Gemma 3 270M on the project's own reviews, small enough for a minute or two."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kerastune as kt

REVIEWS = Path(__file__).parent.parent / "data" / "reviews"
pytestmark = pytest.mark.real_model


@pytest.fixture(scope="module")
def test_rows():
    return kt.read_dataset(REVIEWS / "test.tsv").take(range(80))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rows = kt.read_dataset(REVIEWS / "train.tsv").take(range(160))
    folder = tmp_path_factory.mktemp("runs") / "real"
    return kt.train(
        rows, out=folder, rank=4, targets=("query", "value"), learning_rate=1e-3, epochs=1, show=False
    )


def test_a_few_rows_beat_chance_by_far(run, test_rows):
    # 80 rows: an accuracy of 0.7 is over three standard errors from the majority's 0.5.
    assert run.evaluate(test_rows, show=False).accuracy >= 0.7


def test_the_adapter_from_disk_scores_the_same(run, test_rows):
    again = kt.Run.load(run.folder)
    np.testing.assert_allclose(
        again.score(test_rows, show=False).probabilities,
        run.score(test_rows, show=False).probabilities,
        atol=1e-5,
    )


def test_the_submission_is_read_back_in_order_by_pandas(run, test_rows, tmp_path):
    scores = run.score(test_rows, show=False)
    path = run.write_submission(scores, test_rows, tmp_path / "submission.tsv")
    read = pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, dtype=str, keep_default_na=False)
    assert list(read.columns) == ["id", "comment", "label"]
    assert read["id"].tolist() == list(test_rows.ids)
    assert read["label"].tolist() == [str(label) for label in scores.predicted_labels]
