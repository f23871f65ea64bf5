"""What a report says, before it is a page: plain values, one or two runs on one labelled table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastune.calibration import Calibration
from kerastune.config import RunConfig
from kerastune.cross_validation import Spread
from kerastune.dataset import DataReport, Dataset
from kerastune.evaluating import Evaluated
from kerastune.report.history import History


@dataclass(frozen=True)
class Repeats:
    """How metrics varied where the training was repeated.

    Args:
        what: What differed, such as `"5 folds of the training table"`.
        who: `"model"`, or the baseline's key.
        spreads: A metric's name -> how it varied; None where it was undefined.
    """

    what: str
    who: str
    spreads: Mapping[str, Spread | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class RunContent:
    """A run and what it came to on the table.

    Args:
        name: What it is called in the page.
        config: Its options.
        card: What its adapter is for, as `adapter/kerastune.json` has it.
        manifest: What made it: versions, hashes, stack, training; as `manifest.json` has it.
        history: Its training's steps and epochs.
        repeats: How its metrics varied from fold to fold and from seed to seed, where that was measured.
        evaluated: Its metrics, baselines, slices and McNemar's tests on the table.
        probabilities: `[N, labels]`, after calibration where there is one.
        uncalibrated: `[N, labels]`, before calibration; None where there is none.
        predicted: `[N]`, the predicted labels' indices; -1 where generated text was no label.
        calibration: Its calibration, or None.
    """

    name: str
    config: RunConfig
    card: Mapping[str, Any]
    manifest: Mapping[str, Any]
    history: History
    repeats: tuple[Repeats, ...]
    evaluated: Evaluated
    probabilities: NDArray[np.float64]
    uncalibrated: NDArray[np.float64] | None
    predicted: NDArray[np.int64]
    calibration: Calibration | None


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportContent:
    """A report.

    Args:
        rows: The labelled table.
        runs: The run, or the two runs side by side.
        data: The numbers of the training table and of this one; None where the training table is gone.
        most_errors: How many rows the errors table has at most, the most confident ones.
    """

    rows: Dataset
    runs: tuple[RunContent, ...]
    data: DataReport | None
    most_errors: int = 1000
