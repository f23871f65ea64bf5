"""From folders to a file: by function and by command, from scores that are there, and what is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from kerastune.cli import main
from kerastune.dataset import read_dataset
from kerastune.errors import ConfigError, DataError, MissingExtraError, OutputError
from kerastune.report import fonts, write_report
from kerastune.report.gathering import gather
from kerastune.report.history import read_history
from kerastune.run import Run
from tests.report.conftest import make_scores, write_rows


@pytest.fixture
def no_model(monkeypatch):
    """Fail where a model would be loaded."""

    def refuse(*_, **__):
        raise AssertionError("a model was asked for")

    monkeypatch.setattr(Run, "score", refuse)


@pytest.mark.usefixtures("no_model")
def test_scores_of_the_same_rows_are_used_again(make_run, table):
    folder = make_run()
    path = write_report(folder, table)
    assert path == folder / "report.html"
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_other_rows_and_another_adapter_are_scored(make_run, table, tmp_path, monkeypatch):
    asked = []

    def score(self, rows, *, show=True):
        asked.append((self.folder.name, rows.name, show))
        return make_scores(rows, 2.0, 1)

    monkeypatch.setattr(Run, "score", score)
    folder = make_run("changing")
    other = write_rows(tmp_path / "other.tsv", ["a\t맛있어요\t1", "b\t별로예요\t0"])
    assert len(gather(folder, other, show=False).runs[0].predicted) == 2
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"another")
    gather(folder, table)
    assert asked == [("changing", str(other), False), ("changing", str(table), True)]


@pytest.mark.usefixtures("no_model")
def test_the_command(make_run, table, tmp_path, capsys):
    first, second = make_run("first"), make_run("second", seed=5)
    out = tmp_path / "pages" / "both.html"
    words = ["report", first, "--input", table, "--against", second, "--out", out]
    assert main(list(map(str, words))) == 0
    assert str(out) in capsys.readouterr().out.replace("\n", "")
    assert "<title>first and second on held_out.tsv</title>" in out.read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_model")
def test_a_column_is_sliced_by(make_run, table):
    content = gather(make_run(), table, columns=["label"])
    parts = {part.value: part.rows for part in content.runs[0].evaluated.slices if part.slice == "label"}
    assert parts == {"0": 60, "1": 60}


@pytest.mark.usefixtures("no_model")
def test_without_the_training_table_the_report_says_so(make_run, table):
    folder = make_run("moved")
    source = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["train"]["source"]
    write_rows(Path(source), ["t0\t다른 글\t1", "t1\t또 다른 글\t0"])
    content = gather(folder, table)
    assert content.data is None
    assert content.runs[0].evaluated.baselines == {}
    assert "has changed since" in write_report(folder, table).read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_model")
def test_what_was_repeated_is_shown(make_run, table):
    folder = make_run("repeated")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    spread = {"accuracy": {"mean": 0.8125, "sd": 0.0213, "lowest": 0.78, "highest": 0.84}, "mcc": None}
    metrics[table.stem]["seeds"] = {"runs": [{"seed": 0}, {"seed": 1}, {"seed": 2}], "summary": spread}
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    page = write_report(folder, table).read_text(encoding="utf-8")
    assert "3 seeds, model" in page
    assert "0.812 <small>sd 0.021</small>" in page


@pytest.mark.usefixtures("no_model")
def test_what_is_refused(make_run, table, tmp_path, monkeypatch):
    folder = make_run("mine")
    with pytest.raises(ConfigError, match="expected another run, received the same; choose two"):
        write_report(folder, table, against=folder)
    with pytest.raises(ConfigError, match="no folder of a run"):
        write_report(folder, table, against=tmp_path)
    with pytest.raises(OutputError, match=r"report\.txt: expected a name that ends in \.html"):
        write_report(folder, table, out=tmp_path / "report.txt")
    with pytest.raises(DataError, match="no such file"):
        write_report(folder, tmp_path / "none.tsv")
    with pytest.raises(DataError, match="no column 'place'"):
        write_report(folder, table, columns=["place"])
    unlabelled = tmp_path / "unlabelled.tsv"
    unlabelled.write_text("id\tcomment\na\t맛있어요\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column 'label'"):
        write_report(folder, unlabelled)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"jinja2 is not installed.*kerastune\[report\]"):
        write_report(folder, table)


def test_a_damaged_history_is_named(tmp_path):
    (tmp_path / "history.jsonl").write_text(
        '{"step": 1, "loss": 2, "learning_rate": 0.1}\n{"st', encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"history.jsonl, line 2: expected an entry that training wrote"):
        read_history(tmp_path)
    assert read_history(tmp_path / "none").steps == ()


def test_a_fresh_run_without_history_or_training_has_no_curves(make_run, table):
    folder = make_run("untrained")
    (folder / "history.jsonl").unlink()
    page = write_report(folder, table).read_text(encoding="utf-8")
    assert '<section id="training">' not in page
    assert '<section id="trust">' in page


def test_calibration_can_be_taken_back(table):
    from kerastune.calibration import Calibration, FittedOn
    from kerastune.report.gathering import _uncalibrated

    rows = read_dataset(table)
    raw = make_scores(rows, 1.0, 2)
    calibration = Calibration(
        labels=(0, 1), label_words=("별로", "최고"), methods=("temperature",), scale=0.7, bias=(0.0, 0.4),
        decision_offsets=(0.0, -0.2),
        fitted_on=FittedOn(rows=9, source="v.tsv", sha256=None, metric="accuracy", reason="-",
                           before=None, after=None),
    )  # fmt: skip
    found = _uncalibrated(calibration.apply_to_scores(raw), calibration)
    np.testing.assert_allclose(found, raw.probabilities, atol=1e-12)
    assert _uncalibrated(raw, None) is None


def test_the_packaged_font_is_found_without_running_its_package():
    typeface = fonts.find_typeface()
    assert typeface is not None
    assert "koreanize_matplotlib" not in sys.modules
