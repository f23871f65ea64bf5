"""Calibration that needs no labels: contextual and batch calibration, for zero-shot and few-shot scores."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kerastune.dataset import Dataset

Floats = NDArray[np.float64]

#: What stands where a row's text would: inputs that say nothing (Zhao et al. 2021).
CONTENT_FREE = ("N/A", "", "[MASK]")


def content_free_rows(dataset: Dataset) -> Dataset:
    """Make rows of a dataset's task whose every field says nothing.

    Args:
        dataset: Any rows of the task; one row at least.

    Returns:
        Three unlabelled rows, one for each of `CONTENT_FREE`.
    """
    rows = dataset.take([0] * len(CONTENT_FREE))
    frame = rows.frame.copy()
    for field in dataset.task.fields:
        frame[field] = list(CONTENT_FREE)
    ids = tuple(f"content-free {number}" for number in range(1, len(CONTENT_FREE) + 1))
    return replace(
        rows, frame=frame, ids=ids, labels=None, name="content-free rows", source=None, sha256=None
    )


def contextual_bias(content_free: Floats) -> Floats:
    """Contextual calibration: p'(y | x) ~ p(y | x) / p(y | content-free input).

    T. Zhao, E. Wallace, S. Feng, D. Klein & S. Singh 2021, Calibrate before use: improving few-shot
    performance of language models, ICML (arXiv:2102.09690).

    Args:
        content_free: `[M, L]` log-probabilities of content-free inputs, whose probabilities are averaged.

    Returns:
        The bias `[L]`, which sums to 0.

    Example:
        >>> contextual_bias(np.log([[0.7, 0.3], [0.9, 0.1]])).round(3).tolist()
        [-0.693, 0.693]
    """
    bias = -np.log(np.exp(content_free).mean(axis=0))
    return np.asarray(bias - bias.mean())


def batch_bias(log_probabilities: Floats) -> Floats:
    """Batch calibration: from each row's log-probabilities, take the mean over a batch of rows.

    H. Zhou, X. Wan, L. Proleev, D. Mincu, J. Chen, K. Heller & S. Roy 2023, Batch calibration: rethinking
    calibration for in-context learning and prompt engineering (arXiv:2309.17249). It supposes that labels are
    about as frequent as each other in the batch.

    Args:
        log_probabilities: `[N, L]` of the batch; no label is looked at.

    Returns:
        The bias `[L]`, which sums to 0.
    """
    bias = -log_probabilities.mean(axis=0)
    return np.asarray(bias - bias.mean())
