"""What a confusion matrix decides: accuracy, F1 and MCC, of one matrix or of thousands at once.

A tally is the confusion matrix with a last column more, for answers that were none of the labels:
`[..., L, L + 1]` counts, a row a true label and a column a predicted one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def count_tally(truth: NDArray[np.int64], predicted: NDArray[np.int64], n_labels: int) -> NDArray[np.int64]:
    """Count `[L, L + 1]`; a prediction of -1 is none of the labels."""
    columns = np.where(predicted < 0, n_labels, predicted)
    cells = np.bincount(truth * (n_labels + 1) + columns, minlength=n_labels * (n_labels + 1))
    return cells.reshape(n_labels, n_labels + 1)


def accuracy(tally: NDArray[Any]) -> Floats:
    """Share of rows predicted right."""
    found: Floats = _right(tally).sum(axis=-1) / tally.sum(axis=(-2, -1))
    return found


def macro_f1(tally: NDArray[Any]) -> Floats:
    """Unweighted mean of the F1 of every label that occurs in the truth or the predictions."""
    actual, predicted = tally.sum(axis=-1), tally.sum(axis=-2)[..., :-1]
    occurring = actual + predicted
    scores = 2 * _right(tally) / np.maximum(occurring, 1)
    mean: Floats = scores.sum(axis=-1) / (occurring > 0).sum(axis=-1)
    return mean


def matthews(tally: NDArray[Any]) -> Floats:
    """Matthews' correlation of truth and prediction, from -1 to 1, for any number of labels.

    J. Gorodkin, 2004, Comparing two K-category assignments by a K-category correlation coefficient, Comput.
    Biol. Chem. 28, 367-374. It is 0 where everything is predicted alike, the limit of that case (D. Chicco,
    G. Jurman, 2020, BMC Genomics 21, 6), and NaN where the truth has one label only.
    """
    counts = np.asarray(tally, np.float64)  # products of four counts overflow integers
    actual, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    rows = actual.sum(axis=-1)
    together = (actual * predicted[..., :-1]).sum(axis=-1)
    spread_actual = rows**2 - (actual**2).sum(axis=-1)
    spread_predicted = rows**2 - (predicted**2).sum(axis=-1)
    product = np.sqrt(spread_actual * spread_predicted)
    covariance = _right(counts).sum(axis=-1) * rows - together
    found: Floats = np.where(product > 0, covariance / np.where(product > 0, product, 1.0), 0.0)
    return np.where(spread_actual > 0, found, np.nan)


def _right(tally: NDArray[Any]) -> NDArray[Any]:
    return np.diagonal(tally, axis1=-2, axis2=-1)
