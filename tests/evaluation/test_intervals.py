"""Bootstrap intervals against scikit-learn with weights, exact distributions and theory."""

import tracemalloc

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from kerastune.evaluation import RESAMPLES, evaluate, evaluate_predictions
from kerastune.evaluation.ranking import RocAuc
from kerastune.evaluation.tally import count_tally, macro_f1, matthews

NAMES = {"accuracy", "macro_f1", "mcc", "roc_auc", "log_loss"}


def draw(rows, labels, seed=0):
    """Probabilities that say something about the truth, with ties."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(labels, size=rows)
    scores = generator.normal(size=(rows, labels)).round(1)
    scores[np.arange(rows), truth] += 0.7
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("labels", [2, 4])
def test_values_are_scikit_learns(labels):
    probabilities, truth = draw(150, labels)
    metrics = evaluate(probabilities, truth)
    given = probabilities[:, 1] if labels == 2 else probabilities
    assert metrics.roc_auc == pytest.approx(sklearn.metrics.roc_auc_score(truth, given, multi_class="ovr"))
    assert metrics.mcc == pytest.approx(sklearn.metrics.matthews_corrcoef(truth, probabilities.argmax(1)))


@pytest.mark.parametrize("labels", [2, 3])
def test_a_resample_is_a_weighting(labels):
    probabilities, truth = draw(40, labels)
    weights = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), size=20).astype(float)
    given = probabilities[:, 1] if labels == 2 else probabilities
    areas = [
        sklearn.metrics.roc_auc_score(truth, given, sample_weight=row, multi_class="ovr") for row in weights
    ]
    np.testing.assert_allclose(RocAuc(probabilities, truth).areas(weights), areas)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=12).map(
        np.array
    )
)
def test_the_area_counts_pairs(rows):
    scores, truth, weights = rows.T
    pairs = [
        (wp * wn, 1.0 if p > n else 0.5 if p == n else 0.0)
        for p, wp in zip(scores[truth == 1], weights[truth == 1], strict=True)
        for n, wn in zip(scores[truth == 0], weights[truth == 0], strict=True)
    ]
    total = sum(weight for weight, _ in pairs)
    expected = sum(weight * win for weight, win in pairs) / total if total else np.nan
    ranking = RocAuc(np.column_stack([1 - scores / 3, scores / 3]), truth)
    assert ranking.areas(weights[None].astype(float))[0] == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), min_size=1, max_size=30).map(np.array))
def test_many_tallies_at_once_are_scikit_learns(pairs):
    truth, predicted = pairs.T
    tallies = np.stack([count_tally(truth, predicted, 3), count_tally(truth[:1], predicted[:1], 3)])
    for place, rows in enumerate([slice(None), slice(1)]):
        y, found = truth[rows], predicted[rows]
        occurring = np.union1d(y, found[found >= 0])
        f1 = sklearn.metrics.f1_score(y, found, labels=occurring, average="macro", zero_division=0.0)
        assert macro_f1(tallies)[place] == pytest.approx(f1)
        mcc = sklearn.metrics.matthews_corrcoef(y, found) if len(set(y)) > 1 else np.nan
        assert matthews(tallies)[place] == pytest.approx(mcc, nan_ok=True, abs=1e-12)


def test_the_accuracys_interval_is_that_of_the_binomial_distribution():
    truth = np.zeros(400, int)
    predicted = np.repeat([0, 1], [300, 100])
    low, high = evaluate_predictions(predicted, truth, 2, resamples=20000).intervals["accuracy"]
    assert (low, high) == pytest.approx(scipy.stats.binom.ppf([0.025, 0.975], 400, 0.75) / 400, abs=0.004)


def test_the_log_losss_interval_is_that_of_the_central_limit():
    probabilities, truth = draw(3000, 2)
    losses = -np.log(probabilities[np.arange(3000), truth])
    half = 1.96 * losses.std() / np.sqrt(3000)
    found = evaluate(probabilities, truth, resamples=RESAMPLES).intervals["log_loss"]
    assert found == pytest.approx((losses.mean() - half, losses.mean() + half), abs=0.15 * half)


def test_the_areas_interval_is_that_of_hanley_and_mcneil():
    """Two exponential scores, for which their formula of the standard error (1982, p. 33) is exact."""
    generator = np.random.default_rng(3)
    truth = np.repeat([0, 1], 1000)
    scores = generator.exponential(np.where(truth, 3.0, 1.0))
    scores = scores / (1 + scores)
    found = evaluate(np.column_stack([1 - scores, scores]), truth, resamples=RESAMPLES)
    area = found.roc_auc
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    error = np.sqrt((area * (1 - area) + 999 * (q1 - area**2) + 999 * (q2 - area**2)) / 1000**2)
    assert found.intervals["roc_auc"] == pytest.approx((area - 1.96 * error, area + 1.96 * error), abs=0.004)


def test_one_seed_one_interval():
    probabilities, truth = draw(60, 2)
    first, again, other = (evaluate(probabilities, truth, resamples=50, seed=seed) for seed in (0, 0, 1))
    assert set(first.intervals) == NAMES
    assert first.intervals == again.intervals != other.intervals
    assert evaluate(probabilities, truth).intervals == {}
    for name, (low, high) in first.intervals.items():
        assert low < getattr(first, name) < high


def test_memory_does_not_grow_with_the_resamples():
    probabilities, truth = draw(50_000, 2)
    tracemalloc.start()
    evaluate(probabilities, truth, resamples=100)  # as one table 40 MB, and as much again for each step
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6


def test_a_single_class_has_neither_area_nor_correlation():
    metrics = evaluate([[0.8, 0.2], [0.4, 0.6]], [0, 0], resamples=20)
    assert (metrics.mcc, metrics.roc_auc, metrics.accuracy) == (None, None, 0.5)
    assert metrics.intervals["mcc"] is metrics.intervals["roc_auc"] is None
    assert metrics.as_dict()["intervals"]["roc_auc"] is None
    assert metrics.intervals["log_loss"] == pytest.approx((-np.log(0.8), -np.log(0.4)))


def test_a_resample_without_a_class_is_left_out():
    found = evaluate([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]], [0, 0, 1], resamples=200)
    assert found.intervals["roc_auc"] == (1.0, 1.0)  # a third of the resamples have no row of label 1


def test_a_constant_answer_correlates_with_nothing():
    assert evaluate([[0.7, 0.3]] * 4, [0, 1, 0, 1]).mcc == 0.0
    assert evaluate([[0.7, 0.3]] * 4, [0, 1, 0, 1]).roc_auc == 0.5


def test_generated_answers_have_no_probabilities():
    metrics = evaluate_predictions([0, -1, 1, 1], [0, 0, 1, 0], 2, resamples=30)
    assert (metrics.roc_auc, metrics.log_loss) == (None, None)
    assert metrics.mcc == pytest.approx(sklearn.metrics.matthews_corrcoef([0, 0, 1, 0], [0, -1, 1, 1]))
    assert set(metrics.intervals) == NAMES


def test_a_threshold_decides_instead_of_the_likeliest_label():
    probabilities, truth = [[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]], [0, 1, 1]
    tuned = evaluate(probabilities, truth, predicted=[0, 1, 1])
    assert (tuned.accuracy, tuned.confusion) == (1.0, ((1, 0), (0, 2)))
    plain = evaluate(probabilities, truth)
    assert plain.accuracy == pytest.approx(2 / 3)
    assert (tuned.log_loss, tuned.roc_auc) == (plain.log_loss, plain.roc_auc)
