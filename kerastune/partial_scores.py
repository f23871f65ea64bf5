"""A table's scores while they are being made: appended a chunk at a time, gone on with after a kill.

The file's first line is JSON and says what the scores are of; then comes a line a row, as in a scores file.
What was scored with anything else is refused, a torn end is cut off.
"""

import json
import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kerastune.errors import ConfigError, OutputError
from kerastune.locking import try_lock
from kerastune.scoring import CHUNK, INVALID, Scores, join_scores
from kerastune.task import Label


class PartialScores:
    """Scores on disk that are not yet of every row. One is made by `open_partial`.

    Args:
        path: The file.
        handle: Its descriptor, locked.
        ids: The ids of all rows.
        labels: The labels, in the order of the columns.
        generates: Whether labels are read out of generated text too.
        identity: What the scores are of: what it is -> its hash.
        restart: Whether to leave out what is there.
    """

    def __init__(
        self,
        path: Path,
        handle: int,
        ids: Sequence[str],
        labels: Sequence[Label],
        *,
        generates: bool,
        identity: Mapping[str, str],
        restart: bool,
    ) -> None:
        self._path, self._handle = path, handle
        self._ids, self._labels, self._generates = tuple(ids), tuple(labels), generates
        self._header: dict[str, Any] = {"identity": {**identity, "chunk": str(CHUNK)}}
        self._chunks: list[Scores] = []
        self._end = 0
        content = _read(handle)
        self._precious = bool(content)
        first, newline, body = content.partition(b"\n")
        if newline and not restart:
            self._take_header(first)
            self._end = len(first) + 1
            self._take_rows(body)

    @property
    def rows(self) -> int:
        """How many rows have scores."""
        return sum(len(chunk.ids) for chunk in self._chunks)

    @property
    def complete(self) -> bool:
        """Whether every row has."""
        return self.rows == len(self._ids)

    @property
    def worth_keeping(self) -> bool:
        """Whether there is anything in the file that would have to be scored again."""
        return self._precious or self.rows > 0

    @property
    def out(self) -> Path | None:
        """Where the submission goes, as it was decided when scoring began; None where it begins now."""
        return Path(self._header["out"]) if "out" in self._header else None

    @property
    def scores(self) -> Scores:
        """The scores of the rows that have some, as they were appended."""
        return join_scores(self._chunks)

    def begin(self, out: Path, runs_on: Mapping[str, str]) -> None:
        """Make the file ready for `append`.

        Args:
            out: Where the submission goes.
            runs_on: What computes, such as the backend and the dtype.

        Raises:
            ConfigError: What is there was computed on something else.
            OutputError: The file cannot be written.
        """
        if "out" in self._header:
            self._require_same(self._header["runs_on"], dict(runs_on))
        with self._reported():
            os.ftruncate(self._handle, self._end)
            os.lseek(self._handle, self._end, os.SEEK_SET)
            self._precious = False
            if "out" not in self._header:
                self._header |= {"out": str(out.absolute()), "runs_on": dict(runs_on)}
                self._append(json.dumps(self._header, ensure_ascii=False) + "\n")

    def append(self, chunk: Scores) -> None:
        """Keep the scores of the next rows, safe from a kill once this returns.

        Raises:
            OutputError: The file cannot be written; the chunks before this one are kept.
        """
        with self._reported():
            self._append("".join(f"{line}\n" for line in _lines(chunk)))
        self._chunks.append(chunk)

    def _append(self, text: str) -> None:
        left = memoryview(text.encode())
        while left:
            left = left[os.write(self._handle, left) :]
        os.fsync(self._handle)

    def _take_header(self, line: bytes) -> None:
        try:
            header = json.loads(line)
            identity, _, _ = header["identity"].items(), header["out"], header["runs_on"].items()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ConfigError(f"{self._path}: damaged first line; say --restart to start anew") from error
        self._require_same(dict(identity), self._header["identity"])
        self._header = header

    def _require_same(self, there: Mapping[str, str], here: Mapping[str, str]) -> None:
        others = sorted(name for name in {*there, *here} if there.get(name) != here.get(name))
        if others:
            raise ConfigError(
                f"{self._path}: holds unfinished scores with another {', '.join(others)}; start that command "
                "again to finish them, or say --restart to start anew"
            )

    def _take_rows(self, body: bytes) -> None:
        """Take the whole chunks; a chunk that was cut short is scored again, so that its batches are."""
        lines = body.split(b"\n")[:-1]
        for first in range(0, len(self._ids), CHUNK):
            ids = self._ids[first : first + CHUNK]
            chunk = self._parse(ids, lines[first : first + CHUNK])
            if chunk is None:
                break
            self._chunks.append(chunk)
            self._end += sum(len(line) + 1 for line in lines[first : first + CHUNK])

    def _parse(self, ids: tuple[str, ...], lines: Sequence[bytes]) -> Scores | None:
        try:
            cells = [line.decode().split("\t") for line in lines]
            numbers = np.array([row[1 : 1 + len(self._labels)] for row in cells], np.float64)
            generated = [int(row[-1]) for row in cells] if self._generates else None
        except ValueError:
            return None
        width = 1 + len(self._labels) + self._generates
        if tuple(row[0] for row in cells) != ids or any(len(row) != width for row in cells):
            return None
        if not np.isfinite(numbers).all() or any(
            not INVALID <= label < len(self._labels) for label in generated or ()
        ):
            return None
        return Scores(ids, self._labels, numbers, None if generated is None else np.array(generated))

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kept = f", it goes on after row {self.rows:,}" if self.rows else ""
            raise OutputError(
                f"{self._path}: cannot write: {error.strerror}; free some space and start the same command "
                f"again{kept}"
            ) from error


@contextmanager
def open_partial(
    path: Path,
    ids: Sequence[str],
    labels: Sequence[Label],
    *,
    generates: bool,
    identity: Mapping[str, str],
    restart: bool = False,
) -> Iterator[PartialScores]:
    """Open the scores that were made so far, if any; when the block ends well, the file is deleted.

    Args:
        path: The file; made where it is missing.
        ids: The ids of all rows.
        labels: The labels.
        generates: Whether labels are read out of generated text too.
        identity: What the scores are of: what it is -> its hash. Scores of anything else are refused.
        restart: Whether to start anew whatever is there.

    Raises:
        ConfigError: The scores there are of something else, another process is at them, or the first line is
            damaged.
        OutputError: The file cannot be made.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot write: {error.strerror}; a run's folder takes its scores, see to its permissions"
        ) from error
    done = False
    partial = None
    try:
        if not try_lock(handle, path):
            raise ConfigError(
                f"{path}: another process is scoring with this run; wait for its end, or copy the run's "
                "folder"
            )
        partial = PartialScores(
            path, handle, ids, labels, generates=generates, identity=identity, restart=restart
        )
        yield partial
        done = True
    finally:
        os.close(handle)
        if partial is not None and (done or not partial.worth_keeping):
            path.unlink(missing_ok=True)


def _read(handle: int) -> bytes:
    blocks = []
    while block := os.read(handle, 1 << 20):
        blocks.append(block)
    return b"".join(blocks)


def _lines(chunk: Scores) -> Iterator[str]:
    for row, (name, numbers) in enumerate(zip(chunk.ids, chunk.log_probabilities, strict=True)):
        generated = [] if chunk.generated is None else [str(chunk.generated[row])]
        yield "\t".join([name, *(repr(float(number)) for number in numbers), *generated])


def require_plain_ids(ids: Sequence[str], where: str) -> None:
    """Refuse ids that a line of a scores file cannot hold.

    Raises:
        ConfigError: An id has a tab or a line break.
    """
    for name in ids:
        if any(sign in name for sign in "\t\n\r"):
            raise ConfigError(
                f"{where}: the id {reprlib.repr(name)} has a tab or a line break, which a scores file cannot "
                "hold; take it out"
            )
