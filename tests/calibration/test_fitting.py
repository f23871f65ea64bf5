"""Which methods are fitted, in which order, and what is refused."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from kerastune.calibration import batch_bias, contextual_bias, fit_calibration, rescale
from kerastune.errors import ConfigError, DataError
from tests.calibration.made import draw


def test_a_bias_where_the_rarest_label_has_rows_enough():
    logs, labels = draw(400, 2, seed=8, temperature=0.4, bias=[0.0, 1.0])
    fit = fit_calibration(logs, labels)
    assert fit.methods == ("bias",)
    rarest = np.bincount(labels).min()
    assert f"the rarest label has {rarest} rows, enough for a bias of each label" in fit.reason
    rare = np.r_[np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:19]]
    fit = fit_calibration(logs[rare], labels[rare])
    assert fit.methods == ("temperature",)
    assert fit.reason.startswith("the rarest label has 19 rows, fewer than the 20 that")
    assert not fit.bias.any()


def test_calibration_holds_on_other_rows():
    logs, labels = draw(1000, 3, seed=9, temperature=0.4, bias=[0.0, 1.0, -0.5])
    others, truth = draw(4000, 3, seed=10, temperature=0.4, bias=[0.0, 1.0, -0.5])
    fit = fit_calibration(logs, labels)
    assert fit.after.log_loss < fit.before.log_loss
    again = fit_calibration(rescale(others, fit.scale, fit.bias), truth)
    assert again.before.ece < 0.03 < 0.1 < fit.before.ece
    assert again.before.brier < fit.before.brier


def test_methods_compose():
    logs, labels = draw(300, 2, seed=11, temperature=0.5)
    content_free = np.log([[0.3, 0.7], [0.4, 0.6]])
    fit = fit_calibration(logs, labels, ["temperature", "contextual"], content_free=content_free)
    assert fit.methods == ("contextual", "temperature")
    first = rescale(logs, 1.0, contextual_bias(content_free))
    second = fit_calibration(first, labels, ["temperature"])
    np.testing.assert_allclose(
        rescale(logs, fit.scale, fit.bias), rescale(first, second.scale, second.bias), atol=1e-9
    )
    others, _ = draw(50, 2, seed=12)
    fit = fit_calibration(logs, None, ["batch"], unlabelled=others)
    np.testing.assert_allclose(fit.bias, batch_bias(others))
    assert (fit.before, fit.after, fit.scale) == (None, None, 1.0)


def test_prior_counts_rows_as_if_the_labels_had_those_shares():
    logs, labels = draw(4000, 2, seed=13, bias=[0.0, 0.8])
    fit = fit_calibration(logs, labels, ["bias", "prior"], priors=(0.9, 0.1), tune_threshold=False)
    said = rescale(logs, fit.scale, fit.bias)
    shares = np.bincount(labels) / len(labels)
    weights = (np.array([0.9, 0.1]) / shares)[labels]
    truth = np.arange(len(labels)), labels
    assert fit.after.log_loss == pytest.approx(-np.average(said[truth], weights=weights))
    assert fit.after.log_loss < fit.before.log_loss
    np.testing.assert_allclose(np.average(np.exp(said), axis=0, weights=weights), [0.9, 0.1], atol=0.01)
    rng = np.random.default_rng(14)
    chosen = rng.choice(len(labels), 4000, p=weights / weights.sum())
    found = fit_calibration(logs, labels, ["bias", "prior"], priors="em", unlabelled=logs[chosen])
    np.testing.assert_allclose(found.bias, fit.bias, atol=0.2)


def test_a_threshold_is_kept_where_it_clearly_gains():
    logs, labels = draw(1500, 2, seed=15, bias=[0.0, 2.0])
    fit = fit_calibration(logs, labels, ["temperature"], metric="macro_f1")
    plain = fit_calibration(logs, labels, ["temperature"], metric="macro_f1", tune_threshold=False)
    assert fit.decision_offsets[1] > 0.5
    assert not plain.decision_offsets.any()
    decided = (rescale(logs, fit.scale, fit.bias) + fit.decision_offsets).argmax(axis=1)
    assert fit.after.macro_f1 == pytest.approx(f1_score(labels, decided, average="macro"))
    assert fit.after.macro_f1 > plain.after.macro_f1 + 0.02
    assert fit.after.ece == plain.after.ece  # the decision is beside the probabilities


def test_a_threshold_that_gains_little_is_not_kept():
    logs, labels = draw(100, 2, seed=16)
    fit = fit_calibration(logs, labels)
    assert not fit.decision_offsets.any()
    assert "too little to be trusted: the likeliest label is predicted" in fit.reason


LOGS = np.log([[0.6, 0.4], [0.3, 0.7]])


@pytest.mark.parametrize(
    ("labels", "options", "error", "said"),
    [
        ([0, 0], {}, DataError, "all 2 rows have one label; calibration needs rows of two labels or more"),
        ([0, 1], {"methods": ["platt"]}, ConfigError, "methods: expected 'contextual' or 'batch' or 'temp"),
        ([0, 1], {"methods": []}, ConfigError, "'prior', received none"),
        ([0, 1], {"methods": ["bias", "temperature"]}, ConfigError, "one of 'bias' and 'temperature', rec"),
        ([0, 1], {"methods": ["bias", "bias"]}, ConfigError, "one of 'bias' and 'bias', received both"),
        ([0, 1], {"methods": ["prior"], "priors": "em"}, ConfigError, "'em' estimates the label shares of"),
        ([0, 1], {"methods": ["contextual"]}, ConfigError, "'contextual' needs the scores of content-free"),
        (None, {}, ConfigError, "cannot say how sure to be; expected 'contextual' or 'batch'"),
        (None, {"methods": ["bias"]}, ConfigError, "'bias' needs rows with labels"),
    ],
)  # fmt: skip
def test_what_is_refused(labels, options, error, said):
    with pytest.raises(error) as caught:
        fit_calibration(LOGS, None if labels is None else np.array(labels), **options)
    assert said in str(caught.value)


def test_a_label_without_rows_has_no_bias_but_a_temperature():
    logs, labels = draw(300, 3, seed=17)
    there = labels != 2
    with pytest.raises(DataError, match="no row has label number 3 of 3; bias and prior need rows of every"):
        fit_calibration(logs[there], labels[there], ["bias"])
    assert fit_calibration(logs[there], labels[there]).methods == ("temperature",)


def test_scores_that_are_no_numbers():
    with pytest.raises(DataError, match=r"row 2: expected finite numbers, received \[nan, 0\.0\]"):
        fit_calibration(np.array([[-0.7, -0.7], [np.nan, 0.0]]), np.array([0, 1]))
