"""Folds and seeds of the tiny Gemma 3: each as a training of its own would have it, on one base model."""

import json
import shutil

import numpy as np
import pytest

import kerastune as kt
from kerastune import session
from kerastune.baselines import baseline_metrics
from kerastune.cli import main
from kerastune.cross_validation import spread
from kerastune.dataset import read_dataset
from kerastune.evaluation import evaluate


@pytest.fixture
def evaluated(tiny_run, reviews_file, tmp_path, monkeypatch, capsys):
    """Evaluate a copy of the run with folds and seeds; metrics.json, what was printed, models loaded."""
    loaded = []

    def load(*given, load=session.load_stack):
        loaded.append(given)
        return load(*given)

    shutil.copytree(tiny_run.folder, tmp_path / "run")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(session, "load_stack", load)
    monkeypatch.setenv("COLUMNS", "160")
    words = ["evaluate", tmp_path / "run", "--input", reviews_file, "--folds", 2, "--seeds", 2]
    assert main(list(map(str, words))) == 0
    assert list((tmp_path / "temporary").iterdir()) == []
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["reviews"]
    return found, capsys.readouterr().out, len(loaded)


def test_folds_and_seeds(evaluated, tiny_run, reviews_file, tmp_path):
    found, out, loaded = evaluated
    assert loaded == 1
    rows = read_dataset(reviews_file)

    folds = found["folds"]["folds"]
    assert [(fold["fold"], fold["train_rows"], fold["rows"]) for fold in folds] == [(1, 5, 5), (2, 5, 5)]
    for fold, (kept, held_out) in zip(folds, rows.folds(2, seed=0), strict=True):
        assert fold["tfidf"]["log_loss"] == baseline_metrics(kept, held_out)["tfidf"].log_loss
        assert f"fold {fold['fold']}: accuracy {fold['model']['accuracy']:.3f}" in out
    kept, held_out = next(rows.folds(2, seed=0))
    alone = kt.train(kept, out=tmp_path / "alone", config=tiny_run.config, show=False)
    assert folds[0]["model"]["log_loss"] == pytest.approx(
        alone.evaluate(held_out, show=False).log_loss, abs=1e-5
    )
    accuracies = [fold["model"]["accuracy"] for fold in folds]
    summary = found["folds"]["summary"]["model"]["accuracy"]
    assert (summary["mean"], summary["sd"]) == pytest.approx(
        (np.mean(accuracies), np.std(accuracies, ddof=1))
    )
    assert f"{np.mean(accuracies):.3f} +- {np.std(accuracies, ddof=1):.3f}" in out

    runs = found["seeds"]["runs"]
    assert [run["seed"] for run in runs] == [0, 1]
    # the first seed is the run's own
    assert runs[0]["model"]["log_loss"] == pytest.approx(found["model"]["log_loss"], abs=1e-5)
    losses = [run["model"]["log_loss"] for run in runs]
    summary = found["seeds"]["summary"]["log_loss"]
    assert (summary["lowest"], summary["highest"]) == (min(losses), max(losses))
    assert losses[0] != losses[1]


def test_a_metric_that_is_undefined_once_has_no_spread():
    both, one = evaluate([[0.8, 0.2], [0.4, 0.6]], [0, 1]), evaluate([[0.8, 0.2], [0.4, 0.6]], [0, 0])
    found = spread([both, one])
    assert found["roc_auc"] is found["mcc"] is None
    assert (found["accuracy"].mean, found["accuracy"].sd) == pytest.approx((0.75, np.sqrt(0.125)))
