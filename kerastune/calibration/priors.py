"""Prior correction: what the scores become where labels are as frequent as somewhere else."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kerastune.errors import ConfigError

Floats = NDArray[np.float64]

_ITERATIONS, _TOLERANCE = 10_000, 1e-10


def prior_bias(source: Floats, target: Floats) -> Floats:
    """The bias that takes log-probabilities from one set of label shares to another.

    p'(y | x) ~ p(y | x) target(y) / source(y) (Saerens, Latinne & Decaestecker 2002, Adjusting the outputs of
    a classifier to new a priori probabilities, Neural Computation 14, 21-41).

    Args:
        source: `[L]`, the label shares that the scores are calibrated to; none of them 0.
        target: `[L]`, the label shares where they will be used; none of them 0.

    Returns:
        `[L]`, to be added to log-probabilities that are then normalised again.

    Example:
        >>> prior_bias(np.array([0.9, 0.1]), np.array([0.5, 0.5])).round(3).tolist()
        [-0.588, 1.609]
    """
    return np.asarray(np.log(target / source))


def estimate_priors(log_probabilities: Floats, source: Floats) -> Floats:
    """Estimate the label shares of unlabelled rows by expectation maximisation (Saerens et al. 2002).

    Args:
        log_probabilities: `[N, L]` of the unlabelled rows, calibrated where `source` holds.
        source: `[L]`, the label shares that the scores are calibrated to.

    Returns:
        `[L]`: the shares that make the unlabelled rows likeliest.
    """
    likelihood = np.exp(log_probabilities) / source
    shares = source
    for _ in range(_ITERATIONS):
        joint = likelihood * shares
        after = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
        moved = float(np.abs(after - shares).max())
        shares = after
        if moved < _TOLERANCE:
            break
    # A label of which nothing is left could never be predicted again.
    shares = np.maximum(shares, 1.0 / (2 * len(likelihood)))
    return np.asarray(shares / shares.sum())


def target_priors(
    priors: str | Sequence[float], source: Floats, log_probabilities: Floats | None = None
) -> Floats:
    """The label shares that scores are to be corrected to.

    Args:
        priors: `"uniform"`, `"em"`, or a share a label.
        source: `[L]`, the label shares that the scores are calibrated to.
        log_probabilities: `[M, L]` of unlabelled rows, for `"em"`.

    Returns:
        `[L]`, none of them 0.

    Raises:
        ConfigError: They are not a share for each label, more than 0, that sum to 1, or there are no rows to
            estimate them from.
    """
    if isinstance(priors, str) and priors == "uniform":
        return np.full(len(source), 1 / len(source))
    if isinstance(priors, str) and priors == "em":
        if log_probabilities is None:
            raise ConfigError("priors: 'em' estimates the label shares of unlabelled rows; give those too")
        return estimate_priors(log_probabilities, source)
    shares = np.zeros(0) if isinstance(priors, str) else np.asarray(priors, dtype=np.float64)
    if shares.shape != source.shape or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ConfigError(
            f"priors: expected 'uniform', 'em' or {len(source)} shares more than 0 that sum to 1, "
            f"received {priors!r}"
        )
    return np.asarray(shares / shares.sum())


def parse_priors(text: str) -> str | tuple[float, ...]:
    """Read priors as a flag gives them: a word, or shares with commas.

    Raises:
        ConfigError: It is neither.

    Example:
        >>> parse_priors("em"), parse_priors("0.3,0.7")
        ('em', (0.3, 0.7))
    """
    if text in ("uniform", "em"):
        return text
    try:
        return tuple(float(share) for share in text.split(","))
    except ValueError as error:
        raise ConfigError(
            f"priors: expected 'uniform', 'em' or a share for each label, with commas, received {text!r}"
        ) from error
