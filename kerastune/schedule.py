"""The learning rate's course over the steps of a training."""

import math

from kerastune.config import TrainSpec


def total_steps(rows: int, spec: TrainSpec) -> int:
    """Optimizer steps of all epochs; the last of an epoch may be padded.

    Example:
        >>> total_steps(100, TrainSpec(batch_size=8, accumulate=2, epochs=3))
        21
    """
    return math.ceil(rows / (spec.batch_size * spec.accumulate)) * spec.epochs


def learning_rate_at(step: int, total: int, spec: TrainSpec) -> float:
    """Linear warm-up to the peak, then a cosine to zero (Loshchilov & Hutter, arXiv:1608.03983).

    Args:
        step: The step about to be taken, from 0.
        total: Steps in all.
        spec: Its peak and its warm-up's fraction.

    Example:
        >>> spec = TrainSpec(learning_rate=1.0, warmup=0.2)
        >>> [round(learning_rate_at(step, 10, spec), 3) for step in (0, 1, 2, 6, 9)]
        [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    warm = math.ceil(total * spec.warmup)
    if step < warm:
        return spec.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, total - warm)
    return spec.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
