"""A submission is the input's rows in the input's order, and says so itself."""

import csv
import hashlib
import json
import os

import numpy as np
import pandas as pd
import pytest

from kerastune.dataset import read_dataset
from kerastune.errors import DataError, OutputError
from kerastune.submission import check_submission, write_submission

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
