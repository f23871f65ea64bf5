"""Decision offsets, held against trying every cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from kerastune.calibration import gain_of_offsets, tune_offsets
from tests.calibration.made import draw, scored_rows

METRICS = {
    "accuracy": metrics.accuracy_score,
    "macro_f1": lambda truth, said: metrics.f1_score(truth, said, average="macro"),
}


@settings(deadline=None, max_examples=30)
@given(scored_rows(most=2), st.sampled_from(sorted(METRICS)))
def test_of_two_labels_no_threshold_is_better(rows, metric):
    logs, labels = rows
    margins = logs[:, 1] - logs[:, 0]
    cuts = np.r_[margins.min() - 1, np.sort(margins)]
    best = max(METRICS[metric](labels, (margins > cut).astype(int)) for cut in cuts)
    offsets = tune_offsets(logs, labels, metric)
    assert METRICS[metric](labels, (logs + offsets).argmax(axis=1)) == pytest.approx(best)
    assert offsets[0] == 0


@settings(deadline=None, max_examples=30)
@given(scored_rows(fewest=3), st.sampled_from(sorted(METRICS)))
def test_of_more_labels_no_single_offset_is_better(rows, metric):
    logs, labels = rows
    offsets = tune_offsets(logs, labels, metric)
    found = METRICS[metric](labels, (logs + offsets).argmax(axis=1))
    assert found >= METRICS[metric](labels, logs.argmax(axis=1)) - 1e-12
    for label in range(logs.shape[1]):
        for step in (-9, -2, -0.5, -0.01, 0.01, 0.5, 2, 9):
            moved = offsets.copy()
            moved[label] += step
            assert METRICS[metric](labels, (logs + moved).argmax(axis=1)) <= found + 1e-9


def test_what_gains_nothing_stays_nothing():
    logs = np.log([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    assert tune_offsets(logs, np.array([0, 0, 1]), "accuracy").tolist() == [0, 0]


def test_a_lean_that_was_put_in_is_taken_out():
    logs, labels = draw(4000, 3, seed=5, bias=[0.0, 1.5, -1.0])
    offsets = tune_offsets(logs, labels, "accuracy")
    np.testing.assert_allclose(offsets, [0.0, 1.5, -1.0], atol=0.35)
    gain, error = gain_of_offsets(logs, labels, offsets, "accuracy")
    counted = METRICS["accuracy"](labels, (logs + offsets).argmax(1)) - METRICS["accuracy"](
        labels, logs.argmax(1)
    )
    assert gain == pytest.approx(counted)
    # Rows that turn right less rows that turn wrong: its variance by counting.
    changed = ((logs + offsets).argmax(1) == labels).astype(int) - (logs.argmax(1) == labels)
    assert error == pytest.approx(changed.std() / np.sqrt(4000), rel=0.1)


def test_weights_move_the_threshold():
    logs = np.log([[0.6, 0.4], [0.55, 0.45], [0.6, 0.4]])
    labels = np.array([0, 0, 1])
    assert tune_offsets(logs, labels, "accuracy").tolist() == [0, 0]
    heavy = tune_offsets(logs, labels, "accuracy", np.array([1.0, 1.0, 5.0]))
    assert (logs + heavy).argmax(axis=1).tolist() == [1, 1, 1]
