"""Calibrating the tiny run: what is kept with the adapter, and what it does to scores."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import peft
import pytest

import kerastune as kt
from kerastune.calibrating import calibrate, calibrate_file
from kerastune.calibration import Calibration, content_free_rows, contextual_bias
from kerastune.cli import main
from kerastune.errors import AdapterError, ConfigError, DataError, OutputError
from tests.conftest import COMMENTS

# The ten words of a review in other orders: rows that the tiny run was not trained on.
TEXTS = [" ".join(reversed(text.split())) + ending for ending in ("", "!", ".", "~") for text in COMMENTS]
TRUTH = [0, 0, 1] * 13 + [1]


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of the run with the model that is loaded already."""
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    return dataclasses.replace(tiny_run, folder=tmp_path / "run", _session=tiny_run.session)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "validation.tsv"
    rows = [f"v{row}\t{text}\t{label}" for row, (text, label) in enumerate(zip(TEXTS, TRUTH, strict=True))]
    path.write_text("\n".join(["id\tcomment\tlabel", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def rows(file):
    return kt.read_dataset(file)


def test_scores_are_calibrated_from_then_on(run, rows):
    plain = run.score(rows, show=False)
    assert run.calibration is None
    assert plain.decision_offsets is None
    calibration = calibrate(run, rows, ["temperature"], show=False)
    assert calibration == run.calibration == Calibration.load(run.folder / "adapter")
    fitted = calibration.fitted_on
    assert (fitted.rows, fitted.source, fitted.sha256) == (40, rows.name, rows.sha256)
    assert fitted.after.log_loss <= fitted.before.log_loss + 1e-3
    calibrated = run.score(rows, show=False)
    np.testing.assert_allclose(calibrated.log_probabilities, calibration.apply(plain.log_probabilities))
    assert calibrated.decision_offsets.tolist() == list(calibration.decision_offsets)
    raw = run.score(rows, calibrated=False, show=False)
    np.testing.assert_allclose(raw.log_probabilities, plain.log_probabilities)
    assert raw.decision_offsets is None
    # Fitted anew it is fitted to the model's own scores, not to calibrated ones.
    assert calibrate(run, rows, ["temperature"], show=False) == calibration


def test_the_submission_says_with_what_it_was_calibrated(run, rows, tmp_path):
    path = run.write_submission(run.score(rows, show=False), rows, tmp_path / "plain.tsv")
    assert "calibration_sha256" not in json.loads((tmp_path / "plain.tsv.manifest.json").read_text())["extra"]
    calibrate(run, rows, show=False)
    # A threshold that predicts the first label for every row.
    moved = dataclasses.replace(run.calibration, decision_offsets=(0.0, -1000.0))
    moved.save(run.folder / "adapter")
    path = run.write_submission(run.score(rows, show=False), rows, tmp_path / "s.tsv")
    assert set(pd.read_csv(path, sep="\t", dtype=str)["label"]) == {"0"}
    extra = json.loads((tmp_path / "s.tsv.manifest.json").read_text())["extra"]
    assert len(extra["calibration_sha256"]) == 64


def test_plain_peft_reads_the_adapter_still(run, rows):
    calibrate(run, rows, show=False)
    assert peft.PeftConfig.from_pretrained(run.folder / "adapter").r == 4


def test_contextual_and_batch_need_no_labels(run, file):
    rows = kt.read_dataset(file, labelled=False)
    plain = run.score(rows, show=False)
    batch = calibrate(run, rows, ["batch"], show=False)
    means = batch.apply(plain.log_probabilities).mean(axis=0)
    assert means[0] == pytest.approx(means[1])
    assert (batch.fitted_on.before, batch.decision_offsets) == (None, (0.0, 0.0))
    contextual = calibrate(run, rows, ["contextual"], show=False)
    empty = run.score(content_free_rows(rows), calibrated=False, show=False)
    np.testing.assert_allclose(contextual.bias, contextual_bias(empty.log_probabilities))


def test_the_training_rows_are_refused(run, reviews_file, tmp_path):
    training = kt.read_dataset(reviews_file)
    with pytest.raises(DataError, match=r"reviews\.tsv: has the rows that .* was trained on"):
        calibrate(run, training, show=False)
    copy = tmp_path / "copy.tsv"
    shutil.copy(reviews_file, copy)
    with pytest.raises(DataError, match=r"copy\.tsv: has the rows that"):
        calibrate(run, kt.read_dataset(copy), show=False)
    assert not (run.folder / "adapter" / "calibration.json").exists()


def test_a_part_of_the_table_that_was_held_out_is_not_refused(rows, tmp_path):
    manifest = {"train": {"sha256": rows.sha256, "rows": 24}}
    kept, held_out = rows.split(0.4)
    assert len(kept) == 24

    class Stub:
        folder, config = tmp_path, kt.RunConfig()

        @staticmethod
        def score(*_, **__):
            raise StopIteration("it would be scored")

    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StopIteration):
        calibrate(Stub(), held_out)
    with pytest.raises(DataError, match="calibrate on rows that were held out"):
        calibrate(Stub(), rows)


def test_what_is_refused_before_anything_is_scored(run, rows, monkeypatch):
    monkeypatch.setattr(type(run), "score", None)
    only = rows.take([row for row, label in enumerate(TRUTH) if label == 1])
    with pytest.raises(DataError, match="all 14 rows have the label 1; calibration needs rows of two labels"):
        calibrate(run, only)
    with pytest.raises(ConfigError, match="received 'platt'"):
        calibrate(run, rows, ["platt"])


def test_a_calibration_of_another_adapter_is_not_used(run, rows):
    calibrate(run, rows, show=False)
    path = run.folder / "adapter" / "calibration.json"
    path.write_text(path.read_text().replace('"adapter_sha256": "', '"adapter_sha256": "0'))
    with pytest.raises(AdapterError, match="is of another adapter than the one beside it"):
        run.score(rows, show=False)
    assert len(run.score(rows, calibrated=False, show=False).ids) == 40


def test_a_folder_that_cannot_be_written(run, rows, monkeypatch):
    def read_only(**_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("kerastune.atomic.tempfile.mkstemp", read_only)
        with pytest.raises(OutputError, match=r"calibration\.json: cannot write: Permission denied"):
            calibrate(run, rows, show=False)
    assert run.calibration is None


def test_prior_from_the_file_to_be_scored(run, file):
    calibration = calibrate_file(
        run.folder, file, {}, ["bias", "prior"], priors="em", unlabelled=file, tune_threshold=False
    )
    assert calibration.methods == ("bias", "prior")
    assert "label shares [" in calibration.fitted_on.reason
    assert "as asked for, the likeliest label is predicted" in calibration.fitted_on.reason


def test_on_the_command_line(run, file, capsys, monkeypatch):
    monkeypatch.chdir(file.parent)
    words = ["calibrate", "run", "--input", "validation.tsv"]
    assert main([*words, "--method", "contextual, temperature", "--no-threshold"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "calibrated   contextual + temperature on validation.tsv, 40 rows"
    assert said[-1] == "written      run/adapter/calibration.json"
    fitted = run.calibration.fitted_on
    assert f"ECE         {fitted.before.ece:>9.4f}{fitted.after.ece:>8.4f}" in said
    assert main([*words, "--method", "prior", "--priors", "0.5"]) == 2
    assert "priors: expected 'uniform', 'em' or 2 shares more than 0" in capsys.readouterr().err
    assert main([*words, "--no-labelled"]) == 2
    assert "rows without labels cannot say how sure to be" in capsys.readouterr().err
