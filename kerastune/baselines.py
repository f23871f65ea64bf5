"""Baselines: what costs nothing, to be shown beside every model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kerastune.dataset import Dataset, require_classes
from kerastune.dataset.splits import read_labels
from kerastune.evaluation import Metrics, evaluate

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def majority_baseline(train: Dataset, test: Dataset) -> float:
    """The accuracy of always answering the commonest label of `train`.

    Raises:
        DataError: The labels were not read, or `train` has one label only.
    """
    return evaluate(_majority(train, test), read_labels(test)).accuracy


def tfidf_baseline(train: Dataset) -> Pipeline:
    """Fit character n-grams and a logistic regression; nothing is tuned, and nothing is random.

    Args:
        train: Labelled rows.

    Returns:
        A scikit-learn pipeline from texts (`Dataset.texts`) to indices into `task.labels`.

    Raises:
        DataError: The labels were not read, or all rows have one label.
    """
    require_classes(train)
    return tfidf_pipeline().fit(train.texts, train.labels)


def tfidf_pipeline() -> Pipeline:
    """Make the baseline, not yet fitted: TF-IDF over character n-grams, and a logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    # Characters, not words: Korean endings and particles would make most words occur once.
    return make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=1000),
    )


def baseline_metrics(train: Dataset, test: Dataset) -> dict[str, Metrics]:
    """Judge both baselines.

    Args:
        train: Labelled rows to fit.
        test: Labelled rows of the same task to judge.

    Returns:
        `"majority"` and `"tfidf"`, see `baseline_probabilities`.

    Raises:
        DataError: The labels were not read, or all rows of `train` have one label.
    """
    labels = read_labels(test)
    return {name: evaluate(found, labels) for name, found in baseline_probabilities(train, test).items()}


def baseline_probabilities(train: Dataset, test: Dataset) -> dict[str, NDArray[np.float64]]:
    """The labels' probabilities by both baselines, `[N, labels]` each.

    Args:
        train: Labelled rows to fit.
        test: Rows of the same task; their labels are not looked at.

    Returns:
        `"majority"`, whose probabilities are the labels' shares in `train`, and `"tfidf"`, in which a label
        without training rows has the probability 0.

    Raises:
        DataError: The labels were not read, or all rows of `train` have one label.
    """
    pipeline = tfidf_baseline(train)
    probabilities = np.zeros((len(test), len(test.task.labels)))
    probabilities[:, pipeline.classes_] = pipeline.predict_proba(test.texts)
    return {"majority": _majority(train, test), "tfidf": probabilities}


def _majority(train: Dataset, test: Dataset) -> NDArray[np.float64]:
    require_classes(train)
    shares = np.bincount(read_labels(train), minlength=len(train.task.labels)) / len(train)
    return np.tile(shares, (len(test), 1))
