"""Bad input through the command line: one line with the place and the way out, nothing half-written."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from kerastune.cli import main
from kerastune.config_file import read_config, write_config
from tests.conftest import COMMENTS, LABELS

ROWS = [f"r{n}\t{text}\t{label}" for n, (text, label) in enumerate(zip(COMMENTS, LABELS, strict=True))]
HEADER = "id\tcomment\tlabel"


@pytest.fixture
def refused(capfd, monkeypatch, tmp_path):
    """Call a command that must be refused in one line; what the line says."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        before = tree(tmp_path)
        status = main(list(map(str, words)))
        err = capfd.readouterr().err
        lines = [line for line in err.splitlines() if line.startswith("kerastune: ")]
        assert status == 2, err
        assert len(lines) == 1
        assert err.endswith(f"{lines[0]}\n")
        assert "Traceback" not in err
        assert tree(tmp_path) == before
        return lines[0].removeprefix("kerastune: ")

    return call


@pytest.fixture
def train(refused, tiny_model):
    """Train on a table that must be refused."""
    return lambda table, *more: refused(
        "train", "--train", table, "--model", tiny_model.path, "--out", "run", *more
    )


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def table(folder, *lines, encoding="utf-8"):
    (folder / "train.tsv").write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return "train.tsv"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["id\tcomment\tlable", *ROWS],
         "train.tsv: no column 'label'; there are: 'id', 'comment', 'lable'; is it 'lable'? Rename it"),
        ([HEADER, *ROWS, "x\t좋아요\t2"], "train.tsv, line 12, column 'label': expected one of "),
        ([HEADER, *ROWS, "x\t \t1"], "train.tsv, line 12, column 'comment': empty; write a text, or drop"),
        ([HEADER], "train.tsv: column names, but no rows; expected one row at least"),
        ([], "train.tsv: empty; expected column names and rows"),
        ([HEADER, *ROWS[::2]],
         "train.tsv: all 5 rows have the label 1; training needs rows of at least two of 0, 1"),
        ([HEADER, *ROWS, ROWS[3]],
         "train.tsv, line 12, column 'id': the id 'r3' is already that of line 5; ids must differ"),
    ],
)  # fmt: skip
def test_tables(train, tmp_path, lines, said):
    assert train(table(tmp_path, *lines)).startswith(said)


def test_a_folder_for_a_file(train, tmp_path):
    (tmp_path / "tables").mkdir()
    assert train("tables") == "tables: expected a file, received a folder; name the table inside it"


def test_an_unreadable_encoding(train, tmp_path):
    (tmp_path / "train.tsv").write_bytes(HEADER.encode() + b"\nr0\t\xff\xfe\x00\xff\t1\n")
    assert train("train.tsv").startswith("train.tsv, byte ")


@pytest.mark.parametrize("size", [4, 1000, -1])
def test_a_truncated_base(refused, tmp_path, tiny_model, size):
    shutil.copytree(tiny_model.path, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    said = refused("train", "--train", table(tmp_path, HEADER, *ROWS), "--model", "model", "--out", "run")
    assert str(weights) in said
    assert said.endswith("fetch the file again") or said.endswith("fetch it again")


def test_a_truncated_adapter(refused, tmp_path, tiny_run):
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    weights = tmp_path / "run" / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    said = refused("score", "run", "--input", table(tmp_path, HEADER, *ROWS))
    assert said.startswith("run/adapter/adapter_model.safetensors: damaged or cut short (")
    assert said.endswith("copy the adapter again, or train anew")


def test_an_adapter_of_another_base(refused, tmp_path, tiny_run, make_tiny_model):
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    other = str(make_tiny_model(seed=9).path)
    config = read_config(tmp_path / "run" / "config.toml")
    write_config(config.with_options({"model": other}), tmp_path / "run" / "config.toml")
    said = refused("score", "run", "--input", table(tmp_path, HEADER, *ROWS))
    assert said.startswith("run/adapter: the adapter was trained with another base model: expected ")
    assert said.endswith("use what it was trained with, or train a new one")


def test_a_submission_that_could_not_be_written_is_refused_before_scoring(refused, tmp_path, tiny_run):
    rows = table(tmp_path, HEADER, *ROWS)
    score = ["score", tiny_run.folder, "--input", rows, "--out"]
    (tmp_path / "s.tsv").mkdir()
    assert refused(*score, "s.xlsx").startswith("s.xlsx: expected a name that ends in .tsv, .txt or .csv")
    assert (
        refused(*score, "s.tsv") == "s.tsv: expected a file's name, received a folder; choose another --out"
    )


def test_a_full_disk_while_scoring(refused, tmp_path, tiny_run, monkeypatch):
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    rows = table(tmp_path, HEADER, *ROWS)
    monkeypatch.setattr(os, "fsync", full_disk)
    said = refused("score", "run", "--input", rows, "--out", "s.tsv")
    assert said == (
        "run/scores.partial: cannot write: No space left on device; free some space and start the same "
        "command again"
    )


@pytest.mark.parametrize("file", ["config.toml", "history.jsonl", "adapter_model.safetensors"])
def test_a_full_disk_while_training(capfd, tmp_path, tiny_model, monkeypatch, file):
    """What is whole stays, so that the run can go on; no half of a file does."""
    monkeypatch.chdir(tmp_path)
    for name in ("open", "write_text", "write_bytes"):
        monkeypatch.setattr(Path, name, full_for(file, getattr(Path, name)))
    rows = table(tmp_path, HEADER, *ROWS)
    words = ["train", "--train", rows, "--model", tiny_model.path, "--out", "run", "--epochs", 1,
             "--batch-size", 5, "--max-length", 96]  # fmt: skip
    assert main(list(map(str, words))) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("kerastune: run/")
    assert "cannot write: No space left on device; " in line
    left = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert {name for name in left if not name.startswith("step_")} <= {"config.toml", "history.jsonl"}
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize(
    ("words", "file"),
    [(["merge", "--out", "merged"], "model.safetensors"), (["convert", "--out", "it.lora.h5"], "it.lora.h5")],
)
def test_a_full_disk_while_writing_an_adapter_out(
    refused, tiny_run, tmp_path, reviews_file, monkeypatch, words, file
):
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    more = ["--input", reviews_file] if words[0] == "merge" else []
    monkeypatch.setattr(Path, "write_bytes", full_for(file, Path.write_bytes))
    assert refused(words[0], "run", *words[1:], *more) == (
        f"{words[-1]}: cannot write: No space left on device; free some space or choose another --out"
    )


def test_a_base_that_is_on_no_hub(refused, tiny_run, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = refused("merge", tiny_run.folder / "adapter", "--out", "merged", "--model", "nobody/nothing")
    assert said.startswith("nobody/nothing: ")


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_for(name, method):
    """A `Path` method for which the disk is full where the file's name has this name in it."""

    def call(path, *args, **options):
        reading = method.__name__ == "open" and (args or ("r",))[0].startswith("r")
        if name in path.name and not reading:
            full_disk()
        return method(path, *args, **options)

    return call


def test_a_comment_of_a_megabyte_is_scored(capfd, tmp_path, tiny_run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    long = "국물이 맛있어요 👨‍👩‍👧 " * 30_000
    assert len(long.encode()) > 1_000_000
    rows = table(tmp_path, HEADER, *ROWS, f"long\t{long}\t1")
    assert main(["score", "run", "--input", rows, "--out", "s.tsv"]) == 0, capfd.readouterr().err
    lines = (tmp_path / "s.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 12
    assert lines[-1].startswith(f"long\t{long}\t")
