"""The calibration as a file beside an adapter."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerastune.adapter import write_adapter
from kerastune.adapter_card import read_card
from kerastune.calibration import CALIBRATION, Calibration, FittedOn, Quality
from kerastune.calibration.rendering import render
from kerastune.errors import AdapterError, ConfigError, OutputError
from kerastune.scoring import Scores
from tests.calibration.made import scored_rows
from tests.test_adapter import CARD, some_factors

BEFORE = Quality(log_loss=0.5, ece=0.1, brier=0.2, accuracy=0.8, macro_f1=0.79)
AFTER = Quality(log_loss=0.4, ece=0.02, brier=0.15, accuracy=0.82, macro_f1=0.81)
FITTED = FittedOn(
    rows=40,
    source="validation.tsv",
    sha256="ab",
    metric="accuracy",
    reason="enough",
    before=BEFORE,
    after=AFTER,
)
CALIBRATION_OF_TWO = Calibration(
    labels=(0, 1),
    label_words=("별로", "최고"),
    methods=("bias",),
    scale=0.5,
    bias=(-0.25, 0.25),
    decision_offsets=(0.0, -1.0),
    fitted_on=FITTED,
)


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "adapter"
    write_adapter(folder, some_factors(), CARD)
    return folder


def test_what_is_saved_is_loaded(adapter):
    path = CALIBRATION_OF_TWO.save(adapter)
    assert path == adapter / "calibration.json"
    assert Calibration.load(adapter) == CALIBRATION_OF_TWO
    plain = replace(CALIBRATION_OF_TWO, fitted_on=replace(FITTED, sha256=None, before=None, after=None))
    plain.save(adapter)
    assert Calibration.load(adapter) == plain
    assert read_card(adapter).labels == (0, 1)


@settings(deadline=None, max_examples=50)
@given(scored_rows(most=2), st.floats(0.01, 100), st.floats(-30, 30))
def test_applied_it_is_normalised(rows, scale, bias):
    calibration = replace(CALIBRATION_OF_TWO, scale=scale, bias=(bias, -bias))
    np.testing.assert_allclose(np.exp(calibration.apply(rows[0])).sum(axis=1), 1)


def test_scores_get_the_decision_with_the_probabilities():
    # By hand: the odds are 16 and 1.5; calibrated, their roots times exp(0.5); to decide, that by exp(1).
    scores = Scores(("a", "b"), (0, 1), np.log([[1 / 17, 16 / 17], [0.4, 0.6]]))
    calibrated = CALIBRATION_OF_TWO.apply_to_scores(scores)
    odds = calibrated.probabilities[:, 1] / calibrated.probabilities[:, 0]
    np.testing.assert_allclose(odds, [4 * np.exp(0.5), np.sqrt(1.5) * np.exp(0.5)])
    assert calibrated.predicted_labels == (1, 0)
    assert scores.predicted_labels == (1, 1)
    threshold = CALIBRATION_OF_TWO.threshold
    assert (calibrated.probabilities[:, 1] > threshold).tolist() == [True, False]
    assert threshold == pytest.approx(np.e / (1 + np.e))


def test_generated_labels_are_not_moved_but_their_fallback_is():
    scores = Scores(("a", "b"), (0, 1), np.log([[0.4, 0.6], [0.4, 0.6]]), np.array([1, -1]))
    assert CALIBRATION_OF_TWO.apply_to_scores(scores).predicted_labels == (1, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scale": 0}, "scale: expected a finite number more than 0, received 0.0"),
        ({"scale": "1"}, "scale: expected float, received '1'"),
        ({"bias": [0.5]}, "bias: expected 2 finite numbers, received (0.5,)"),
        ({"decision_offsets": [0.0, 1e999]}, "decision_offsets: expected 2 finite numbers, received (0.0, i"),
        ({"labels": ["0", "1"]}, "labels: the adapter has [0, 1], the calibration ['0', '1']"),
        ({"labels": [0.5, 1]}, "labels: expected a list of int | str, received [0.5, 1]"),
        ({"label_words": ["부정", "긍정"]}, "label_words: the adapter has ['별로', '최고'], the calibration"),
        ({"adapter_sha256": "00"}, "adapter_sha256: the calibration is of another adapter than the one"),
        ({"threshold": 0.5}, "unknown option 'threshold'"),
        ({"fitted_on": {"rows": "many"}}, "fitted_on: rows: expected int, received 'many'"),
        ({"fitted_on": {}}, "lacks a key: "),
        ({"fitted_on": 3}, "fitted_on: expected a section of options, received 3"),
    ],
)  # fmt: skip
def test_a_file_that_was_changed_is_refused(adapter, changes, said):
    path = CALIBRATION_OF_TWO.save(adapter)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")
    with pytest.raises(AdapterError) as caught:
        Calibration.load(adapter)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert said in message
    assert message.endswith("; calibrate again, or delete the file")
    assert "\n" not in message


@pytest.mark.parametrize("key", ["scale", "labels", "adapter_sha256"])
def test_a_file_that_lacks_a_key(adapter, key):
    path = CALIBRATION_OF_TWO.save(adapter)
    table = json.loads(path.read_text())
    del table[key]
    path.write_text(json.dumps(table))
    with pytest.raises(AdapterError, match=key):
        Calibration.load(adapter)


@pytest.mark.parametrize(
    ("text", "said"), [("{", "cannot be read as JSON"), ("[]", "expected a JSON object")]
)
def test_a_file_that_is_none(adapter, text, said):
    (adapter / CALIBRATION).write_text(text)
    with pytest.raises(AdapterError, match=said):
        Calibration.load(adapter)


def test_no_file_says_how_to_get_one(adapter):
    with pytest.raises(AdapterError, match=r"no calibration\.json; write one with: kerastune calibrate RUN"):
        Calibration.load(adapter)


def test_it_is_not_saved_beside_an_adapter_of_other_labels(adapter, tmp_path):
    with pytest.raises(AdapterError, match=r"labels: the adapter has \[0, 1\]"):
        replace(CALIBRATION_OF_TWO, labels=(1, 0)).save(adapter)
    with pytest.raises(AdapterError, match="is the folder an adapter"):
        CALIBRATION_OF_TWO.save(tmp_path)
    (adapter / CALIBRATION).mkdir()
    with pytest.raises(OutputError, match=r"calibration\.json: cannot write: there is a folder"):
        CALIBRATION_OF_TWO.save(adapter)


def test_numbers_are_checked_when_it_is_made():
    with pytest.raises(ConfigError, match="decision_offsets: expected 2 finite numbers"):
        replace(CALIBRATION_OF_TWO, decision_offsets=(0.0, float("nan")))


def test_as_text():
    said = render(CALIBRATION_OF_TWO).splitlines()
    assert said[0] == "calibrated   bias on validation.tsv, 40 rows"
    assert said[1] == "temperature  2.000"
    assert said[2] == "bias         0: -0.250, 1: +0.250"
    assert said[3] == "threshold    1 is predicted above a probability of 0.731"
    assert "ECE            0.1000  0.0200" in said
    three = replace(
        CALIBRATION_OF_TWO, labels=("a", "b", "c"), bias=(0, 0, 0), decision_offsets=(0.0, 0.5, -0.5)
    )
    assert "decision     a: +0.000, b: +0.500, c: -0.500" in render(three)
