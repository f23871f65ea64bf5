"""The loss of pairs: known numbers, properties, and TRL's own losses of the same scores."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_bridge.preference import _OPS
from kerastune.preference.loss import PreferenceLoss, Rewards

scores = st.floats(-50, 50)
mean_log_probabilities = st.floats(-20, -1e-3)
betas = st.floats(0.01, 2)
smoothings = st.floats(0, 0.49)


def loss_of(preference: PreferenceLoss, chosen: float, rejected: float) -> float:
    return float(preference.losses(np.array([chosen]), np.array([rejected]))[0])


@given(scores, betas, smoothings)
def test_dpo_of_two_like_answers_is_ln_2(score, beta, smoothing):
    preference = PreferenceLoss(beta=beta, label_smoothing=smoothing)
    assert loss_of(preference, score, score) == pytest.approx(np.log(2), abs=1e-12)
    assert preference.first_loss == pytest.approx(np.log(2))


@given(scores, scores, betas)
def test_the_losses_of_a_pair_and_of_the_pair_swapped_differ_by_the_margin(chosen, rejected, beta):
    """-log sigmoid(m) - (-log sigmoid(-m)) = -m."""
    preference = PreferenceLoss(beta=beta)
    difference = loss_of(preference, chosen, rejected) - loss_of(preference, rejected, chosen)
    assert difference == pytest.approx(-beta * (chosen - rejected), rel=1e-6, abs=1e-9)


@given(scores, scores, betas, smoothings)
def test_label_smoothing_mixes_the_pair_with_the_pair_swapped(chosen, rejected, beta, smoothing):
    plain, smooth = PreferenceLoss(beta=beta), PreferenceLoss(beta=beta, label_smoothing=smoothing)
    as_said, swapped = loss_of(plain, chosen, rejected), loss_of(plain, rejected, chosen)
    expected = (1 - smoothing) * as_said + smoothing * swapped
    assert loss_of(smooth, chosen, rejected) == pytest.approx(expected, rel=1e-9)


@given(scores, scores, st.floats(0.01, 10), betas)
def test_dpo_falls_where_the_chosen_answer_gains_and_depends_on_the_margin_alone(a, b, step, beta):
    preference = PreferenceLoss(beta=beta)
    assert loss_of(preference, a + step, b) < loss_of(preference, a, b) or beta * (a - b) > 30
    assert loss_of(preference, a + step, b + step) == pytest.approx(loss_of(preference, a, b), rel=1e-6)


@given(mean_log_probabilities, mean_log_probabilities, betas)
def test_orpo_is_what_the_paper_says_of_probabilities(chosen, rejected, beta):
    """Equations 3, 6 and 7 of Hong et al., with the odds computed as p / (1 - p)."""
    p, q = np.exp(chosen), np.exp(rejected)
    ratio = (p / (1 - p)) / (q / (1 - q))
    expected = -chosen + beta * np.log1p(1 / ratio)
    preference = PreferenceLoss(method="orpo", beta=beta)
    assert loss_of(preference, chosen, rejected) == pytest.approx(expected, rel=1e-6)


@given(st.floats(-20, -0.1), mean_log_probabilities, st.floats(0.01, 0.05), betas)
def test_orpo_falls_where_the_chosen_answer_gains(chosen, rejected, step, beta):
    preference = PreferenceLoss(method="orpo", beta=beta)
    assert loss_of(preference, chosen + step, rejected) < loss_of(preference, chosen, rejected)


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_torch_and_keras_compute_what_numpy_does(method):
    from kerastune.keras_stack.loss import _OPS as KERAS

    draw = np.random.default_rng(0)
    chosen, rejected = -draw.uniform(0.01, 8, (2, 50)).astype(np.float32)
    preference = PreferenceLoss(method=method, beta=0.3, label_smoothing=0.1)
    expected = preference.losses(chosen.astype(np.float64), rejected.astype(np.float64))
    by_torch = preference.losses(torch.from_numpy(chosen), torch.from_numpy(rejected), _OPS).numpy()
    by_keras = np.asarray(preference.losses(chosen, rejected, KERAS))
    np.testing.assert_allclose(by_torch, expected, rtol=1e-5)
    np.testing.assert_allclose(by_keras, expected, rtol=1e-5)


def test_orpo_is_that_of_trl():
    from types import SimpleNamespace

    from trl.experimental.orpo import ORPOTrainer

    draw = np.random.default_rng(1)
    chosen, rejected = torch.from_numpy(-draw.uniform(0.05, 6, (2, 30)))
    trainer = SimpleNamespace(beta=0.4, accelerator=SimpleNamespace(device="cpu"))
    theirs = -ORPOTrainer.odds_ratio_loss(trainer, chosen, rejected)[0].double() - chosen
    ours = PreferenceLoss(method="orpo", beta=0.4).losses(chosen.numpy(), rejected.numpy())
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)


def test_rewards_are_means_over_pairs_and_a_tie_is_no_preference():
    whole = np.array([2.0, 1.0, 4.0, 1.0, 1.0, 0.0])
    rewards = Rewards.of(whole, beta=0.1)
    assert rewards.accuracy == pytest.approx(2 / 3)
    assert rewards.margin == pytest.approx(0.1 * (7 - 2) / 3)
    parts = [Rewards.of(whole[[0, 1, 3, 4]], 0.1), Rewards.of(whole[[2, 5]], 0.1)]
    assert Rewards.mean(parts).as_dict() == pytest.approx(rewards.as_dict())
