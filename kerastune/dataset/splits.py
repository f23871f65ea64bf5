"""Seeded, stratified splits: every part has the whole's share of each label, rows in their own order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kerastune.errors import ConfigError, DataError

if TYPE_CHECKING:
    from kerastune.dataset.table import Dataset

Indices = NDArray[np.int64]


def require_classes(dataset: Dataset) -> None:
    """See that there is something to learn: labels, and two of them at least.

    Raises:
        DataError: The labels were not read, or all rows have one label, which is named.
    """
    present = np.unique(read_labels(dataset))
    if len(present) == 1:
        raise DataError(
            f"{dataset.name}: all {len(dataset)} rows have the label {dataset.task.labels[present[0]]!r}; "
            f"training needs rows of at least two of {', '.join(map(str, dataset.task.labels))}"
        )


def read_labels(dataset: Dataset) -> Indices:
    """Return the labels `[N]`.

    Raises:
        DataError: They were not read.
    """
    if dataset.labels is None:
        raise DataError(f"{dataset.name}: the labels were not read; read the table with labelled=True")
    return dataset.labels


def stratified_split(dataset: Dataset, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Share rows out, `fraction` of each label's to the second part.

    Each label has at least one row in either part.

    Raises:
        ConfigError: `fraction` is not between 0 and 1.
        DataError: A label has one row only, or the labels were not read.
    """
    if not 0.0 < fraction < 1.0:
        raise ConfigError(f"fraction: expected a number between 0 and 1, received {fraction}")
    held_out = [
        rows[: min(max(round(fraction * len(rows)), 1), len(rows) - 1)]
        for rows in _shuffled_by_label(dataset, seed, at_least=2)
    ]
    return _two_parts(dataset, np.concatenate(held_out))


def stratified_folds(dataset: Dataset, k: int, seed: int) -> Iterator[tuple[Indices, Indices]]:
    """Yield k pairs of (all rows but the fold's, the fold's rows); every row is in one fold.

    Raises:
        ConfigError: `k` is less than 2.
        DataError: A label has fewer than k rows, or the labels were not read.
    """
    if k < 2:
        raise ConfigError(f"k: expected 2 folds or more, received {k}")
    # Dealt like cards, one label after the other, so that folds differ by one row at most.
    dealt = np.concatenate(list(_shuffled_by_label(dataset, seed, at_least=k)))
    for fold in range(k):
        yield _two_parts(dataset, dealt[fold::k])


def _shuffled_by_label(dataset: Dataset, seed: int, at_least: int) -> Iterator[Indices]:
    generator = np.random.default_rng(seed)
    labels = read_labels(dataset)
    for place in np.unique(labels):
        (rows,) = np.nonzero(labels == place)
        if len(rows) < at_least:
            raise DataError(
                f"{dataset.name}: label {dataset.task.labels[place]!r} has too few rows to share out: "
                f"expected {at_least} or more, received {len(rows)}"
            )
        yield generator.permutation(rows)


def _two_parts(dataset: Dataset, chosen: Indices) -> tuple[Indices, Indices]:
    inside = np.zeros(len(dataset), dtype=bool)
    inside[chosen] = True
    return np.flatnonzero(~inside), np.flatnonzero(inside)
