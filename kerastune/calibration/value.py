"""A calibration as a value, and as `calibration.json` in the adapter's folder beside PEFT's files."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kerastune.adapter import adapter_hash
from kerastune.adapter_card import read_card
from kerastune.atomic import write_text
from kerastune.calibration.quality import Quality
from kerastune.calibration.scaling import rescale
from kerastune.errors import AdapterError, ConfigError
from kerastune.json_files import json_text, read_object
from kerastune.strict import build

if TYPE_CHECKING:
    from kerastune.scoring import Scores

#: The file's name.
CALIBRATION = "calibration.json"
_ADAPTER_HASH = "adapter_sha256"
_WAY_OUT = "calibrate again, or delete the file"


@dataclass(frozen=True, kw_only=True)
class FittedOn:
    """The rows that a calibration was fitted on, and what it did to the scores of those very rows.

    Args:
        rows: How many rows there were.
        source: The table's name.
        sha256: Hash of the table's file; None for a frame.
        metric: The metric that the decision offsets were tuned for.
        reason: Why these methods and these offsets: a sentence or two.
        before: The model's own scores; None where the rows had no labels.
        after: The calibrated ones, with the decision offsets; None where the rows had no labels.
    """

    rows: int
    source: str
    sha256: str | None
    metric: str
    reason: str
    before: Quality | None
    after: Quality | None


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What takes a model's log-probabilities to calibrated ones, and those to a decision.

    Args:
        labels: The labels, in the order of every array of label scores.
        label_words: The words that say them.
        methods: What was fitted, in order; see `kerastune.calibration.METHODS`.
        scale: The inverse of the temperature, more than 0.
        bias: `[labels]`, added to the scaled log-probabilities.
        decision_offsets: `[labels]`, added to calibrated log-probabilities for the decision alone.
        fitted_on: Where it comes from.

    Raises:
        ConfigError: The scale is not positive, or there are not as many finite numbers as labels.
    """

    labels: tuple[int | str, ...]
    label_words: tuple[str, ...]
    methods: tuple[str, ...]
    scale: float
    bias: tuple[float, ...]
    decision_offsets: tuple[float, ...]
    fitted_on: FittedOn

    def __post_init__(self) -> None:
        """Check that the numbers are there and mean something."""
        if not 0 < self.scale < math.inf:
            raise ConfigError(f"scale: expected a finite number more than 0, received {self.scale!r}")
        for name in ("bias", "decision_offsets"):
            values = getattr(self, name)
            if len(values) != len(self.labels) or not all(map(math.isfinite, values)):
                raise ConfigError(f"{name}: expected {len(self.labels)} finite numbers, received {values!r}")

    @property
    def temperature(self) -> float:
        """What log-probabilities are divided by."""
        return 1 / self.scale

    @property
    def threshold(self) -> float | None:
        """The calibrated probability above which the second of two labels is predicted; None of more."""
        if len(self.labels) != 2:
            return None
        first, second = self.decision_offsets
        return 1 / (1 + math.exp(second - first))

    def apply(self, log_probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrate log-probabilities.

        Args:
            log_probabilities: `[N, labels]`, as the model says them.

        Returns:
            `[N, labels]`, normalised.
        """
        return rescale(log_probabilities, self.scale, self.bias)

    def apply_to_scores(self, scores: "Scores") -> "Scores":
        """Calibrate scores that the model gave, and give them the decision offsets."""
        return dataclasses.replace(
            scores,
            log_probabilities=self.apply(scores.log_probabilities),
            decision_offsets=np.asarray(self.decision_offsets),
        )

    def save(self, folder: Path) -> Path:
        """Write `calibration.json` into an adapter's folder, wholly or not at all.

        Args:
            folder: The adapter's folder.

        Returns:
            The file.

        Raises:
            AdapterError: The folder holds no adapter, or one of other labels.
            OutputError: The file cannot be written.
        """
        self._require_card(folder, folder / CALIBRATION)
        table = dataclasses.asdict(self) | {_ADAPTER_HASH: adapter_hash(folder)}
        write_text(folder / CALIBRATION, json_text(table, allow_nan=False))
        return folder / CALIBRATION

    @classmethod
    def load(cls, folder: Path) -> "Calibration":
        """Read `calibration.json` of an adapter's folder, strictly.

        Args:
            folder: The adapter's folder.

        Raises:
            AdapterError: The file is missing or damaged, or is of another adapter or other labels than
                those beside it; the message names the file and the key.
        """
        path = folder / CALIBRATION
        missing = "write one with: kerastune calibrate RUN --input FILE"
        table = read_object(path, AdapterError, _WAY_OUT, missing=missing)
        adapter = table.pop(_ADAPTER_HASH, None)
        try:
            calibration = build(cls, table, str(path))
        except ConfigError as error:
            raise AdapterError(f"{error}; {_WAY_OUT}") from error
        except TypeError as error:  # a field that is not there
            raise AdapterError(f"{path}: lacks a key: {error}; {_WAY_OUT}") from error
        calibration._require_card(folder, path)
        found = adapter_hash(folder)
        if adapter != found:
            raise AdapterError(
                f"{path}: {_ADAPTER_HASH}: the calibration is of another adapter than the one beside it "
                f"({found[:12]}); {_WAY_OUT}"
            )
        return calibration

    def _require_card(self, folder: Path, path: Path) -> None:
        card = read_card(folder)
        for key in ("labels", "label_words"):
            mine, its = getattr(self, key), getattr(card, key)
            if mine != its:
                raise AdapterError(
                    f"{path}: {key}: the adapter has {list(its)}, the calibration {list(mine)}; {_WAY_OUT}"
                )
