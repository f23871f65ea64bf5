"""A submission is the input's rows in the input's order, and says so itself."""

import csv
import hashlib
import json
import os
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from kerastune.dataset import read_dataset
from kerastune.errors import ConfigError, DataError, OutputError
from kerastune.submission import (
    check_submission,
    default_submission_name,
    require_submittable,
    write_submission,
)
from kerastune.task import SubmissionSchema

INPUT = 'label\tid\tcomment\tnote\r\n0\t007\t"맛 NA\tx\r\n0\tb\t그냥, 뭐\tx\r\n0\t10\t최고ㅋㅋ\tx'


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "test.txt"
    path.write_bytes(INPUT.encode())
    return read_dataset(path, labelled=False)


def test_bytes_of_a_tsv(data, tmp_path):
    path = write_submission(tmp_path / "new" / "out.txt", data, np.array([1.0, 0.0, 1.0]))
    assert (
        path.read_bytes().decode() == 'id\tcomment\tlabel\n007\t"맛 NA\t1\nb\t그냥, 뭐\t0\n10\t최고ㅋㅋ\t1\n'
    )
    back = pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, dtype={"id": str}, keep_default_na=False)
    assert back["id"].tolist() == ["007", "b", "10"]
    assert back["label"].tolist() == [1, 0, 1]


def test_bytes_of_a_csv(data, tmp_path):
    path = write_submission(tmp_path / "out.csv", data, [1, 0, 1])
    assert path.read_bytes().decode() == 'id,comment,label\n007,"""맛 NA",1\nb,"그냥, 뭐",0\n10,최고ㅋㅋ,1\n'
    with path.open(encoding="utf-8", newline="") as file:
        assert [row[1] for row in csv.reader(file)] == ["comment", *data.texts]


def test_manifest_says_what_it_was_made_from(data, tmp_path):
    path = write_submission(tmp_path / "out.tsv", data, [1, 0, 1], extra={"model": "gemma3-270m"})
    manifest = json.loads((tmp_path / "out.tsv.manifest.json").read_text(encoding="utf-8"))
    assert manifest["input"] == {"file": "test.txt", "sha256": hashlib.sha256(INPUT.encode()).hexdigest()}
    assert manifest["submission"] == {
        "file": "out.tsv",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert (manifest["rows"], manifest["label_counts"]) == (3, {"0": 1, "1": 2})
    assert (manifest["task"], manifest["extra"]) == ("review-sentiment", {"model": "gemma3-270m"})


def test_generated_ids_and_line_breaks_go_into_csv_but_not_into_tsv(tmp_path):
    data = read_dataset(pd.DataFrame({"comment": ["한 줄", "두\n줄\r"]}), labelled=False)
    write_submission(tmp_path / "out.csv", data, [0, 1])
    check_submission(tmp_path / "out.csv", data)
    assert read_dataset(tmp_path / "out.csv").ids == ("1", "2")
    with pytest.raises(DataError, match="the frame, row 2, column 'comment': a tab or a line break"):
        write_submission(tmp_path / "out.tsv", data, [0, 1])
    assert not (tmp_path / "out.tsv").exists()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1, 0], "expected 3 labels, one a row, received 2"),
        ([1, 0, 2], r"line 4: expected a label out of 0, 1, received 2"),
        ([1, float("nan"), 1], r"line 3: expected a label out of 0, 1, received nan"),
        (["1", 0, 1], r"line 2: expected a label out of 0, 1, received '1'"),
    ],
)
def test_labels_must_be_the_tasks(data, tmp_path, labels, said):
    with pytest.raises(DataError, match=said):
        write_submission(tmp_path / "out.tsv", data, labels)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["b\t그냥, 뭐\t0", '007\t"맛 NA\t1', "10\t최고ㅋㅋ\t1"], "line 2 is 'b' where '007' was expected"),
        (['007\t"맛 NA\t1', "10\t최고ㅋㅋ\t1"], "1 ids are missing ('b')"),
        (
            ['7\t"맛 NA\t1', "b\t그냥, 뭐\t0", "10\t최고ㅋㅋ\t1"],
            "1 ids are missing ('007'), 1 ids are not in the input",
        ),
        (
            ['007\t"맛 NA\t1', "b\t그냥, 뭐\t0", "10\t최고ㅋㅋ\t1", "10\t최고ㅋㅋ\t1"],
            "or are there twice ('10')",
        ),
        (
            ['007\t"맛 NA\t1', "b\t그냥 뭐\t0", "10\t최고ㅋㅋ\t1"],
            "line 3, column 'comment': expected the text of",
        ),
        (
            ['007\t"맛 NA\t1', "b\t그냥, 뭐\t0", "10\t최고ㅋㅋ\t2"],
            "line 4, column 'label': expected one of 0, 1",
        ),
    ],
)
def test_check_names_what_is_wrong(data, tmp_path, rows, said):
    path = tmp_path / "theirs.tsv"
    path.write_text("\n".join(["id\tcomment\tlabel", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        check_submission(path, data)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_check_wants_the_tasks_columns(data, tmp_path):
    path = tmp_path / "theirs.csv"
    pd.DataFrame({"id": ["007"], "label": [1]}).to_csv(path)
    with pytest.raises(DataError, match="expected the columns id, comment, label, received , id, label"):
        check_submission(path, data)


def test_unknown_extension_and_full_disk_leave_nothing(data, tmp_path, monkeypatch):
    with pytest.raises(OutputError, match=r"expected a name that ends in \.tsv, \.txt or \.csv"):
        write_submission(tmp_path / "out.xlsx", data, [0, 1, 0])
    out = write_submission(tmp_path / "runs" / "out.tsv", data, [0, 1, 0])
    before = out.read_bytes()

    def full(_handle):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_submission(out, data, [1, 1, 1])
    assert out.read_bytes() == before
    assert sorted(entry.name for entry in out.parent.iterdir()) == ["out.tsv", "out.tsv.manifest.json"]


@pytest.mark.parametrize(
    ("name", "format", "first"),
    [
        ("out.txt", "csv", "id,comment,label"),
        ("out.csv", "tsv", "id\tcomment\tlabel"),
        ("out", "tsv", "id\tcomment\tlabel"),
        ("out.CSV", None, "id,comment,label"),
    ],
)
def test_a_format_that_is_asked_for_is_over_the_extension(data, tmp_path, name, format, first):
    path = write_submission(tmp_path / name, data, [1, 0, 1], format=format)
    assert path.read_text(encoding="utf-8").splitlines()[0] == first
    check_submission(path, data, format=format)


def test_an_unknown_format(data, tmp_path):
    with pytest.raises(ConfigError, match="format: expected 'tsv' or 'csv', received 'xlsx'"):
        write_submission(tmp_path / "out.tsv", data, [1, 0, 1], format="xlsx")


@pytest.mark.parametrize(
    ("name", "sample", "written"),
    [
        ("s.csv", "label,id\n,007\n,b\n,10\n", "label,id\n1,007\n0,b\n1,10\n"),
        ("s.txt", "id\tlabel\tnote\n007\t?\tx\nb\t0\tx\n10\t0\tx",
         "id\tlabel\tnote\n007\t1\tx\nb\t0\tx\n10\t1\tx\n"),
    ],
)  # fmt: skip
def test_a_samples_columns_and_format_are_followed(data, tmp_path, name, sample, written):
    (tmp_path / name).write_text(sample, encoding="utf-8")
    path = write_submission(tmp_path / f"out{name[1:]}", data, [1, 0, 1], sample=tmp_path / name)
    assert path.read_bytes().decode() == written
    check_submission(path, data, sample=tmp_path / name)
    manifest = json.loads(path.with_name(f"{path.name}.manifest.json").read_text(encoding="utf-8"))
    assert manifest["sample"] == {"file": name, "sha256": hashlib.sha256(sample.encode()).hexdigest()}
    assert manifest["columns"] == written.partition("\n")[0].replace(",", "\t").split("\t")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["id\tlabel", "007\t0", "10\t0"], "1 ids are missing ('b'); give the sample that goes with this"),
        (["id\tlabel", "007\t0", "b\t0", "10\t0", "c\t0"], "1 ids are not in the input or are there tw"),
        (["id\tlabel", "b\t0", "007\t0", "10\t0"], "in its order: line 2 is 'b' where '007' was expected; "),
        (["id\tlabel", "7\t0", "b\t0", "10\t0"], "1 ids are missing ('007'), 1 ids are not in the input or "),
        (["id\tcomment\tlabel", "007\t맛\t0", "b\t그냥, 뭐\t0", "10\t최고ㅋㅋ\t0"],
         "line 2, column 'comment': expected the text of"),
        (["id\tsentiment", "007\t0", "b\t0", "10\t0"], "the sample has no column 'label', which a sub"),
        (["id\tlabel\tscore", "007\t0\t0", "b\t0\t0", "10\t0\t0"], "the sample has the column 'score', whi"),
        (["007\t0", "b\t0", "10\t0"], "begins with a row, not with column names; write id, comment, label "),
    ],
)  # fmt: skip
def test_a_sample_that_does_not_go_with_the_input(data, tmp_path, lines, said):
    sample = tmp_path / "sample.tsv"
    sample.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for call in (
        lambda: require_submittable(None, data, sample=sample),
        lambda: write_submission(tmp_path / "out.tsv", data, [1, 0, 1], sample=sample),
    ):
        with pytest.raises(DataError) as caught:
            call()
        assert str(caught.value).startswith(str(sample))
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.tsv").exists()


def test_a_name_of_another_format_than_the_samples(data, tmp_path):
    (tmp_path / "s.csv").write_text("id,label\n007,0\nb,0\n10,0\n", encoding="utf-8")
    with pytest.raises(OutputError, match=r"out\.tsv: its name says tsv, the sample .*s\.csv is csv; choose"):
        write_submission(tmp_path / "out.tsv", data, [1, 0, 1], sample=tmp_path / "s.csv")
    path = write_submission(tmp_path / "out.tsv", data, [1, 0, 1], sample=tmp_path / "s.csv", format="tsv")
    assert path.read_text(encoding="utf-8") == "id\tlabel\n007\t1\nb\t0\n10\t1\n"
    with pytest.raises(DataError, match=r"test\.md: expected a sample that ends in"):
        require_submittable(None, data, sample=tmp_path / "test.md")


def test_default_names_have_their_formats_extension(data, tmp_path):
    (tmp_path / "s.csv").write_text("id,label\n007,0\nb,0\n10,0\n", encoding="utf-8")
    assert require_submittable(None, data).format == "tsv"
    assert require_submittable(None, data, format="csv").format == "csv"
    assert require_submittable(None, data, sample=tmp_path / "s.csv").format == "csv"
    now = datetime(2024, 4, 8, 1, 53, 12)
    assert default_submission_name(now, "csv") == "tarr_my_submit_20240408_015312.csv"


def with_schema(data, **schema):
    task = replace(data.task, submission=SubmissionSchema(label_type="integer", **schema))
    return replace(data, task=task)


def test_integer_labels_are_read_as_they_are_written(data, tmp_path):
    path = tmp_path / "theirs.tsv"
    path.write_text(
        'id\tcomment\tlabel\n007\t"맛 NA\t1.0\nb\t그냥, 뭐\t0\n10\t최고ㅋㅋ\t1\n', encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"line 2, column 'label': expected one of 0, 1, received '1\.0'"):
        check_submission(path, data)
    check_submission(path, replace(data, task=replace(data.task, submission=SubmissionSchema())))


def test_integer_ids(tmp_path):
    frame = pd.DataFrame({"id": ["10", "9", "007"], "comment": ["가", "나", "다"]})
    data = with_schema(read_dataset(frame, labelled=False), id_type="integer")
    with pytest.raises(DataError, match="the frame, row 3, column 'id': expected a whole number as id, with"):
        write_submission(tmp_path / "out.tsv", data, [0, 1, 0])
    write_submission(tmp_path / "out.tsv", data.take([0, 1]), [0, 1])


@pytest.mark.parametrize(("id_type", "ids"), [("integer", ["9", "10", "100"]), ("text", ["10", "100", "9"])])
def test_rows_ordered_by_id(tmp_path, id_type, ids):
    frame = pd.DataFrame({"id": ["100", "9", "10"], "comment": ["가", "나", "다"]})
    data = with_schema(
        read_dataset(frame, labelled=False), id_type=id_type, order="id", columns=("label", "id")
    )
    labels = {"100": 1, "9": 0, "10": 1}
    path = write_submission(tmp_path / "out.csv", data, [1, 0, 1])
    assert path.read_text().splitlines() == ["label,id", *(f"{labels[name]},{name}" for name in ids)]
    check_submission(path, data)
    with pytest.raises(DataError, match="was expected"):
        check_submission(path, replace(data, task=with_schema(data, columns=("label", "id")).task))


def test_a_column_that_the_input_does_not_have(data, tmp_path):
    data = with_schema(data, columns=("id", "stars", "label"))
    with pytest.raises(DataError, match=r"test\.txt: no column 'stars', which a submission of 'review-sent"):
        write_submission(tmp_path / "out.tsv", data, [0, 1, 0])


def test_a_folder_in_the_place_of_the_submission(data, tmp_path):
    with pytest.raises(OutputError, match="expected a file's name, received a folder"):
        require_submittable(tmp_path, data, format="csv")
