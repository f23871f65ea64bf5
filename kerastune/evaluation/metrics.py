"""The metrics of predictions, each with the interval in which the truth may lie."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerastune.errors import DataError
from kerastune.evaluation.intervals import Interval, row_intervals, tally_intervals, wilson_interval
from kerastune.evaluation.ranking import RocAuc
from kerastune.evaluation.tally import count_tally, macro_f1, matthews

#: The prediction that stands for an answer that was none of the labels.
INVALID = -1


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """How well predictions match the labels.

    Args:
        rows: How many rows were judged.
        accuracy: Share of rows predicted right; an invalid answer is wrong.
        interval: The accuracy's 95 % interval, see `wilson_interval`; what is printed beside it.
        macro_f1: Unweighted mean of the F1 of every label that occurs in the truth or the predictions.
        mcc: Matthews' correlation coefficient; None where the truth has one label only.
        roc_auc: Area under the ROC curve of the second of two labels; of more labels, the mean of each
            against the rest. None where the truth has one label only, or there are no probabilities.
        log_loss: Mean negative natural logarithm of the true label's probability; None where there are
            no probabilities.
        confusion: `[labels, labels]` counts, a row a true label and a column a predicted one; invalid
            answers are in no column.
        label_counts: `[labels]`, how many rows have each label.
        invalid_rate: Share of answers that were none of the labels; None where every answer is one.
        intervals: The name of a metric above -> its 95 % bootstrap interval, None where the metric is None;
            empty where no resamples were drawn.
    """

    rows: int
    accuracy: float
    interval: Interval
    macro_f1: float
    mcc: float | None
    roc_auc: float | None
    log_loss: float | None
    confusion: tuple[tuple[int, ...], ...]
    label_counts: tuple[int, ...]
    invalid_rate: float | None
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All of it in the types of JSON."""
        return asdict(self) | {
            "interval": list(self.interval),
            "confusion": [list(row) for row in self.confusion],
            "label_counts": list(self.label_counts),
            "intervals": {name: bounds and list(bounds) for name, bounds in self.intervals.items()},
        }


def evaluate(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    predicted: ArrayLike | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Metrics:
    """Judge probabilities.

    Args:
        probabilities: `[N, L]`, each row summing to 1.
        labels: `[N]`, the true labels' indices.
        predicted: `[N]`, the predicted labels' indices, where a threshold or an offset decides; the
            likeliest label, the first of equals, when None.
        resamples: How many resamples the bootstrap draws for `Metrics.intervals`; none when 0.
            `RESAMPLES` of 50,000 rows and two labels take a second or two.
        seed: Seed of the bootstrap.

    Raises:
        DataError: There is no row, the shapes do not fit, or a row holds no probabilities.

    Example:
        >>> metrics = evaluate([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1]], [0, 1, 1])
        >>> round(metrics.accuracy, 3), metrics.confusion, metrics.roc_auc
        (0.667, ((1, 0), (1, 1)), 0.5)
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    if scores.ndim != 2:
        raise DataError(f"probabilities: expected the shape [rows, labels], received {list(scores.shape)}")
    n_labels = scores.shape[1]
    truth = _truth(labels, len(scores), n_labels)
    # Written so that NaN is caught as well: an argmax over NaN would pass for a prediction.
    sound = (scores >= 0).all(axis=1) & (np.abs(scores.sum(axis=1) - 1) < 1e-3)
    if not sound.all():
        row = int(np.argmin(sound))
        raise DataError(
            f"probabilities of row {row + 1}: expected numbers from 0 that sum to 1, "
            f"received {scores[row].tolist()}"
        )
    answers = scores.argmax(axis=1) if predicted is None else np.asarray(predicted)
    if answers.shape != truth.shape:
        raise DataError(
            f"predicted: expected one for each of {len(truth)} rows, received the shape {list(answers.shape)}"
        )
    _check_indices("predicted", answers, 0, n_labels)
    losses = -np.log(np.clip(scores[np.arange(len(truth)), truth], np.finfo(np.float64).eps, 1.0))
    ranking = RocAuc(scores, truth)
    return _metrics(
        count_tally(truth, answers, n_labels),
        log_loss=float(losses.mean()),
        roc_auc=ranking.area,
        invalid_rate=None,
        resamples=resamples,
        seed=seed,
        more=row_intervals(losses, ranking, resamples, seed) if resamples else {},
    )


def evaluate_predictions(
    predicted: ArrayLike, labels: ArrayLike, n_labels: int, *, resamples: int = 0, seed: int = 0
) -> Metrics:
    """Judge answers read out of generated text.

    Args:
        predicted: `[N]`, the predicted labels' indices, -1 where the answer was none of the labels.
        labels: `[N]`, the true labels' indices.
        n_labels: How many labels there are.
        resamples: How many resamples the bootstrap draws for `Metrics.intervals`; none when 0.
        seed: Seed of the bootstrap.

    Raises:
        DataError: There is no row, the shapes do not fit, or a number is no label's index.

    Example:
        >>> evaluate_predictions([0, -1, 1], [0, 1, 1], 2).invalid_rate
        0.3333333333333333
    """
    answers = np.asarray(predicted)
    truth = _truth(labels, answers.size, n_labels)
    _check_indices("predicted", answers, INVALID, n_labels)
    return _metrics(
        count_tally(truth, answers, n_labels),
        log_loss=None,
        roc_auc=None,
        invalid_rate=float((answers == INVALID).mean()),
        resamples=resamples,
        seed=seed,
        more={"log_loss": None, "roc_auc": None} if resamples else {},
    )


def _metrics(
    tally: NDArray[np.int64],
    *,
    log_loss: float | None,
    roc_auc: float | None,
    invalid_rate: float | None,
    resamples: int,
    seed: int,
    more: Mapping[str, Interval | None],
) -> Metrics:
    rows, right = int(tally.sum()), int(np.trace(tally))
    mcc = float(matthews(tally))
    return Metrics(
        rows=rows,
        accuracy=right / rows,
        interval=wilson_interval(right, rows),
        macro_f1=float(macro_f1(tally)),
        mcc=None if np.isnan(mcc) else mcc,
        roc_auc=roc_auc,
        log_loss=log_loss,
        confusion=tuple(map(tuple, tally[:, :-1].tolist())),
        label_counts=tuple(tally.sum(axis=1).tolist()),
        invalid_rate=invalid_rate,
        intervals={**tally_intervals(tally, resamples, seed), **more} if resamples else {},
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
    odd = numbers if numbers.dtype.kind not in "iu" else numbers[(numbers < low) | (numbers >= n_labels)]
    if len(odd):
        raise DataError(
            f"{name}: expected whole numbers from {low} to {n_labels - 1}, received {odd[:5].tolist()}"
        )
