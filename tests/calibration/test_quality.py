"""Calibration error, Brier score and reliability bins beside scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn import metrics
from sklearn.calibration import calibration_curve

from kerastune.calibration import (
    brier_score,
    expected_calibration_error,
    measure_quality,
    reliability_bins,
)
from tests.calibration.made import draw, scored_rows


def test_bins_are_those_of_scikit_learn():
    logs, labels = draw(500, 3, seed=4, temperature=0.5)
    shares = np.exp(logs)
    right = shares.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(right, shares.max(axis=1), n_bins=15)
    found = [one for one in reliability_bins(shares, labels) if one.rows]
    np.testing.assert_allclose([one.accuracy for one in found], accuracy)
    np.testing.assert_allclose([one.confidence for one in found], confidence)
    assert sum(one.rows for one in found) == 500
    rows = np.array([one.rows for one in found])
    expected = (rows * np.abs(accuracy - confidence)).sum() / 500
    assert expected_calibration_error(shares, labels) == pytest.approx(expected)


def test_an_edge_is_of_the_bin_below_it_and_empty_bins_say_nothing():
    bins = reliability_bins([[0.8, 0.2], [0.0, 1.0]], [0, 1], bins=5)
    assert [one.rows for one in bins] == [0, 0, 0, 1, 1]
    assert (bins[0].confidence, bins[0].accuracy) == (None, None)
    assert (bins[4].low, bins[4].high) == (0.8, 1.0)


@settings(deadline=None, max_examples=50)
@given(scored_rows())
def test_brier_log_loss_accuracy_and_f1_are_scikit_learns(rows):
    logs, labels = rows
    n_labels = logs.shape[1]
    shares, predicted = np.exp(logs), logs.argmax(axis=1)
    found = measure_quality(logs, labels)
    assert found.brier == brier_score(shares, labels)
    if n_labels == 2:
        assert found.brier == pytest.approx(metrics.brier_score_loss(labels, shares[:, 1]))
    else:
        assert found.brier == pytest.approx(((shares - np.eye(n_labels)[labels]) ** 2).sum(axis=1).mean())
    assert found.log_loss == pytest.approx(
        -np.log(np.clip(shares[range(len(labels)), labels], 1e-300, 1)).mean()
    )
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert 0 <= found.ece <= 1


@settings(deadline=None, max_examples=50)
@given(scored_rows())
def test_a_row_of_weight_two_is_two_rows(rows):
    logs, labels = rows
    weights = np.arange(len(labels)) % 3
    weights[:2] = 1
    twice = np.repeat(np.arange(len(labels)), weights)
    offsets = np.linspace(0, 1, logs.shape[1])
    weighted = measure_quality(logs, labels, offsets, weights)
    repeated = measure_quality(logs[twice], labels[twice], offsets)
    for name in ("log_loss", "ece", "brier", "accuracy", "macro_f1"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name))
