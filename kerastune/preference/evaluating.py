"""Evaluation of a run on held-out pairs: how often, and by how much, the chosen answer is preferred."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastune.evaluated_scores import write_metrics
from kerastune.evaluation.intervals import RESAMPLES, Interval, wilson_interval
from kerastune.preference.loss import PreferenceLoss, Rewards
from kerastune.preference.pairs import EncodedPair
from kerastune.preference.reading import read_pairs
from kerastune.preference.scoring import LogProbabilities, answer_log_probabilities, by_length, scores_of
from kerastune.run import Run


@dataclass(frozen=True, kw_only=True)
class Likelihoods:
    """What a model holds of pairs' answers, without any reference.

    Args:
        accuracy: The share of pairs whose chosen answer's tokens are likelier on average.
        chosen: Mean log-probability of a chosen answer, in nats.
        rejected: That of a rejected one.
    """

    accuracy: float
    chosen: float
    rejected: float

    @classmethod
    def of(cls, pairs: list[EncodedPair], found: LogProbabilities) -> "Likelihoods":
        """Measure log-probabilities."""
        means = scores_of(pairs, found, PreferenceLoss(method="orpo"))
        chosen, rejected = np.array([found[pair.example_id] for pair in pairs]).T
        return cls(
            accuracy=Rewards.of(means, beta=1.0).accuracy,
            chosen=float(chosen.mean()),
            rejected=float(rejected.mean()),
        )


@dataclass(frozen=True, kw_only=True)
class EvaluatedPairs:
    """What a run came to on a table of pairs.

    Args:
        pairs: How many pairs.
        method: `"dpo"` or `"orpo"`, which says what a reward is.
        rewards: The rewards after training. Those of DPO are against the reference, where all are 0 before.
        accuracy_interval: The preference accuracy's 95 % interval (Wilson's).
        margin_interval: The reward margin's 95 % interval (bootstrap).
        before: The reference, which is what training began from.
        after: The run.
        left: Rows that were left out, as messages.
    """

    pairs: int
    method: str
    rewards: Rewards
    accuracy_interval: Interval
    margin_interval: Interval
    before: Likelihoods
    after: Likelihoods
    left: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """All of it in the types of JSON."""
        return {
            "pairs": self.pairs,
            "method": self.method,
            **self.rewards.as_dict(),
            "preference_accuracy_interval": list(self.accuracy_interval),
            "reward_margin_interval": list(self.margin_interval),
            "before": asdict(self.before),
            "after": asdict(self.after),
            "left_out": list(self.left),
        }


def evaluate_pairs_file(
    folder: Path,
    file: Path,
    options: Mapping[str, Any] | None = None,
    *,
    skip_bad_rows: bool = False,
    show: bool = True,
) -> EvaluatedPairs:
    """Evaluate a run on held-out pairs, before and after its training, and write `metrics.json`.

    Args:
        folder: The run's folder.
        file: The table of pairs.
        options: Options that replace the run's.
        skip_bad_rows: Whether rows that cannot be used are left out, and listed.
        show: Whether to show progress.

    Raises:
        AdapterError: The adapter, or one beneath it, is missing, damaged or another than it was.
        ConfigError: The folder is no run.
        DataError: A row cannot be used.
        OutputError: The folder cannot be written into.
    """
    run = Run.load(folder, options)
    rows = read_pairs(file, skip_bad_rows=skip_bad_rows)
    session = run.preference_session
    pairs, left = session.encode(rows)
    stack, loss = session.stack, session.config.preference.loss
    # Two rows a pair.
    batch_size = max(1, session.config.score.score_batch_size // 2)
    batches = by_length(pairs, batch_size, session.encoder.tokenizer.pad_id)
    after = answer_log_probabilities(stack, batches, "after training", show=show)
    factors = stack.get_adapter()
    stack.remove_adapter()
    before = answer_log_probabilities(stack, batches, "before training", show=show)
    stack.load_adapter(factors)
    scores = scores_of(pairs, after, loss, reference=before)
    rewards = Rewards.of(scores, loss.beta)
    evaluated = EvaluatedPairs(
        pairs=len(pairs),
        method=loss.method,
        rewards=rewards,
        accuracy_interval=wilson_interval(round(rewards.accuracy * len(pairs)), len(pairs)),
        margin_interval=_mean_interval(loss.beta * -np.diff(scores.reshape(2, -1), axis=0)[0]),
        before=Likelihoods.of(pairs, before),
        after=Likelihoods.of(pairs, after),
        left=(*rows.left, *left),
    )
    said = {
        file.stem: {
            "table": {"source": rows.name, "sha256": rows.sha256, "rows": len(pairs)},
            "preference": evaluated.as_dict(),
        }
    }
    write_metrics(run.folder, said)
    return evaluated


def _mean_interval(values: NDArray[np.float64], seed: int = 0) -> Interval:
    """The bootstrap's 95 % interval of a mean: the percentiles of the resamples' means."""
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
