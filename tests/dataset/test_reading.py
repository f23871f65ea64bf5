"""Formats and encodings: the rows that go in are the rows that come out."""

import csv
import hashlib
import io
import json
import time
import unicodedata

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerastune.dataset import read_dataset

ROWS = [
    ("007", '맛있다 "진짜', 1),
    ("x", "None", 0),
    ("3", "NA", 1),
    ("4", "null ㅋㅋ\u2028또\x0b올\x85게요", 0),
]
TSV = "id\tcomment\tlabel\n" + "".join(f"{name}\t{comment}\t{label}\n" for name, comment, label in ROWS)

# Any text that a TSV cell can hold: no tab, no line end, no NUL, and something in it.
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1).filter(
    lambda text: text.strip()
)


def as_rows(data):
    return list(zip(data.ids, data.texts, data.labels.tolist(), strict=True))


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("codec", "encoding"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8 with BOM"),
        ("utf-16", "utf-16-le"),
        ("cp949", "cp949"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("last_line_ends", [True, False])
def test_encodings_and_line_ends(write, codec, encoding, line_end, last_line_ends):
    rows = ROWS[:3] if codec == "cp949" else ROWS  # cp949 has no U+2028
    text = "\n".join(TSV.split("\n")[: len(rows) + 1]) + "\n" * last_line_ends
    data = read_dataset(write("a.tsv", text.replace("\n", line_end).encode(codec)))
    assert as_rows(data) == rows
    assert data.encoding == encoding
    assert data.lines == tuple(range(2, len(rows) + 2))


def test_utf16_big_endian(write):
    data = read_dataset(write("a.txt", b"\xfe\xff" + TSV.encode("utf-16-be")))
    assert (as_rows(data), data.encoding) == (ROWS, "utf-16-be")


def test_blank_lines_at_the_end_are_ignored(write):
    assert as_rows(read_dataset(write("a.tsv", TSV + "\n\r\n  \n"))) == ROWS


def test_every_format_gives_the_same_rows(write, tmp_path):
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("id", "comment", "label"), *ROWS])
    objects = [dict(zip(("id", "comment", "label"), row, strict=True)) for row in ROWS]
    frame = pd.DataFrame(objects)
    frame.to_parquet(tmp_path / "a.parquet")
    sources = [
        write("a.csv", buffer.getvalue()),
        write("a.jsonl", "".join(json.dumps(row) + "\n" for row in objects)),
        write("a.ndjson", "\r\n".join(json.dumps(row, ensure_ascii=False) for row in objects)),
        tmp_path / "a.parquet",
        str(write("a.TSV", TSV)),
        frame,
        frame.set_index("id"),
    ]
    assert [as_rows(read_dataset(source)) for source in sources] == [ROWS] * len(sources)


def test_csv_cell_with_line_breaks_keeps_them_and_the_line_numbers(write):
    data = read_dataset(write("a.csv", 'id,comment,label\n1,"첫 줄\n둘째, 줄 ""말""",1\r\n2,네,0\r\n\r\n'))
    assert data.texts == ('첫 줄\n둘째, 줄 "말"', "네")
    assert data.lines == (2, 4)


def test_integers_in_frames_and_parquet_stay_whole(tmp_path):
    frame = pd.DataFrame({"id": [1, 2], "comment": ["a", "b"], "stars": pd.array([5, None], dtype="Int64")})
    frame.to_parquet(tmp_path / "a.parquet")
    for source in (frame, tmp_path / "a.parquet"):
        data = read_dataset(source, labelled=False)
        assert data.ids == ("1", "2")
        assert data.frame["stars"].tolist() == ["5", ""]


def test_ids_are_numbered_only_where_there_is_no_id_column(write):
    data = read_dataset(write("a.tsv", "comment\n가\n나"), labelled=False)
    assert (data.ids, data.ids_generated, data.labels) == (("1", "2"), True, None)
    assert not read_dataset(write("b.tsv", TSV)).ids_generated


def test_placeholder_labels_are_kept_but_not_read(write):
    data = read_dataset(write("a.tsv", "id\tcomment\tlabel\n1\t가\t?\n"), labelled=False)
    assert data.labels is None
    assert data.frame["label"].tolist() == ["?"]


def test_nfd_becomes_nfc_and_is_counted_but_jamo_stay(write):
    nfd = unicodedata.normalize("NFD", "맛있다")
    header = unicodedata.normalize("NFD", "평")
    data = read_dataset(
        write("a.tsv", f"id\tcomment\t{header}\n1\t{nfd}\t-\n2\tㅋㅋ ㅠㅠ ①\t-\n"), labelled=False
    )
    assert data.texts == ("맛있다", "ㅋㅋ ㅠㅠ ①")
    assert data.nfc_rows == 1
    assert data.take([1]).nfc_rows == 0
    assert list(data.frame) == ["id", "comment", "평"]


def test_a_comment_of_a_megabyte_is_read_quickly(write):
    long = "맛" * 400_000
    for path in (write("a.tsv", f"comment\n{long}\n"), write("a.csv", f'comment\n"{long}"\n')):
        begin = time.perf_counter()
        assert read_dataset(path, labelled=False).texts == (long,)
        assert time.perf_counter() - begin < 2.0
    assert csv.field_size_limit() == 131_072  # the global limit is as it was


@given(st.lists(cells, min_size=1, max_size=8))
def test_any_texts_written_as_tsv_come_back_in_nfc(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("round") / "a.tsv"
    lines = ["id\tcomment", *(f"{place}\t{text}" for place, text in enumerate(texts))]
    path.write_bytes("\n".join(lines).encode())
    data = read_dataset(path, labelled=False)
    assert data.texts == tuple(unicodedata.normalize("NFC", text) for text in texts)
    assert data.nfc_rows == sum(not unicodedata.is_normalized("NFC", text) for text in texts)


def test_hash_is_that_of_the_files_bytes(write):
    data = read_dataset(write("a.tsv", "comment\r\nok\r\n"), labelled=False)
    assert data.sha256 == hashlib.sha256(b"comment\r\nok\r\n").hexdigest()
