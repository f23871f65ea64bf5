"""The errors of which the model was most certain, with their texts: where labels, data and model disagree."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastune.dataset.splits import read_labels
from kerastune.evaluation.measuring import read_answers

if TYPE_CHECKING:
    from kerastune.dataset.table import Dataset
    from kerastune.scoring import Scores
    from kerastune.task import Label


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A row whose prediction is not its label.

    Args:
        row: Its place in the table, from 0.
        id: Its id.
        text: Its text.
        label: The label that the table has.
        predicted: The label that was predicted; None where generated text was no label.
        confidence: The probability of what was predicted, or of the likeliest label where that was none.
    """

    row: int
    id: str
    text: str
    label: Label
    predicted: Label | None
    confidence: float

    def as_dict(self) -> dict[str, Any]:
        """All of it in the types of JSON."""
        return asdict(self)


def find_mistakes(scores: Scores, dataset: Dataset, most: int = 100) -> tuple[Mistake, ...]:
    """Find the rows that are predicted wrong, the most confident first.

    Args:
        scores: The rows' scores.
        dataset: The rows, with their labels.
        most: How many are returned at most.

    Raises:
        DataError: The labels were not read.
    """
    truth, labels, texts = read_labels(dataset), scores.labels, dataset.texts
    confidences = scores.probabilities[np.arange(len(truth)), scores.predicted]
    answers = read_answers(scores)
    wrong = np.flatnonzero(answers != truth)
    return tuple(
        Mistake(
            row=int(row),
            id=dataset.ids[row],
            text=texts[row],
            label=labels[truth[row]],
            predicted=None if answers[row] < 0 else labels[answers[row]],
            confidence=float(confidences[row]),
        )
        for row in wrong[np.argsort(-confidences[wrong], kind="stable")][:most]
    )
