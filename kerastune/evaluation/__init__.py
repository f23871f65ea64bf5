"""Evaluation: predictions against the truth, and how far a table of that size can be trusted."""

from kerastune.evaluation.intervals import RESAMPLES, Interval, wilson_interval
from kerastune.evaluation.leakage_effect import LeakageEffect, LeakedPair, measure_leakage
from kerastune.evaluation.mcnemar import McNemar, mcnemar
from kerastune.evaluation.measuring import measure, read_answers
from kerastune.evaluation.metrics import INVALID, Metrics, evaluate, evaluate_predictions
from kerastune.evaluation.mistakes import Mistake, find_mistakes
from kerastune.evaluation.slices import Slice, find_slices, require_columns

__all__ = [
    "INVALID",
    "RESAMPLES",
    "Interval",
    "LeakageEffect",
    "LeakedPair",
    "McNemar",
    "Metrics",
    "Mistake",
    "Slice",
    "evaluate",
    "evaluate_predictions",
    "find_mistakes",
    "find_slices",
    "mcnemar",
    "measure",
    "measure_leakage",
    "read_answers",
    "require_columns",
    "wilson_interval",
]
