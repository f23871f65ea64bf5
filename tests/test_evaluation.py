"""Metrics against scikit-learn and against published numbers."""

import json

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from kerastune.errors import DataError
from kerastune.evaluation import evaluate, evaluate_predictions, wilson_interval


@pytest.mark.parametrize("n_labels", [2, 4])
def test_against_scikit_learn(n_labels):
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(n_labels), size=200)
    labels = generator.integers(n_labels, size=200)
    predicted = probabilities.argmax(axis=1)
    metrics = evaluate(probabilities, labels)
    assert metrics.rows == 200
    assert metrics.accuracy == sklearn.metrics.accuracy_score(labels, predicted)
    assert metrics.macro_f1 == pytest.approx(sklearn.metrics.f1_score(labels, predicted, average="macro"))
    assert metrics.log_loss == pytest.approx(sklearn.metrics.log_loss(labels, probabilities))
    assert np.array_equal(metrics.confusion, sklearn.metrics.confusion_matrix(labels, predicted))
    assert metrics.label_counts == tuple((labels == label).sum() for label in range(n_labels))
    assert metrics.interval == wilson_interval((labels == predicted).sum(), 200)
    assert metrics.invalid_rate is None


def test_a_label_that_does_not_occur_has_no_f1():
    metrics = evaluate(np.eye(3)[[0, 0, 1]], [0, 1, 1])
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert metrics.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 0))


def test_log_loss_of_certainty_in_the_wrong_is_finite():
    assert evaluate([[1.0, 0.0]], [1]).log_loss == pytest.approx(36.04, abs=0.01)


def test_invalid_answers_are_wrong_and_in_no_column():
    metrics = evaluate_predictions([0, -1, 1, -1, 0], [0, 0, 1, 1, 1], 2)
    assert (metrics.rows, metrics.accuracy, metrics.invalid_rate) == (5, 0.4, 0.4)
    assert metrics.confusion == ((1, 0), (1, 1))
    assert metrics.label_counts == (2, 3)
    assert metrics.macro_f1 == pytest.approx((1 / 2 + 2 * (1 * 1 / 3) / (1 + 1 / 3)) / 2)
    assert metrics.log_loss is None


def test_nothing_but_invalid_answers():
    metrics = evaluate_predictions([-1, -1], [0, 1], 2)
    assert (metrics.accuracy, metrics.macro_f1, metrics.invalid_rate) == (0.0, 0.0, 1.0)


def test_as_dict_goes_through_json():
    saved = evaluate([[0.8, 0.2], [0.4, 0.6]], [0, 0]).as_dict()
    assert json.loads(json.dumps(saved, allow_nan=False)) == saved
    assert saved["confusion"] == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_as_published(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_are_1_96_standard_errors_away(trial):
    successes, n = trial
    for bound in wilson_interval(successes, n):
        # the definition, unsolved; no division, so that bounds of 0 and 1 hold as well
        assert (successes / n - bound) ** 2 == pytest.approx(
            1.96**2 * bound * (1 - bound) / n, rel=1e-3, abs=1e-12
        )


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (
            [[0.5, 0.5], [np.nan, 0.5]],
            [0, 1],
            "probabilities of row 2: expected numbers from 0 that sum to 1",
        ),
        ([[0.5, 0.6]], [0], "probabilities of row 1"),
        ([[-0.5, 1.5]], [0], "probabilities of row 1"),
        ([0.5, 0.5], [0, 1], r"expected the shape \[rows, labels\], received \[2\]"),
        ([[0.5, 0.5]], [0, 1], "expected one for each of 1 predictions"),
        (np.zeros((0, 2)), [], "one row at least"),
        ([[0.5, 0.5]], [2], "labels: expected whole numbers from 0 to 1"),
        ([[0.5, 0.5]], [-1], "labels: expected whole numbers from 0 to 1"),
        ([[0.5, 0.5]], [1.0], "labels: expected whole numbers"),
    ],
)
def test_what_is_no_probability_is_refused(probabilities, labels, message):
    with pytest.raises(DataError, match=message):
        evaluate(probabilities, labels)


@pytest.mark.parametrize("predicted", [[0, 2], [0, -2], [0.0, 1.0]])
def test_what_is_no_prediction_is_refused(predicted):
    with pytest.raises(DataError, match="predicted: expected whole numbers from -1 to 1"):
        evaluate_predictions(predicted, [0, 1], 2)
