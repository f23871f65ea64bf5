"""Evaluating runs of the tiny Gemma 3: what is printed, what is in the folder, what is refused."""

import errno
import json
import os
import shutil
import tempfile
from dataclasses import replace

import numpy as np
import pytest

import kerastune as kt
from kerastune.cli import main
from kerastune.dataset import read_dataset
from kerastune.errors import DataError
from kerastune.evaluated_scores import read_evaluated, save_evaluated, stored_scores
from kerastune.evaluating import assess, evaluate_file
from kerastune.evaluation import mcnemar
from kerastune.mainjob import run_main_job
from kerastune.scoring import Scores
from tests.conftest import COMMENTS, LABELS

HALF = float(np.log(0.5))


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of the finished run, to be written into."""
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def evaluate(run, tmp_path, monkeypatch, capsys):
    """Call the command on the run's copy; its status, what it printed and what it complained of."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)

    def call(*words):
        status = main(["evaluate", run.name, *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture
def no_model(monkeypatch):
    """What is refused is refused before a model is loaded."""

    def load(*_):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("kerastune.session.load_stack", load)


def table(folder, texts=COMMENTS, labels=LABELS, name="other.tsv", head="id\tcomment\tlabel"):
    lines = [f"r{n}\t{text}\t{label}" for n, (text, label) in enumerate(zip(texts, labels, strict=True))]
    (folder / name).write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return folder / name


def test_everything_is_in_the_folder(run, evaluate, tmp_path):
    texts = [COMMENTS[0], COMMENTS[1] + " ", COMMENTS[2] + "ㅋ"]  # two of train, and one nearly
    texts += ["국수 not good", "만두 최고 👍", "[red]피자 :heart:"]
    file = table(tmp_path, texts, [1, 0, 1, 0, 1, 1])
    status, out, err = evaluate("--input", file, "--slice", "label")
    assert status == 0, err
    found = json.loads((run / "metrics.json").read_text())["other"]
    rows = read_dataset(file)
    stored = read_evaluated(run / "evaluated_other.tsv", "review-sentiment")
    right = stored.predicted == rows.labels
    assert (stored.scores.ids, stored.labels.tolist()) == (rows.ids, [1, 0, 1, 0, 1, 1])
    live = kt.Run.load(run).score(rows, show=False)
    np.testing.assert_allclose(stored.scores.log_probabilities, live.log_probabilities, atol=1e-6)
    np.testing.assert_array_equal(stored.predicted, live.predicted)
    assert found["table"]["sha256"] == rows.sha256
    assert found["model"]["accuracy"] == right.mean() == found["leakage"]["accuracy"]
    assert f"{right.mean():.3f} (" in out
    assert set(found["model"]["intervals"]) == {"accuracy", "macro_f1", "mcc", "roc_auc", "log_loss"}
    assert (found["leakage"]["exact"], found["leakage"]["near"]) == (2, 1)
    assert found["leakage"]["accuracy_without"] == right[3:].mean()
    assert [pair["train_id"] for pair in found["leakage"]["pairs"]] == ["r0", "r1", "r2"]
    assert "2 rows have a text of" in out
    assert f"accuracy with leaked rows {right.mean():.3f}, without {right[3:].mean():.3f} (" in out
    wrong = {mistake["id"] for mistake in found["mistakes"]}
    assert wrong == {rows.ids[row] for row in np.flatnonzero(~right)}
    assert all(rows.texts[row] in out for row in np.flatnonzero(~right))
    labels = [(part["value"], part["rows"]) for part in found["slices"] if part["slice"] == "label"]
    assert labels == [("1", 4), ("0", 2)]
    (test,) = found["mcnemar"]
    assert test["against"] == "TF-IDF"
    tfidf_right = round(found["tfidf"]["accuracy"] * 6)
    assert test["only_first"] - test["only_second"] == right.sum() - tfidf_right
    assert found["folds"] is found["seeds"] is None
    assert found["notes"] == []


def test_against_another_run_and_against_its_scores(run, evaluate, train_tiny, reviews_file, tmp_path):
    other = train_tiny(tmp_path / "seeded", seed=3)
    assert evaluate("--input", reviews_file, "--against", "seeded")[0] == 0
    rows = read_dataset(reviews_file)
    scores = other.score(rows, show=False)
    expected = mcnemar(
        kt.Run.load(run).score(rows, show=False).predicted == rows.labels, scores.predicted == rows.labels
    ).as_dict()

    def tests():
        return {test.pop("against"): test for test in metrics(run)["mcnemar"]}

    def metrics(folder):
        return json.loads((folder / "metrics.json").read_text())["reviews"]

    assert tests()["seeded"] == expected
    scores.save(tmp_path / "s.tsv")
    status, out, _ = evaluate("--input", reviews_file, "--against", "s.tsv")
    assert status == 0
    assert "McNemar against s.tsv: right on " in out
    assert tests()["s.tsv"] == expected


def test_kept_scores_are_those_of_the_same_rows_and_the_same_run(run, reviews_file, tmp_path):
    evaluate_file(run, reviews_file, show=False)
    rows = read_dataset(reviews_file)
    loaded = kt.Run.load(run)
    kept = stored_scores(loaded, rows)
    np.testing.assert_array_equal(
        kept.log_probabilities,
        read_evaluated(run / "evaluated_reviews.tsv", rows.task).scores.log_probabilities,
    )
    assert stored_scores(kt.Run.load(run, {"mode": "generate"}), rows) is None
    assert stored_scores(loaded, read_dataset(table(tmp_path, [*COMMENTS[:-1], "다른 글"]))) is None
    card = run / "adapter" / "kerastune.json"
    card.write_text(card.read_text() + "\n")
    assert stored_scores(loaded, rows) is None
    (run / "metrics.json").write_text("[]")
    assert stored_scores(loaded, rows) is None


def test_the_main_job_evaluates_every_table(reviews, tiny_run, tmp_path):
    tests = {"test": reviews.take(range(6)), "challenge": reviews.take([2, 5])}
    results = run_main_job(
        tiny_run.config, reviews, tests, tests["test"], tmp_path / "main",
        on_report=lambda _: None, on_plan=lambda _: None,
    )  # fmt: skip
    found = json.loads((tmp_path / "main" / "metrics.json").read_text())
    assert list(found) == list(results.evaluated) == ["test", "challenge"]
    for name, rows in tests.items():
        assert found[name]["model"]["accuracy"] == results.evaluated[name].model.accuracy
        assert found[name]["leakage"]["exact"] == len(rows)
        kept = read_evaluated(tmp_path / "main" / found[name]["table"]["scores"], rows.task)
        assert kept.scores.ids == rows.ids


@pytest.mark.parametrize(
    "decision",
    [
        {},
        {"generated": np.array([1, -1, 0])},
        {"decision_offsets": np.array([0.1, 1 / 3])},
    ],
)
def test_rows_are_read_back_as_they_were(reviews, tmp_path, decision):
    rows = reviews.take([0, 1, 2])
    scores = Scores(rows.ids, (0, 1), np.log([[0.55, 0.45], [1 / 3, 2 / 3], [0.9, 0.1]]), **decision)
    save_evaluated(tmp_path / "e.tsv", scores, rows)
    found = read_evaluated(tmp_path / "e.tsv", rows.task)
    assert found.scores.ids == rows.ids
    np.testing.assert_array_equal(found.scores.log_probabilities, scores.log_probabilities)
    np.testing.assert_array_equal(found.scores.predicted, scores.predicted)
    np.testing.assert_array_equal(found.labels, rows.labels)
    np.testing.assert_array_equal(found.predicted, decision.get("generated", scores.predicted))
    assert (found.scores.generated is None) == ("generated" not in decision)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "log_probability_0",
            "p0",
            "expected rows with the columns id, label, predicted, log_probability_0, ",
        ),
        ("-0.5", "nan", "damaged: a number that is not finite is out of place; run kerastune evaluate again"),
        ("-0.5", "x", "damaged: could not convert string to float"),
        ("r0\t1", "r0\t7", "damaged: '7' is out of place"),
    ],
)
def test_damaged_rows_are_refused(reviews, tmp_path, before, after, said):
    rows = reviews.take([0])
    save_evaluated(tmp_path / "e.tsv", Scores(rows.ids, (0, 1), np.array([[-0.5, -0.9]])), rows)
    text = (tmp_path / "e.tsv").read_text()
    (tmp_path / "e.tsv").write_text(text.replace(before, after))
    with pytest.raises(DataError, match=said) as caught:
        read_evaluated(tmp_path / "e.tsv", rows.task)
    assert "\n" not in str(caught.value)


def test_generated_labels_are_evaluated(run, reviews_file):
    measured = evaluate_file(run, reviews_file, {"mode": "generate"}, show=False)["reviews"]
    assert measured.model.roc_auc is measured.model.log_loss is None
    assert measured.model.invalid_rate is not None
    found = json.loads((run / "metrics.json").read_text())["reviews"]
    assert found["model"]["invalid_rate"] == measured.model.invalid_rate


def test_a_training_table_that_is_gone_or_has_changed(run, evaluate, reviews_file, tmp_path):
    manifest = json.loads((run / "manifest.json").read_text())
    changed = table(tmp_path, [*COMMENTS[:-1], "새 글"], name="train.tsv")
    for source, said in (
        (tmp_path / "gone.tsv", f"is not at hand: {tmp_path / 'gone.tsv'}: no such file"),
        (changed, f"is not at hand: {changed} has changed since"),
        ("the frame", "is not at hand: the frame: no such file"),
    ):
        manifest["train"]["source"] = str(source)
        (run / "manifest.json").write_text(json.dumps(manifest))
        status, out, _ = evaluate("--input", reviews_file)
        assert status == 0
        found = json.loads((run / "metrics.json").read_text())["reviews"]
        assert found["notes"] == [f"the run's training table {said}"]
        assert found["leakage"] is None
        assert not {"tfidf", "majority"} & set(found)
        assert "TF-IDF" not in out
        status, _, err = evaluate("--input", reviews_file, "--folds", 2)
        assert (status, err) == (
            2,
            f"kerastune: --folds: the run's training table {said}; put it back, or train anew\n",
        )


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--slice", "plcae"], "no column 'plcae' to slice by; there are: 'id', 'comment', 'label'"),
        (["--folds", "1"], "k: expected 2 folds or more, received 1"),
        (["--folds", "6"], "label 0 has too few rows to share out: expected 6 or more, received 5"),
        (["--seeds", "1"], "seeds: expected 2 or more, received 1; one seed has no spread"),
        (["--against", "nothing"], "nothing: no such file"),
        (["--against", "."], ".: no folder of a run: it has no config.toml; is it run?"),
        (["--skip-bad-rows"], "--skip-bad-rows: is for answers that are texts, "),
        (["--max-new-tokens", "9"], "--max-new-tokens: is for answers that are texts, "),
    ],
)
def test_what_is_refused_at_once(evaluate, reviews_file, run, words, said):
    status, out, err = evaluate("--input", reviews_file, *words)
    assert (status, out) == (2, "")
    assert err.startswith("kerastune: ")
    assert said in err
    assert err.count("\n") == 1
    assert not (run / "metrics.json").exists()


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "r9\t",
            "r10\t",
            "s.tsv, row 10: expected the id 'r9' of {rows}, received 'r10'; score that table with",
        ),
        (
            f"r9\t{HALF}\t{HALF}\n",
            "",
            "s.tsv: expected scores of the 10 rows of {rows}, received 9 rows; score that",
        ),
        (
            f"r3\t{HALF}",
            "r3\tnan",
            "s.tsv, line 5, column 'log_probability_0': expected a finite number, received",
        ),
        ("log_probability_1", "log_probability_x", "s.tsv: expected the columns id, log_probability_0, "),
    ],
)
def test_scores_of_other_rows_are_refused(evaluate, reviews_file, tmp_path, old, new, said):
    rows = read_dataset(reviews_file)
    Scores(rows.ids, (0, 1), np.full((10, 2), HALF)).save(tmp_path / "s.tsv")
    text = (tmp_path / "s.tsv").read_text()
    (tmp_path / "s.tsv").write_text(text.replace(old, new))
    status, _, err = evaluate("--input", reviews_file, "--against", "s.tsv")
    assert status == 2
    assert err.startswith("kerastune: " + said.format(rows=reviews_file))
    assert err.count("\n") == 1


@pytest.mark.usefixtures("no_model")
def test_a_label_that_was_not_learnt_is_refused(reviews, evaluate, tmp_path):
    file = table(tmp_path, labels=[1, 2, *LABELS[2:]])
    status, _, err = evaluate("--input", file)
    assert status == 2
    assert "other.tsv, line 3, column 'label': expected one of 0, 1, received '2'" in err
    three = replace(
        reviews.task, labels=(0, 1, 2), verbalizers={"v": ("별로", "최고", "보통")}, verbalizer="v"
    )
    rows = replace(read_dataset(file, three), name="test.tsv")
    train = replace(reviews, task=three, name="train.tsv")
    scores = Scores(rows.ids, (0, 1, 2), np.log(np.full((10, 3), 1 / 3)))
    message = (
        "test.tsv, line 3, column 'label': the label 2 is in no row of train.tsv, so the run has not learnt"
    )
    with pytest.raises(DataError, match=message):
        assess(scores, rows, train)


def test_a_single_class_is_measured(evaluate, run, tmp_path):
    status, out, _ = evaluate("--input", table(tmp_path, COMMENTS[::2], [1] * 5))
    assert status == 0
    found = json.loads((run / "metrics.json").read_text())["other"]["model"]
    assert found["mcc"] is found["roc_auc"] is found["intervals"]["mcc"] is None
    assert "ROC AUC" in out


def test_scores_that_are_no_numbers_are_refused(reviews):
    scores = Scores(reviews.ids, (0, 1), np.full((10, 2), np.nan))
    with pytest.raises(
        DataError, match="probabilities of row 1: expected numbers from 0 that sum to 1, received"
    ):
        assess(scores, reviews, None)
    with pytest.raises(
        DataError, match=r"the scores: expected scores of the labels .0, 1. of 'review-sentiment'"
    ):
        assess(replace(scores, labels=(1, 0)), reviews, None)


@pytest.mark.usefixtures("no_model")
def test_a_read_only_folder_is_refused_before_scoring(evaluate, reviews_file, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    status, _, err = evaluate("--input", reviews_file)
    assert (status, err) == (
        2,
        "kerastune: run: cannot write: Permission denied; metrics.json goes there, see to its permissions\n",
    )
