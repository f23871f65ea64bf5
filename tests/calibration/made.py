"""Scores of a model whose own probabilities are known, and made too sure or too fond of a label."""

import numpy as np
from hypothesis import strategies as st
from scipy.special import log_softmax


def draw(rows, n_labels, seed, *, temperature=1.0, bias=0.0, spread=1.5):
    """Labels that follow the true log-probabilities, and log-probabilities that do not say those."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (rows, n_labels))
    true = log_softmax(logits, axis=1)
    labels = (np.exp(true).cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1).clip(0, n_labels - 1)
    return log_softmax((true - bias) / temperature, axis=1), labels


@st.composite
def scored_rows(draw_one, fewest=2, most=4):
    """Any small table of log-probabilities, of that many labels, of which two at least occur."""
    n_labels, n_rows = draw_one(st.integers(fewest, most)), draw_one(st.integers(4, 40))
    rng = np.random.default_rng(draw_one(st.integers(0, 2**32 - 1)))
    spread = draw_one(st.sampled_from([0.01, 1.0, 10.0]))
    truth = rng.integers(0, n_labels, n_rows)
    truth[:2] = [0, 1]
    return log_softmax(rng.normal(0, spread, (n_rows, n_labels)), axis=1), truth
