"""Wholly or not at all."""

import errno
import os
from pathlib import Path

import pytest

from kerastune.atomic import atomic_file, atomic_folder, write_text
from kerastune.errors import OutputError


def tree(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def fail_on_a_full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half_write(path, error):
    path.write_text("half")
    raise error


def test_text_is_written_as_it_is(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "맛\r\n\n")
    assert path.read_bytes() == "맛\r\n\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    (tmp_path / "ordinary").touch()
    write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failing_block_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(error), atomic_file(path) as temporary:
        half_write(temporary, error)
    assert tree(tmp_path) == {"a.txt": "old"}


@pytest.mark.parametrize("where", ["write_text", "replace"])
def test_full_disk_is_one_line(tmp_path, monkeypatch, where):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with monkeypatch.context() as patched:
        patched.setattr(Path, where, fail_on_a_full_disk)
        with pytest.raises(OutputError, match="No space left on device") as caught:
            write_text(path, "new")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == {"a.txt": "old"}


def test_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "a.txt" / "b").mkdir(parents=True)
    with pytest.raises(OutputError, match="there is a folder of that name"):
        write_text(tmp_path / "a.txt", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(OutputError, match="there is a file of that name"), atomic_folder(tmp_path / "run"):
        pass
    assert tree(tmp_path) == {"run": "mine"}


def test_old_folder_is_put_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    with atomic_folder(tmp_path / "run") as temporary:
        (temporary / "a.txt").write_text("old")
    replace = Path.replace

    def only_the_first(path, target):
        return replace(path, target) if path.name == "run" else fail_on_a_full_disk()

    monkeypatch.setattr(Path, "replace", only_the_first)
    with pytest.raises(OutputError, match="No space left"), atomic_folder(tmp_path / "run") as temporary:
        (temporary / "b.txt").write_text("new")
    assert tree(tmp_path) == {"run/a.txt": "old"}
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_folder_is_replaced_as_a_whole(tmp_path):
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "run") as temporary:
            (temporary / text).mkdir()
            (temporary / text / "a.txt").write_text(text)
        assert tree(tmp_path) == {f"run/{text}/a.txt": text}
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("error", "seen"), [(ValueError("no"), ValueError), (OSError(errno.ENOSPC, "full"), OutputError)]
)
def test_failing_block_leaves_the_old_folder_and_nothing_else(tmp_path, error, seen):
    with atomic_folder(tmp_path / "run") as temporary:
        (temporary / "a.txt").write_text("old")
    with pytest.raises(seen), atomic_folder(tmp_path / "run") as temporary:
        half_write(temporary / "b.txt", error)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert tree(tmp_path) == {"run/a.txt": "old"}
