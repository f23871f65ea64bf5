"""The rows that a run was trained on, found again: for baselines, for leakage, for training anew."""

import json
from pathlib import Path

import numpy as np

from kerastune.dataset import Dataset, read_dataset
from kerastune.dataset.splits import read_labels
from kerastune.errors import DataError
from kerastune.run import MANIFEST, Run


def training_rows(run: Run) -> tuple[Dataset | None, list[str]]:
    """The rows that a run was trained on, or None and a sentence that says why they are not at hand."""
    try:
        manifest = json.loads((run.folder / MANIFEST).read_text(encoding="utf-8"))
        trained_on = dict(manifest["train"])
    except (OSError, ValueError, KeyError, TypeError):
        trained_on = {}
    source = run.config.train_file or trained_on.get("source")
    if source is None or not Path(source).is_file():
        where = "was not read from a file" if source is None else f"is not at hand: {source}: no such file"
        return None, [f"the run's training table {where}"]
    rows = read_dataset(source, run.config.task)
    if trained_on.get("sha256") not in (None, rows.sha256):
        return None, [f"the run's training table is not at hand: {source} has changed since"]
    return rows, []


def require_known_labels(train: Dataset, rows: Dataset) -> None:
    """Refuse rows of a label that no training row has: no accuracy on them says what was learnt.

    Raises:
        DataError: There is such a row; the first is named.
    """
    labels = read_labels(rows)
    unknown = np.flatnonzero(~np.isin(labels, read_labels(train)))
    if len(unknown):
        raise DataError(
            f"{rows.where(int(unknown[0]))}, column {rows.task.label_column!r}: the label "
            f"{rows.task.labels[labels[unknown[0]]]!r} is in no row of {train.name}, so the run has not "
            "learnt it; drop such rows, or train with some of them"
        )
