"""Runs that train nothing: the base model as it is, and with rows that it is shown."""

import json

import numpy as np
import pandas as pd
import pytest

import kerastune as kt
from kerastune.errors import ConfigError, EncodingError
from tests.conftest import COMMENTS, LABELS


@pytest.fixture(params=["keras", "hf"])
def options(request, tiny_model):
    return {"model": str(tiny_model.path), "stack": request.param, "dtype": "float32", "max_length": 96}


@pytest.fixture
def others():
    return kt.read_dataset(pd.DataFrame({"comment": ["또 갈래요", "너무 짜요", "최고"]}), labelled=False)


def test_zero_shot_is_the_base_model(train_tiny, options, others, tmp_path):
    run = train_tiny(tmp_path / "zero", epochs=0, **options)
    found = run.score(others, show=False).log_probabilities
    np.testing.assert_array_equal(kt.Run.load(run.folder).score(others, show=False).log_probabilities, found)
    assert {path.name for path in (run.folder / "adapter").iterdir()} == {"kerastune.json"}
    assert json.loads((run.folder / "manifest.json").read_text())["training"] is None
    trained = train_tiny(tmp_path / "trained", **options)
    for factors in trained.session.stack.get_adapter().values():
        assert factors.b.any()
    trained.session.stack.remove_adapter()
    bare = trained.session.score(others, show=False).log_probabilities
    np.testing.assert_array_equal(bare, found)


def test_shots_stand_before_every_prompt_and_are_kept(train_tiny, options, others, tmp_path):
    zero = train_tiny(tmp_path / "zero", epochs=0, **options).score(others, show=False)
    run = train_tiny(tmp_path / "two", epochs=0, shots=1, **options)
    encoder = run.session.encoder
    shown = [shot.fields["comment"] for shot in encoder.shots.shots]
    assert sorted(LABELS[COMMENTS.index(text)] for text in shown) == [0, 1]
    for prompt in encoder.prompts(others):
        assert all(text in prompt for text in shown)
        assert prompt.count("한마디로 말해") == 3
    found = run.score(others, show=False).log_probabilities
    assert np.abs(found - zero.log_probabilities).max() > 1e-5
    again = kt.Run.load(run.folder)
    np.testing.assert_array_equal(again.score(others, show=False).log_probabilities, found)
    with pytest.raises(EncodingError, match="is one of the rows that are shown, with its answer"):
        again.score(kt.read_dataset(pd.DataFrame({"comment": shown, "label": [0, 1]})), show=False)
    # Where nothing is measured a row like that gets its label as any other.
    again.score(kt.read_dataset(pd.DataFrame({"comment": shown}), labelled=False), show=False)


def test_shots_are_not_trained_on(train_tiny, tmp_path):
    plans = []
    run = train_tiny(tmp_path / "run", shots=2, epochs=1, stack="hf", on_plan=plans.append)
    assert plans[0].rows == 6
    assert len(json.loads((run.folder / "shots.json").read_text())["shots"]) == 4
    assert run.provenance()["shots_sha256"]


def test_the_command_line_scores_with_no_run(tiny_model, reviews_file, tmp_path, monkeypatch, capsys):
    from kerastune.cli import main

    monkeypatch.chdir(tmp_path)
    words = ["score", "--input", str(reviews_file), "--model", str(tiny_model.path), "--stack", "hf"]
    assert main([*words, "--out", "a.tsv"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("untrained_")
    assert main([*words, "--out", "b.tsv"]) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert (tmp_path / "a.tsv").read_bytes() == (tmp_path / "b.tsv").read_bytes()
    table = pd.read_csv(tmp_path / "a.tsv", sep="\t", dtype=str)
    assert table["comment"].tolist() == COMMENTS
    assert set(table["label"]) <= {"0", "1"}
    capsys.readouterr()


def test_an_untrained_run_is_evaluated_and_calibrated(train_tiny, reviews_file, tmp_path):
    from kerastune.evaluating import evaluate_file

    run = train_tiny(tmp_path / "zero", epochs=0, stack="hf")
    measured = evaluate_file(run.folder, reviews_file, {})["reviews"].model
    assert measured.rows == 10
    calibrated = kt.calibrate(run, kt.read_dataset(reviews_file).take(range(6)), ["temperature"], show=False)
    assert kt.Run.load(run.folder).calibration == calibrated


def test_a_negative_number_of_epochs_is_refused():
    with pytest.raises(ConfigError, match="epochs: expected a finite number, 0 or more, received -1"):
        kt.TrainSpec(epochs=-1)
