"""Answers to many prompts while they are written: a batch at a time, gone on with after a kill.

The file's first line says what the answers are of. Those of anything else are refused, a torn batch is
written again.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from kerastune.errors import ConfigError, OutputError
from kerastune.locking import try_lock


class PartialLines:
    """Rows on disk that are not yet all. One is made by `open_partial_lines`.

    Args:
        path: The file.
        file: It, opened and locked.
        identity: What the rows are of: what it is -> its value.
        batches: How many rows each batch has.
        restart: Whether to leave out what is there.
    """

    def __init__(
        self,
        path: Path,
        file: BinaryIO,
        identity: Mapping[str, str],
        batches: Sequence[int],
        *,
        restart: bool,
    ) -> None:
        self._path, self._file, self._batches = path, file, batches
        self.rows: list[dict[str, Any]] = []
        self.batches_done = 0
        header = json.dumps(dict(identity), ensure_ascii=False, sort_keys=True).encode() + b"\n"
        lines = [] if restart else file.read().splitlines(keepends=True)
        if lines and lines[0].endswith(b"\n"):
            self._require_same(lines[0], identity)
            end = len(lines[0]) + self._take(lines[1:])
        else:
            end = 0
        file.seek(end)
        file.truncate()
        if end == 0:
            self._write(header)

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep a batch's rows, safe from a kill once this returns.

        Raises:
            OutputError: The file cannot be written; the batches before this one are kept.
        """
        self._write(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))
        self.rows += rows
        self.batches_done += 1

    def _write(self, content: bytes) -> None:
        try:
            self._file.write(content)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot write: {error.strerror}; free some space and start the same command "
                f"again, it goes on after row {len(self.rows):,}"
            ) from error

    def _require_same(self, line: bytes, identity: Mapping[str, str]) -> None:
        try:
            there = json.loads(line)
            others = sorted(name for name in {*there, *identity} if there.get(name) != identity.get(name))
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"{self._path}: damaged first line; say --restart to start anew") from error
        if others:
            raise ConfigError(
                f"{self._path}: holds unfinished answers with another {', '.join(others)}; start that "
                "command again to finish them, or say --restart to start anew"
            )

    def _take(self, lines: Sequence[bytes]) -> int:
        """Take the whole batches; return their bytes."""
        taken = first = 0
        for size in self._batches:
            batch = lines[first : first + size]
            try:
                rows = [json.loads(line) for line in batch if line.endswith(b"\n")]
            except ValueError:
                break
            if len(rows) < size:
                break
            self.rows += rows
            self.batches_done += 1
            taken += sum(map(len, batch))
            first += size
        return taken


@contextmanager
def open_partial_lines(
    path: Path, identity: Mapping[str, str], batches: Sequence[int], *, restart: bool = False
) -> Iterator[PartialLines]:
    """Open the rows that were made so far, if any; when the block ends well, the file is deleted.

    Args:
        path: The file; made where it is missing.
        identity: What the rows are of. Rows of anything else are refused.
        batches: How many rows each batch has.
        restart: Whether to start anew whatever is there.

    Raises:
        ConfigError: The rows there are of something else, or another process is at them.
        OutputError: The file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        raise OutputError(f"{path}: cannot write: {error.strerror}; choose another --out") from error
    done = False
    partial = None
    try:
        if not try_lock(file.fileno(), path):
            raise ConfigError(f"{path}: another process is at it; wait for its end, or choose another --out")
        partial = PartialLines(path, file, identity, batches, restart=restart)
        yield partial
        done = True
    finally:
        file.close()
        if done or (partial is not None and not partial.rows):
            path.unlink(missing_ok=True)
