"""Prior correction, and the calibrations that look at no label."""

import numpy as np
import pytest
from hypothesis import given, settings

from kerastune.calibration import (
    CONTENT_FREE,
    batch_bias,
    content_free_rows,
    contextual_bias,
    estimate_priors,
    parse_priors,
    prior_bias,
    rescale,
    target_priors,
)
from kerastune.errors import ConfigError
from tests.calibration.made import draw, scored_rows


def shifted(target, rows=20000):
    """Scores that are calibrated to even shares, and rows that were drawn by other shares."""
    logs, labels = draw(60000, len(target), seed=6)
    shares = np.bincount(labels) / len(labels)
    rng = np.random.default_rng(7)
    weights = (np.array(target) / shares)[labels]
    chosen = rng.choice(len(labels), rows, p=weights / weights.sum())
    return logs[chosen], labels[chosen], shares


def test_expectation_maximisation_finds_the_shares():
    target = [0.7, 0.2, 0.1]
    logs, _, source = shifted(target)
    np.testing.assert_allclose(estimate_priors(logs, source), target, atol=0.015)


def test_corrected_scores_are_calibrated_to_the_new_shares():
    logs, labels, source = shifted([0.85, 0.15])
    corrected = rescale(logs, 1.0, prior_bias(source, np.array([0.85, 0.15])))
    truth = np.arange(len(labels)), labels
    assert corrected[truth].mean() > logs[truth].mean() + 0.05
    np.testing.assert_allclose(np.exp(corrected).mean(axis=0), [0.85, 0.15], atol=0.01)
    # Bayes by hand: likelihood ~ p / source, posterior ~ likelihood * target
    by_hand = np.exp(logs[0]) / source * [0.85, 0.15]
    np.testing.assert_allclose(np.exp(corrected[0]), by_hand / by_hand.sum())


@settings(deadline=None, max_examples=50)
@given(scored_rows())
def test_estimated_shares_are_shares(rows):
    shares = estimate_priors(rows[0], np.full(rows[0].shape[1], 1 / rows[0].shape[1]))
    assert (shares > 0).all()
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("priors", ["even", (0.5, 0.6), (1.0, 0.0), (0.2, 0.3, 0.5), (float("nan"), 1.0)])
def test_priors_that_are_no_shares(priors):
    with pytest.raises(
        ConfigError, match="priors: expected 'uniform', 'em' or 2 shares more than 0 that sum"
    ):
        target_priors(priors, np.array([0.4, 0.6]))


def test_priors_as_words():
    assert target_priors("uniform", np.array([0.4, 0.6])).tolist() == [0.5, 0.5]
    with pytest.raises(ConfigError, match="'em' estimates the label shares of unlabelled rows; give those"):
        target_priors("em", np.array([0.4, 0.6]))
    with pytest.raises(ConfigError, match=r"with commas, received '0\.4;0\.6'"):
        parse_priors("0.4;0.6")


@settings(deadline=None, max_examples=50)
@given(scored_rows())
def test_batch_calibration_gives_all_labels_one_mean(rows):
    means = rescale(rows[0], 1.0, batch_bias(rows[0])).mean(axis=0)
    np.testing.assert_allclose(means, means[0], atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(scored_rows())
def test_a_content_free_input_is_even_after_contextual_calibration(rows):
    logs = rows[0][:1]
    np.testing.assert_allclose(
        np.exp(rescale(logs, 1.0, contextual_bias(logs))), 1 / logs.shape[1], rtol=1e-6
    )


def test_contextual_calibration_divides_by_the_mean_probability():
    content_free = np.log([[0.7, 0.3], [0.9, 0.1]])
    corrected = np.exp(rescale(np.log([[0.6, 0.4]]), 1.0, contextual_bias(content_free)))
    by_hand = np.array([0.6 / 0.8, 0.4 / 0.2])
    np.testing.assert_allclose(corrected[0], by_hand / by_hand.sum())


def test_content_free_rows_say_nothing(reviews):
    rows = content_free_rows(reviews)
    assert rows.texts == CONTENT_FREE == ("N/A", "", "[MASK]")
    assert rows.labels is None
    assert reviews.texts[0] != "N/A"
