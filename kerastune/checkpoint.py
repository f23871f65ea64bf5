"""Training's state on disk, so that a run which was killed goes on where it was."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from kerastune.atomic import atomic_folder
from kerastune.errors import AdapterError

_VARIABLES, _PLACE = "state.safetensors", "place.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where training stands.

    Args:
        digest: Hash of the examples and the options; a checkpoint of others is refused.
        step: Optimizer steps taken.
        best_loss: The lowest validation loss so far, if any.
        best_epoch: The epoch of it.
        history_bytes: Length of the history file at this place.
        variables: The stack's training state, and the best adapter's under names with `best.` before.
    """

    digest: str
    step: int
    best_loss: float | None
    best_epoch: int
    history_bytes: int
    variables: Mapping[str, NDArray[Any]]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in the place of the last one, wholly or not at all."""
    place = {key: value for key, value in vars(checkpoint).items() if key != "variables"}
    with atomic_folder(folder) as temporary:
        # Not save_file, whose errors on a full disk are none of the system's.
        (temporary / _VARIABLES).write_bytes(save(dict(checkpoint.variables)))
        (temporary / _PLACE).write_text(json.dumps(place), encoding="utf-8")


def read_checkpoint(folder: Path, digest: str) -> Checkpoint | None:
    """Read a checkpoint; None where there is none.

    Raises:
        AdapterError: It is damaged, or of other rows, options or another base.
    """
    if not folder.exists():
        return None
    try:
        place = json.loads((folder / _PLACE).read_text(encoding="utf-8"))
        checkpoint = Checkpoint(**place, variables=load_file(folder / _VARIABLES))
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise AdapterError(
            f"{folder}: damaged checkpoint ({error}); delete the folder to start anew"
        ) from error
    if checkpoint.digest != digest:
        raise AdapterError(
            f"{folder}: the checkpoint is of other training rows, options or another base; choose "
            "another --out, or delete the run's folder to start anew"
        )
    return checkpoint
