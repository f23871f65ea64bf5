"""Training's state on disk, so that a run which was killed goes on where it was.

A checkpoint is one safetensors file, whose name has the step and the content's hash. The last two are kept:
where the newest is damaged, training goes on from the one before.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from kerastune.atomic import atomic_file
from kerastune.errors import AdapterError, ConfigError, OutputError

_KEPT = 2
_PLACE = "place"
_NAME = re.compile(r"step_(\d+)\.([0-9a-f]{16})\.safetensors")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where training stands.

    Args:
        digest: Hash of the examples and the options; a checkpoint of others is refused.
        step: Optimizer steps taken.
        epochs_ended: Epochs whose validation has been done, too.
        best_loss: The lowest validation loss so far, if any.
        best_epoch: The epoch of it.
        history_bytes: Length of the history file at this place.
        variables: The stack's training state, and the best adapter's under names with `best.` before.
    """

    digest: str
    step: int
    epochs_ended: int
    best_loss: float | None
    best_epoch: int
    history_bytes: int
    variables: Mapping[str, NDArray[Any]]


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a checkpoint to go on from, sound or not."""
    return bool(_files(folder))


def require_checkpoint(folder: Path) -> None:
    """Refuse to go on where there is nothing to go on from.

    Raises:
        ConfigError: There is no checkpoint.
    """
    if not has_checkpoint(folder):
        raise ConfigError(
            f"{folder}: no checkpoint to resume from; see to the name, or leave resume out to start anew"
        )


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside the last one, wholly or not at all; older ones are deleted.

    Raises:
        OutputError: It cannot be written; the earlier ones are as they were.
    """
    place = {key: value for key, value in vars(checkpoint).items() if key != "variables"}
    # Not save_file, whose errors on a full disk are none of the system's.
    content = save(dict(checkpoint.variables), metadata={_PLACE: json.dumps(place)})
    path = folder / f"step_{checkpoint.step:08}.{_hash(content)}.safetensors"
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    # A step that is saved twice, before and after its epoch's validation, has two files for a moment.
    for old in [*_files(folder, checkpoint.step), *_files(folder)[_KEPT:]]:
        if old != path:
            old.unlink(missing_ok=True)


def read_checkpoint(folder: Path, digest: str) -> Checkpoint | None:
    """Read the newest sound checkpoint; None where there is none at all.

    A damaged one is passed over for the one before it, which the log says in a line.

    Raises:
        AdapterError: All are damaged, or it is of other rows, options or another base.
        OutputError: They cannot be read.
    """
    files = _files(folder)
    for path in files:
        try:
            checkpoint = _read(path)
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be read: {error.strerror}; see to the permissions, or delete {folder} to "
                "start anew"
            ) from error
        except (ValueError, TypeError, KeyError, SafetensorError) as error:
            _log.warning("%s: damaged (%s); looking for the checkpoint before it", path, error)
            continue
        if checkpoint.digest != digest:
            raise AdapterError(
                f"{folder}: the checkpoint is of other training rows, options or another base; choose "
                "another --out, or delete the run's folder to start anew"
            )
        return checkpoint
    if files:
        raise AdapterError(f"{folder}: every checkpoint is damaged; delete the folder to start anew")
    return None


def _files(folder: Path, step: int | None = None) -> list[Path]:
    """The checkpoints, the newest first; those of one step where that is given."""
    found = [(match, path) for path in folder.glob("step_*") if (match := _NAME.fullmatch(path.name))]
    return [
        path
        for match, path in sorted(found, key=lambda one: (int(one[0][1]), _written(one[1])), reverse=True)
        if step is None or int(match[1]) == step
    ]


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # deleted meanwhile
        return 0


def _read(path: Path) -> Checkpoint:
    content, match = path.read_bytes(), _NAME.fullmatch(path.name)
    if match is None or _hash(content) != match[2]:
        raise ValueError("its hash is not that in its name")
    with safe_open(path, framework="np") as opened:
        place = json.loads((opened.metadata() or {})[_PLACE])
    return Checkpoint(**place, variables=load(content))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
