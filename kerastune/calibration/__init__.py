"""Calibration: scores whose probabilities can be taken at their word, and the decision that follows.

Everything is fitted on held-out rows, is an affine map of log-probabilities, and is kept as
`calibration.json` beside the adapter; `kerastune.calibrating` fits it to a run.
"""

from kerastune.calibration.decision import gain_of_offsets, tune_offsets
from kerastune.calibration.fitting import METHODS, ROWS_A_LABEL, Fit, check_methods, fit_calibration
from kerastune.calibration.priors import estimate_priors, parse_priors, prior_bias, target_priors
from kerastune.calibration.quality import (
    Quality,
    ReliabilityBin,
    brier_score,
    expected_calibration_error,
    measure_quality,
    reliability_bins,
)
from kerastune.calibration.scaling import fit_scale_and_bias, fit_temperature, rescale
from kerastune.calibration.unlabelled import CONTENT_FREE, batch_bias, content_free_rows, contextual_bias
from kerastune.calibration.value import CALIBRATION, Calibration, FittedOn

__all__ = [
    "CALIBRATION",
    "CONTENT_FREE",
    "METHODS",
    "ROWS_A_LABEL",
    "Calibration",
    "Fit",
    "FittedOn",
    "Quality",
    "ReliabilityBin",
    "batch_bias",
    "brier_score",
    "check_methods",
    "content_free_rows",
    "contextual_bias",
    "estimate_priors",
    "expected_calibration_error",
    "fit_calibration",
    "fit_scale_and_bias",
    "fit_temperature",
    "gain_of_offsets",
    "measure_quality",
    "parse_priors",
    "prior_bias",
    "reliability_bins",
    "rescale",
    "target_priors",
    "tune_offsets",
]
