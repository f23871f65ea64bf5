"""Temperature and bias, held against a grid and against scikit-learn's logistic regression."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from kerastune.calibration import fit_scale_and_bias, fit_temperature, rescale
from kerastune.calibration.scaling import SCALE_BOUNDS
from tests.calibration.made import draw, scored_rows


@pytest.mark.parametrize(("n_labels", "temperature"), [(2, 0.4), (2, 2.5), (5, 0.5)])
def test_the_temperature_is_that_of_a_grid(n_labels, temperature):
    logs, labels = draw(3000, n_labels, seed=1, temperature=temperature)
    grid = np.geomspace(0.1, 10, 2001)
    losses = [log_loss(labels, np.exp(rescale(logs, scale, 0)), labels=range(n_labels)) for scale in grid]
    found = fit_temperature(logs, labels)
    assert found == pytest.approx(grid[np.argmin(losses)], rel=0.004)
    assert found == pytest.approx(temperature, rel=0.1)  # scores that were divided by it are multiplied


def test_scale_and_bias_are_those_of_a_logistic_regression():
    logs, labels = draw(3000, 2, seed=2, temperature=0.5, bias=[1.0, -0.5])
    scale, bias = fit_scale_and_bias(logs, labels)
    judge = LogisticRegression(C=1e9, tol=1e-10).fit((logs[:, 1] - logs[:, 0])[:, None], labels)
    assert scale == pytest.approx(judge.coef_[0, 0], rel=0.005)
    assert bias[1] - bias[0] == pytest.approx(judge.intercept_[0], abs=0.005)
    assert bias.sum() == pytest.approx(0, abs=1e-9)


def test_a_bias_of_each_of_four_labels_is_found_again():
    true = np.array([0.9, -0.6, 0.2, -0.5])
    logs, labels = draw(20000, 4, seed=3, temperature=0.5, bias=true)
    scale, bias = fit_scale_and_bias(logs, labels)
    assert scale == pytest.approx(0.5, rel=0.05)
    np.testing.assert_allclose(bias, true, atol=0.08)


@settings(deadline=None, max_examples=50)
@given(scored_rows())
def test_no_point_nearby_is_better(rows):
    logs, labels = rows
    scale, bias = fit_scale_and_bias(logs, labels)
    doubt = 1 / (len(labels) + 1)

    def loss(scale, bias):
        said = rescale(logs, scale, bias)
        return -(1 - doubt) * said[np.arange(len(labels)), labels].mean() - doubt * said.mean()

    best = loss(scale, bias)
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.1, 1.0):
        moved = np.clip(scale + size * rng.normal(), *SCALE_BOUNDS)
        assert loss(moved, bias + size * rng.normal(size=len(bias))) >= best - 1e-9
    if SCALE_BOUNDS[0] < scale < SCALE_BOUNDS[1]:
        shares = (1 - doubt) * np.bincount(labels, minlength=len(bias)) / len(labels) + doubt / len(bias)
        np.testing.assert_allclose(np.exp(rescale(logs, scale, bias)).mean(axis=0), shares, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(scored_rows())
def test_a_temperature_never_changes_the_likeliest_label(rows):
    logs, labels = rows
    scale = fit_temperature(logs, labels)
    assert SCALE_BOUNDS[0] <= scale <= SCALE_BOUNDS[1]
    np.testing.assert_array_equal(rescale(logs, scale, 0).argmax(axis=1), logs.argmax(axis=1))


@settings(deadline=None, max_examples=50)
@given(scored_rows(), st.floats(0.01, 100), st.lists(st.floats(-50, 50), min_size=4, max_size=4))
def test_rescaled_rows_sum_to_one(rows, scale, bias):
    said = rescale(rows[0], scale, bias[: rows[0].shape[1]])
    np.testing.assert_allclose(np.exp(said).sum(axis=1), 1)


def test_where_every_row_is_right_doubt_stays():
    logs = np.log([[0.6, 0.4], [0.3, 0.7]] * 50)
    labels = np.array([0, 1] * 50)
    scale, _ = fit_scale_and_bias(logs, labels)
    wrong = np.exp(rescale(logs, scale, 0)).min(axis=1)
    assert 1e-3 < wrong.mean() < 5e-2  # a hundred rows cannot say that none is ever wrong


def test_scores_worse_than_chance_are_not_turned_round():
    logs = np.log([[0.9, 0.1], [0.2, 0.8]] * 20)
    labels = np.array([1, 0] * 20)
    assert fit_temperature(logs, labels) == SCALE_BOUNDS[0]
    scale, bias = fit_scale_and_bias(logs, labels)
    assert scale == SCALE_BOUNDS[0]
    np.testing.assert_allclose(np.exp(rescale(logs, scale, bias)), 0.5, atol=0.01)
