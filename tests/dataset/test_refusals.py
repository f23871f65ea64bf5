"""Bad input: one line that names the file, the place and the way out."""

import codecs

import numpy as np
import pandas as pd
import pytest

from kerastune.dataset import read_dataset
from kerastune.errors import DataError

HEAD = "id\tcomment\tlabel\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tsv", b"", "a.tsv: empty; expected column names and rows"),
        ("a.csv", b"\r\n\n", "a.csv: empty; expected column names and rows"),
        ("a.jsonl", b"", "a.jsonl: empty; expected column names and rows"),
        ("a.tsv", HEAD, "a.tsv: column names, but no rows"),
        (
            "a.tsv",
            "id\tComment\tlabel\n1\ta\t1\n",
            "no column 'comment'; there are: 'id', 'Comment', 'label'; is it 'Comment'?",
        ),
        ("a.tsv", "id\tcomment\n1\ta\n", "no column 'label'; there are: 'id', 'comment'"),
        ("a.tsv", "ID\tcomment\tlabel\n1\ta\t1\n", "column 'ID' is not quite the id column 'id'"),
        ("a.tsv", "id\tcomment\tlabel\tlabel\n1\ta\t1\t0\n", "2 columns are named 'label'"),
        (
            "a.tsv",
            HEAD + "1\ta\t1\n2\tb\tpositive\n",
            "a.tsv, line 3, column 'label': expected one of 0, 1, received 'positive'",
        ),
        ("a.tsv", HEAD + "1\ta\t1.5\n", "line 2, column 'label': expected one of 0, 1, received '1.5'"),
        ("a.tsv", HEAD + "1\ta\t 1\n", "received ' 1'"),
        ("a.tsv", HEAD + "1\ta\t\n", "received an empty cell"),
        ("a.tsv", HEAD + "1\t \u3000\t1\n", "a.tsv, line 2, column 'comment': empty"),
        (
            "a.tsv",
            HEAD + "7\ta\t1\n8\tb\t1\n7\tc\t0\n",
            "line 4, column 'id': the id '7' is already that of line 2",
        ),
        (
            "a.tsv",
            HEAD + "\ta\t1\n",
            "column 'id': expected text or a whole number as id, received an empty cell",
        ),
        (
            "a.tsv",
            HEAD + "1\ta\tb\t1\n",
            "line 2: expected 3 columns (id, comment, label), received 4; look there for a separator",
        ),
        ("a.tsv", HEAD + "1\ta\n", "line 2: expected 3 columns (id, comment, label), received 2"),
        ("a.tsv", HEAD + "1\ta\t1\n\n2\tb\t0\n", "line 3: a blank line inside the table"),
        ("a.tsv", HEAD + "1\ta\0b\t1\n", "a.tsv, line 2, character 4: a NUL"),
        (
            "a.tsv",
            HEAD.encode() + b"1\t\xff\xff\t1\n",
            "a.tsv, byte 19: unreadable (neither UTF-8 nor, from here on, cp949)",
        ),
        (
            "a.tsv",
            HEAD.encode() + "1\t맛있다\t1\n2\t좋".encode()[:-1],
            "byte 33: unreadable (UTF-8 but for this place)",
        ),
        ("a.tsv", codecs.BOM_UTF16_LE + b"i\0d", "byte 4: unreadable (utf-16-le by its mark)"),
        (
            "a.csv",
            'id,comment,label\n1,"a",1\n2,"b,0\n3,c,1\n',
            "a.csv, line 3: not CSV: unexpected end of data",
        ),
        ("a.csv", 'id,comment,label\n1,"a"b,1\n', "a.csv, line 2: not CSV: ',' expected after"),
        ("a.csv", "id,comment,label\n\n1,a,1\n", "line 2: a blank line inside the table"),
        (
            "a.jsonl",
            '{"comment": "a", "label": 1}\n{"comment": "b" "label": 1}\n',
            "a.jsonl, line 2, column 17: not JSON: Expecting ',' delimiter",
        ),
        ("a.jsonl", '{"comment": "a", "label": 1}\n\n{"comment": "b", "label": 1}\n', "line 2: a blank line"),
        (
            "a.jsonl",
            '{"comment": "a", "label": 1}\n{"comment": "b"}\n',
            "line 2: expected the keys comment, label, received comment",
        ),
        ("a.jsonl", '{"comment": "a", "comment": "b"}\n', "line 1: the key 'comment' is there twice"),
        ("a.jsonl", "[1]\n", "line 1: expected a JSON object, received list"),
        ("a.jsonl", "[" * 100_000, "line 1: not JSON that can be read"),
        (
            "a.jsonl",
            '{"comment": 3, "label": 1}\n',
            "line 1, column 'comment': expected text, received 3 (int)",
        ),
        (
            "a.jsonl",
            '{"comment": null, "label": 1}\n',
            "column 'comment': expected text, received a missing value",
        ),
        (
            "a.jsonl",
            '{"comment": "a", "label": true}\n',
            "column 'label': expected one of 0, 1, received True (bool)",
        ),
        (
            "a.jsonl",
            '{"comment": "a\\ud800", "label": 1}\n',
            r"column 'comment': character 2 is '\ud800', which is no text",
        ),
        ("a.jsonl", '{"comment": "a\\u0000", "label": 1}\n', r"character 2 is '\x00', which is no text"),
        ("a.parquet", b"PAR1 but no more", "a.parquet: not a whole Parquet file"),
        (
            "a.xlsx",
            b"PK",
            "expected a file that ends in .tsv, .txt, .csv, .jsonl, .ndjson, .parquet, received .xlsx",
        ),
    ],
)
def test_bad_file(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read_dataset(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"comment": ["a", np.nan], "label": [1, 0]},
            "the frame, row 2, column 'comment': expected text, received a missing value",
        ),
        ({"comment": [5], "label": [1]}, "received 5 (int)"),
        (
            {"comment": ["a", "b"], "label": [1.0, np.nan]},
            "row 2, column 'label': expected one of 0, 1, received a missing value",
        ),
        (
            {"comment": ["a", "b"], "label": [1.0, 0.5]},
            "row 2, column 'label': expected one of 0, 1, received 0.5 (float)",
        ),
        (
            {"id": [1.0], "comment": ["a"], "label": [1]},
            "column 'id': expected text or a whole number as id, received 1.0 (float)",
        ),
        (
            {"id": [None], "comment": ["a"], "label": [1]},
            "column 'id': expected text or a whole number as id, received a missing value",
        ),
        ({}, "the frame: empty"),
        ({"comment": [], "label": []}, "the frame: column names, but no rows"),
    ],
)
def test_bad_frame(columns, said):
    with pytest.raises(DataError) as caught:
        read_dataset(pd.DataFrame(columns))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_doubled_column_of_a_frame():
    frame = pd.DataFrame([["a", "b", 1]], columns=["comment", "comment", "label"])
    with pytest.raises(DataError, match="2 columns are named 'comment'"):
        read_dataset(frame)


def test_missing_file_names_the_near_one(tmp_path):
    (tmp_path / "train.tsv").write_text("x")
    with pytest.raises(DataError, match=r"trian\.tsv: no such file; is it train\.tsv\?"):
        read_dataset(tmp_path / "trian.tsv")
    with pytest.raises(DataError, match="no such file; there is no folder"):
        read_dataset(tmp_path / "nowhere" / "train.tsv")


def test_folder_for_a_file(tmp_path):
    with pytest.raises(DataError, match="expected a file, received a folder"):
        read_dataset(tmp_path)
