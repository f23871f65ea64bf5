"""Evaluation: predictions against the truth, and how far a table of that size can be trusted."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerastune.errors import DataError

#: The prediction that stands for an answer that was none of the labels.
INVALID = -1


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """How well predictions match the labels.

    Args:
        rows: How many rows were judged.
        accuracy: Share of rows predicted right; an invalid answer is wrong.
        interval: The accuracy's 95 % interval, see `wilson_interval`.
        macro_f1: Unweighted mean of the F1 of every label that occurs in the truth or the predictions.
        log_loss: Mean negative natural logarithm of the true label's probability; None where there are
            no probabilities.
        confusion: `[labels, labels]` counts, a row a true label and a column a predicted one; invalid
            answers are in no column.
        label_counts: `[labels]`, how many rows have each label.
        invalid_rate: Share of answers that were none of the labels; None where every answer is one.
    """

    rows: int
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    log_loss: float | None
    confusion: tuple[tuple[int, ...], ...]
    label_counts: tuple[int, ...]
    invalid_rate: float | None

    def as_dict(self) -> dict[str, Any]:
        """All of it in the types of JSON."""
        return asdict(self) | {
            "interval": list(self.interval),
            "confusion": [list(row) for row in self.confusion],
            "label_counts": list(self.label_counts),
        }


def evaluate(probabilities: ArrayLike, labels: ArrayLike) -> Metrics:
    """Judge probabilities; the likeliest label is the prediction, the first of equals.

    Args:
        probabilities: `[N, L]`, each row summing to 1.
        labels: `[N]`, the true labels' indices.

    Raises:
        DataError: There is no row, the shapes do not fit, or a row holds no probabilities.

    Example:
        >>> metrics = evaluate([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1]], [0, 1, 1])
        >>> round(metrics.accuracy, 3), metrics.confusion
        (0.667, ((1, 0), (1, 1)))
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    if scores.ndim != 2:
        raise DataError(f"probabilities: expected the shape [rows, labels], received {list(scores.shape)}")
    truth = _truth(labels, len(scores), scores.shape[1])
    # Written so that NaN is caught as well: an argmax over NaN would pass for a prediction.
    sound = (scores >= 0).all(axis=1) & (np.abs(scores.sum(axis=1) - 1) < 1e-3)
    if not sound.all():
        row = int(np.argmin(sound))
        raise DataError(
            f"probabilities of row {row + 1}: expected numbers from 0 that sum to 1, "
            f"received {scores[row].tolist()}"
        )
    likelihood = np.clip(scores[np.arange(len(truth)), truth], np.finfo(np.float64).eps, 1.0)
    log_loss = -float(np.log(likelihood).mean())
    return _metrics(scores.argmax(axis=1), truth, scores.shape[1], log_loss=log_loss, invalid_rate=None)


def evaluate_predictions(predicted: ArrayLike, labels: ArrayLike, n_labels: int) -> Metrics:
    """Judge answers read out of generated text.

    Args:
        predicted: `[N]`, the predicted labels' indices, -1 where the answer was none of the labels.
        labels: `[N]`, the true labels' indices.
        n_labels: How many labels there are.

    Raises:
        DataError: There is no row, the shapes do not fit, or a number is no label's index.

    Example:
        >>> evaluate_predictions([0, -1, 1], [0, 1, 1], 2).invalid_rate
        0.3333333333333333
    """
    answers = np.asarray(predicted)
    truth = _truth(labels, answers.size, n_labels)
    _check_indices("predicted", answers, INVALID, n_labels)
    invalid_rate = float((answers == INVALID).mean())
    return _metrics(answers, truth, n_labels, log_loss=None, invalid_rate=invalid_rate)


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion.

    Unlike the normal approximation it holds near 0 and 1 and for few rows (E. B. Wilson, 1927, Probable
    inference, the law of succession, and statistical inference, J. Am. Stat. Assoc. 22, 209-212).

    Args:
        successes: How many of the trials succeeded.
        n: How many trials there were, one or more.

    Returns:
        The lower and the upper bound, from 0 to 1.

    Example:
        >>> [round(bound, 4) for bound in wilson_interval(8, 10)]
        [0.4902, 0.9433]
        >>> [round(bound, 4) for bound in wilson_interval(100, 100)]
        [0.963, 1.0]
    """
    z = 1.959963984540054  # the normal distribution's 97.5 % quantile
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _metrics(
    predicted: NDArray[np.int64],
    truth: NDArray[np.int64],
    n_labels: int,
    *,
    log_loss: float | None,
    invalid_rate: float | None,
) -> Metrics:
    from sklearn.metrics import confusion_matrix, f1_score

    right = int((predicted == truth).sum())
    occurring = np.union1d(truth, predicted[predicted != INVALID])
    confusion = confusion_matrix(truth, predicted, labels=range(n_labels)).tolist()
    return Metrics(
        rows=len(truth),
        accuracy=right / len(truth),
        interval=wilson_interval(right, len(truth)),
        macro_f1=float(f1_score(truth, predicted, labels=occurring, average="macro", zero_division=0.0)),
        log_loss=log_loss,
        confusion=tuple(map(tuple, confusion)),
        label_counts=tuple(np.bincount(truth, minlength=n_labels).tolist()),
        invalid_rate=invalid_rate,
    )


def _truth(labels: ArrayLike, rows: int, n_labels: int) -> NDArray[np.int64]:
    truth = np.asarray(labels)
    if truth.shape != (rows,) or rows == 0:
        raise DataError(
            f"labels: expected one for each of {rows} predictions and one row at least, "
            f"received the shape {list(truth.shape)}"
        )
    _check_indices("labels", truth, 0, n_labels)
    return truth


def _check_indices(name: str, numbers: NDArray[Any], low: int, n_labels: int) -> None:
    if numbers.dtype.kind not in "iu" or numbers.min() < low or numbers.max() >= n_labels:
        raise DataError(
            f"{name}: expected whole numbers from {low} to {n_labels - 1}, received {numbers.tolist()}"
        )
