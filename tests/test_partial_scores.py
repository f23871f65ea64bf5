"""Scores on disk while they are made: cut off anywhere, they go on to the same bytes."""

import errno
import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerastune import partial_scores
from kerastune.errors import ConfigError, OutputError
from kerastune.partial_scores import open_partial, require_plain_ids
from kerastune.scoring import Scores, join_scores

CHUNK, ROWS = 4, 10
IDS = tuple(f"리뷰 {number}" for number in range(ROWS))
IDENTITY = {"input": "a1", "adapter": "b2"}
OUT = Path("/elsewhere/s.tsv")
RUNS_ON = {"backend": "jax", "dtype": "float32"}
NUMBERS = np.random.default_rng(3).normal(size=(ROWS, 2))
LOG_PROBABILITIES = NUMBERS - np.logaddexp.reduce(NUMBERS, axis=1, keepdims=True)
GENERATED = np.arange(ROWS) % 3 - 1


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(partial_scores, "CHUNK", CHUNK)


def chunk_from(first, generates):
    rows = slice(first, first + CHUNK)
    return Scores(IDS[rows], (0, 1), LOG_PROBABILITIES[rows], GENERATED[rows] if generates else None)


class Killed(BaseException):
    """The process is gone: nothing more is written."""


def opened(path, generates=False, identity=IDENTITY, restart=False):
    return open_partial(path, IDS, (0, 1), generates=generates, identity=identity, restart=restart)


def score(path, generates=False, killed_after=None, **options):
    """Score what is left, or so many chunks of it; which rows those were, and the scores of all."""
    scored = []
    with opened(path, generates, **options) as partial:
        partial.begin(OUT, RUNS_ON)
        for first in range(partial.rows, ROWS, CHUNK):
            if len(scored) == killed_after:
                raise Killed
            partial.append(chunk_from(first, generates))
            scored.append(first)
        assert partial.complete
        if len(scored) == killed_after:
            raise Killed
        return scored, partial.scores


def whole_file(path, generates):
    """The bytes of a file that has every row, as a kill just before the end leaves it."""
    with pytest.raises(Killed):
        score(path, generates, killed_after=3)
    return path.read_bytes()


@pytest.mark.parametrize("generates", [False, True])
def test_a_row_is_a_line_and_every_digit_is_kept(tmp_path, generates):
    first, *lines = whole_file(tmp_path / "p", generates).decode().splitlines()
    assert json.loads(first) == {
        "identity": {**IDENTITY, "chunk": str(CHUNK)},
        "out": str(OUT),
        "runs_on": RUNS_ON,
    }
    cells = [line.split("\t") for line in lines]
    assert tuple(row[0] for row in cells) == IDS
    np.testing.assert_array_equal([list(map(float, row[1:3])) for row in cells], LOG_PROBABILITIES)
    assert [row[3:] for row in cells] == [[str(label)] if generates else [] for label in GENERATED]
    scored, scores = score(tmp_path / "p", generates)
    assert scored == []
    np.testing.assert_array_equal(scores.log_probabilities, LOG_PROBABILITIES)
    assert (scores.ids, scores.labels) == (IDS, (0, 1))
    assert (scores.generated is None) != generates
    assert not generates or scores.generated.tolist() == GENERATED.tolist()
    assert not (tmp_path / "p").exists()


@given(data=st.data(), generates=st.booleans())
@settings(max_examples=80, deadline=None)
def test_cut_off_at_any_byte_it_goes_on_after_the_last_whole_chunk(tmp_path_factory, data, generates):
    path = tmp_path_factory.mktemp("cut") / "p"
    whole = whole_file(path, generates)
    length = data.draw(st.integers(0, len(whole)))
    # After a crash of the system the end may be there in length alone.
    path.write_bytes(whole[:length] + b"\0" * data.draw(st.integers(0, 60)))
    lines = max(0, whole[:length].count(b"\n") - 1)
    kept = ROWS if lines == ROWS else lines // CHUNK * CHUNK
    if length == 0 or b"\n" not in whole[:length]:
        kept = 0
    scored, scores = score(path, generates)
    assert scored == list(range(kept, ROWS, CHUNK))
    np.testing.assert_array_equal(scores.log_probabilities, LOG_PROBABILITIES)
    assert not path.exists()


def test_what_follows_a_cut_is_written_in_its_place(tmp_path):
    whole = whole_file(tmp_path / "p", False)
    (tmp_path / "p").write_bytes(whole[:-30])
    with pytest.raises(Killed):
        score(tmp_path / "p", killed_after=1)
    assert (tmp_path / "p").read_bytes() == whole


def test_the_name_of_the_submission_is_that_of_the_beginning(tmp_path):
    whole_file(tmp_path / "p", False)
    with opened(tmp_path / "p") as partial:
        assert partial.out == OUT


@pytest.mark.parametrize(
    ("line", "damaged"),
    [
        (3, "리뷰 2\t-0.5"),
        (3, "리뷰 2\tnan\t-0.5"),
        (3, "리뷰 2\t-0.5\tx"),
        (3, "리뷰 9\t-0.5\t-0.5"),
        (7, "리뷰 6\t-0.5\t-0.5\t1"),
    ],
)
def test_a_damaged_chunk_is_scored_again(tmp_path, line, damaged):
    lines = whole_file(tmp_path / "p", False).decode().splitlines()
    lines[line] = damaged
    (tmp_path / "p").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    scored, scores = score(tmp_path / "p")
    assert scored[0] == (line - 1) // CHUNK * CHUNK
    np.testing.assert_array_equal(scores.log_probabilities, LOG_PROBABILITIES)


def test_scores_of_something_else_are_refused_and_stay(tmp_path):
    whole = whole_file(tmp_path / "p", False)
    with (
        pytest.raises(ConfigError, match="p: holds unfinished scores with another input; start that command"),
        opened(tmp_path / "p", identity=IDENTITY | {"input": "c3"}),
    ):
        pytest.fail("not refused")
    with (
        pytest.raises(ConfigError, match=r"with another backend; .* or say --restart to start anew"),
        opened(tmp_path / "p") as partial,
    ):
        partial.begin(OUT, RUNS_ON | {"backend": "torch"})
    assert (tmp_path / "p").read_bytes() == whole


def test_a_damaged_first_line_is_refused(tmp_path):
    (tmp_path / "p").write_text("id\tlog_probability_0\nr1\t0\n")
    with pytest.raises(ConfigError, match="p: damaged first line; say --restart"), opened(tmp_path / "p"):
        pytest.fail("not refused")
    assert score(tmp_path / "p", restart=True)[0] == [0, 4, 8]


def test_restart_leaves_out_what_is_there_but_not_before_it_begins(tmp_path):
    whole = whole_file(tmp_path / "p", False)
    with suppress(Killed), opened(tmp_path / "p", identity={"input": "c3"}, restart=True) as partial:
        assert (partial.rows, partial.out) == (0, None)
        raise Killed
    assert (tmp_path / "p").read_bytes() == whole
    assert score(tmp_path / "p", identity={"input": "c3"}, restart=True)[0] == [0, 4, 8]


def test_what_ends_before_the_first_row_leaves_nothing(tmp_path):
    with pytest.raises(Killed):
        score(tmp_path / "p", killed_after=0)
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_is_kept_out(tmp_path):
    whole_file(tmp_path / "p", False)
    with (tmp_path / "p").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="p: another process is scoring with this run; wait"):
            score(tmp_path / "p")
    assert score(tmp_path / "p")[0] == []


def test_a_full_disk_keeps_what_was_scored(tmp_path, monkeypatch):
    write = os.write

    def fills_up(handle, text):
        if "뷰 4".encode() in bytes(text):
            write(handle, text[:20])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, text[:7])  # a system may write less than it is given

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fills_up)
        with pytest.raises(OutputError) as caught:
            score(tmp_path / "p")
    assert str(caught.value) == (
        f"{tmp_path}/p: cannot write: No space left on device; free some space and start the same command "
        "again, it goes on after row 4"
    )
    assert score(tmp_path / "p")[0] == [4, 8]


def test_a_read_only_folder(tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuses)
    with pytest.raises(OutputError, match=r"p: cannot write: Read-only file system; .* see to its perm"):
        score(tmp_path / "p")


def test_ids_that_a_line_cannot_hold():
    require_plain_ids(("a b", "c,d"), "test.csv")
    with pytest.raises(ConfigError, match=r"test.csv: the id 'a\\nb' has a tab or a line break"):
        require_plain_ids(("c", "a\nb"), "test.csv")


def test_joined_scores():
    whole = join_scores([chunk_from(first, True) for first in range(0, ROWS, CHUNK)])
    assert whole.ids == IDS
    np.testing.assert_array_equal(whole.log_probabilities, LOG_PROBABILITIES)
    assert whole.generated.tolist() == GENERATED.tolist()
