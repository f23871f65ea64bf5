"""Scores files read back strictly, and averaged."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerastune.cli import main
from kerastune.dataset import read_dataset
from kerastune.ensemble import average_scores, ensemble_files, parse_weights
from kerastune.errors import ConfigError, DataError, OutputError
from kerastune.saved_scores import load_scores
from kerastune.scoring import Scores
from kerastune.submission import check_submission

IDS = ("r1", "r2", "r3")
FIRST = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]
SECOND = [[0.3, 0.7], [0.45, 0.55], [0.9, 0.1]]


def save(path, probabilities, ids=IDS):
    Scores(ids, (0, 1), np.log(probabilities)).save(path)
    return path


L0, L1 = "log_probability_0", "log_probability_1"
HALF = f"{np.log(0.5)!r}"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two scores files of a labelled table, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test.tsv").write_text(
        "id\tcomment\tlabel\nr1\t맛있어요\t0\nr2\t짜요\t1\nr3\t최고\t0\n", encoding="utf-8"
    )
    save(tmp_path / "a.tsv", FIRST)
    save(tmp_path / "b.tsv", SECOND)
    return tmp_path


def test_scores_come_back_as_they_were_saved(files):
    scores = load_scores(files / "a.tsv")
    assert (scores.ids, scores.labels, scores.generated) == (IDS, (0, 1), None)
    np.testing.assert_array_equal(scores.log_probabilities, np.log(FIRST))


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (0, f"id\t{L0}\tlog_probability_2",
         f": expected the columns id, {L0}, {L1} of a scores file of 'review-sentiment', received id, "),
        (0, f"id\t{L1}\t{L0}", f": expected the columns id, {L0}, {L1} of a scores file of "),
        (2, "r2\tnan\t-0.5", f", line 3, column '{L0}': expected a finite number, received 'nan'"),
        (2, "r2\t-0.7\t-inf", f", line 3, column '{L1}': expected a finite number, received '-inf'"),
        (2, "r2\t-0.7\t-0_5", f", line 3, column '{L1}': expected a finite number, received '-0_5'"),
        (2, "r2\t-0.7\t", f", line 3, column '{L1}': expected a finite number, received ''"),
        (3, "r3\t-0.7\t-0.7",
         f", line 4, columns {L0} to {L1}: expected log-probabilities that sum to one as probabilities, "
         "received a sum of 0.993171; "),
        (3, "r3\t0.9\t0.1", f", line 4, columns {L0} to {L1}: expected log-probabilities that sum to one"),
        (3, f"r1\t{HALF}\t{HALF}",
         ", line 4, column 'id': the id 'r1' is already that of line 2; ids must differ"),
        (3, f"\t{HALF}\t{HALF}", ", line 4, column 'id': empty; write the row's id"),
        (3, "r3\t-0.7", f", line 4: expected 3 columns (id, {L0}, {L1}), received 2"),
    ],
)  # fmt: skip
def test_scores_that_are_damaged(files, line, text, said):
    lines = (files / "b.tsv").read_text().splitlines()
    lines[line] = text
    (files / "b.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError) as caught:
        load_scores("b.tsv")
    assert str(caught.value).startswith(f"b.tsv{said}")
    assert "\n" not in str(caught.value)


def test_rounding_is_allowed_and_no_rows_are_not(files):
    half = np.log(0.5)
    path = files / "c.tsv"
    path.write_text(f"id\tlog_probability_0\tlog_probability_1\nr1\t{half:.8f}\t{half:.8f}\n")
    assert load_scores(path).probabilities.sum() == pytest.approx(1, abs=1e-7)
    path.write_text("id\tlog_probability_0\tlog_probability_1\n")
    with pytest.raises(DataError, match=r"c\.tsv: column names, but no rows"):
        load_scores(path)


rows = st.lists(st.floats(-30, 30), min_size=3, max_size=3)


@given(
    logits=st.lists(st.tuples(rows, rows, rows), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
)
def test_the_mean_is_the_normalised_geometric_mean(logits, weights):
    ids = tuple(map(str, range(len(logits))))
    members = []
    for member in range(3):
        one = np.array([row[member] for row in logits])
        members.append(Scores(ids, ("a", "b", "c"), one - np.logaddexp.reduce(one, axis=1, keepdims=True)))
    mean = average_scores(members, weights)
    share = np.array(weights) / sum(weights)
    product = np.prod([one.probabilities**w for one, w in zip(members, share, strict=True)], axis=0)
    np.testing.assert_allclose(
        mean.probabilities, product / product.sum(axis=1, keepdims=True), rtol=1e-9, atol=1e-300
    )
    assert (mean.ids, mean.labels) == (ids, ("a", "b", "c"))


def test_what_is_written(files):
    done = ensemble_files(
        [files / "a.tsv", files / "b.tsv"], files / "test.tsv", files / "out.csv", weights=[3, 1]
    )
    expected = np.array(FIRST) ** 0.75 * np.array(SECOND) ** 0.25
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(load_scores(done.scores).probabilities, expected, rtol=1e-12)
    assert done.scores == files / "out.csv.scores.tsv"
    assert (files / "out.csv").read_text(encoding="utf-8") == (
        "id,comment,label\nr1,맛있어요,0\nr2,짜요,1\nr3,최고,1\n"
    )
    check_submission(done.submission, read_dataset(files / "test.tsv"))
    manifest = json.loads((files / "out.csv.manifest.json").read_text(encoding="utf-8"))
    assert manifest["label_counts"] == {"0": 1, "1": 2}
    assert [part["weight"] for part in manifest["extra"]["ensemble"]] == [0.75, 0.25]
    sha256 = [hashlib.sha256((files / name).read_bytes()).hexdigest() for name in ("a.tsv", "b.tsv")]
    assert [part["sha256"] for part in manifest["extra"]["ensemble"]] == sha256
    assert "numpy" in manifest["extra"]["versions"]
    assert done.measured == ()


@pytest.mark.usefixtures("files")
def test_accuracies_of_each_and_of_the_mean(capsys):
    words = ["ensemble", "a.tsv", "b.tsv", "--input", "test.tsv", "--out", "out.tsv"]
    assert main([*words, "--evaluate"]) == 0
    out = capsys.readouterr().out
    assert "a.tsv: accuracy 0.667 (" in out
    assert "b.tsv: accuracy 0.667 (" in out
    assert "the ensemble: accuracy 1.000 (" in out  # r3: 0.2 * 0.9 is more than 0.8 * 0.1
    assert "0.500 x a.tsv" in out
    assert "out.tsv: 3 rows, written, read back and compared" in out
    assert main([*words, "--weights", "0.9, 0.1"]) == 0
    out = capsys.readouterr().out
    assert "0.900 x a.tsv" in out
    assert "accuracy" not in out


def test_runs_stand_for_their_scores(files, capsys, tiny_run):
    for name, source in (("one", "a.tsv"), ("two", "b.tsv")):
        (files / name).mkdir()
        shutil.copy(files / source, files / name / "scores.tsv")
        shutil.copy(tiny_run.folder / "config.toml", files / name / "config.toml")
    done = ensemble_files([files / "one", files / "two"], files / "test.tsv", files / "out.tsv")
    assert [path for path, _ in done.members] == [files / "one/scores.tsv", files / "two/scores.tsv"]
    (files / "two" / "scores.tsv").unlink()
    assert main(["ensemble", "one", "two", "--input", "test.tsv", "--out", "out.tsv"]) == 2
    assert capsys.readouterr().err == (
        "kerastune: two: no scores.tsv in this folder; score the table with the run first: "
        "kerastune score two --input FILE\n"
    )


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (("r1", "r2"), "1 ids are missing ('r3'); average scores of this very table"),
        (("r1", "r2", "r3", "r4"), "1 ids are not in the input or are there twice ('r4')"),
        (("r2", "r1", "r3"), "in its order: line 2 is 'r2' where 'r1' was expected"),
        (("x", "y", "z", "u"), "3 ids are missing ('r1', 'r2', 'r3'), 4 ids are not in the input or "
                               "are there twice ('x', 'y', 'z', ...)"),
    ],
)  # fmt: skip
def test_scores_of_other_rows(files, ids, said):
    save(files / "b.tsv", [[0.5, 0.5]] * len(ids), ids)
    with pytest.raises(DataError) as caught:
        ensemble_files([files / "a.tsv", files / "b.tsv"], files / "test.tsv", files / "out.tsv")
    assert str(caught.value).startswith(f"{files / 'b.tsv'}: the ids are not those of ")
    assert said in str(caught.value)
    assert not list(files.glob("out*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.tsv"], "an ensemble is of two scores files or more, received 1"),
        (["a.tsv", "b.tsv", "--weights", "1"], "weights: expected 2, one a scores file, received 1"),
        (["a.tsv", "b.tsv", "--weights", "1,0"], "weights: expected finite numbers more than 0, received 0"),
        (["a.tsv", "b.tsv", "--weights", "1,nan"], "weights: expected finite numbers more than 0, received"),
        (["a.tsv", "b.tsv", "--weights", "1;2"],
         "weights: expected numbers with commas between them, received '1;2'"),
        (["a.tsv", "b.ts"], "b.ts: no such file; is it b.tsv"),
        (["a.tsv", "b.tsv", "--task", "stars"], "unknown task 'stars'; there are: review-sentiment"),
        (["a.tsv", "b.tsv", "--format", "json"], "format: expected 'tsv' or 'csv', received 'json'"),
        (["a.tsv", "b.tsv", "--sample", "s.tsv"], "s.tsv: no such file"),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_line(files, capsys, words, said):
    assert main(["ensemble", *words, "--input", "test.tsv", "--out", "out.tsv"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"kerastune: {said}")
    assert err.count("\n") == 1
    assert not list(files.glob("out*"))


def test_a_sample_is_followed(files):
    (files / "sample.csv").write_text("label,id\n0,r1\n0,r2\n0,r3\n")
    ensemble_files(
        [files / "a.tsv", files / "b.tsv"],
        files / "test.tsv",
        files / "out.csv",
        sample=files / "sample.csv",
    )
    assert (files / "out.csv").read_text() == "label,id\n0,r1\n1,r2\n0,r3\n"


def test_nowhere_to_write(files):
    with pytest.raises(OutputError, match=r"cannot write: .*; free some space or choose another --out"):
        ensemble_files([files / "a.tsv", files / "b.tsv"], files / "test.tsv", files / "a.tsv" / "out.tsv")


def test_weights_are_read_with_commas():
    assert parse_weights("0.7,0.3") == [0.7, 0.3]
    with pytest.raises(ConfigError, match="weights: expected numbers with commas"):
        parse_weights("0.7,")
