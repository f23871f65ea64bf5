"""Scores against a dataset's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kerastune.errors import ConfigError
from kerastune.evaluation.metrics import Metrics, evaluate, evaluate_predictions

if TYPE_CHECKING:
    from kerastune.dataset.table import Dataset
    from kerastune.scoring import Scores


def measure(scores: Scores, dataset: Dataset, *, resamples: int = 0) -> Metrics:
    """Measure scores against a dataset's labels.

    Args:
        scores: The rows' scores.
        dataset: The rows, with their labels.
        resamples: How many resamples the bootstrap draws for `Metrics.intervals`; none when 0.

    Raises:
        ConfigError: The dataset was read without its labels.
    """
    if dataset.labels is None:
        raise ConfigError(f"{dataset.name}: was read without its labels; read it with labelled=True")
    if scores.generated is not None:
        return evaluate_predictions(scores.generated, dataset.labels, len(scores.labels), resamples=resamples)
    return evaluate(scores.probabilities, dataset.labels, predicted=scores.predicted, resamples=resamples)


def read_answers(scores: Scores) -> NDArray[np.int64]:
    """The answers that are judged: `[N]` indices of labels, -1 where generated text was none of them."""
    return scores.predicted if scores.generated is None else scores.generated
