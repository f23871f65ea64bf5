"""The loss of a preference pair: one definition, in the arrays of whichever library calls it.

The stacks hand over the log-probabilities of whole answers, summed over their trained tokens (the end token
among them), and the three functions that array libraries name differently. What is defined here is so the
same in numpy, in torch and in Keras. The loops of TRL's `DPOTrainer` and `ORPOTrainer` are not used, as
`SFTTrainer`'s is not: the project's own loop trains pairs too. TRL's losses are held against these in tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["dpo", "orpo"]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class ArrayOps:
    """What the losses need of an array library beyond arithmetic.

    Args:
        softplus: log(1 + exp(x)), which is -log sigmoid(-x).
        expm1: exp(x) - 1.
        log: The natural logarithm.
    """

    softplus: Callable[[Any], Any]
    expm1: Callable[[Any], Any]
    log: Callable[[Any], Any]


NUMPY = ArrayOps(softplus=lambda x: np.logaddexp(0, x), expm1=np.expm1, log=np.log)


@dataclass(frozen=True, kw_only=True)
class PreferenceLoss:
    """How much more likely the chosen answer is to be than the rejected one.

    DPO (Rafailov et al. 2023, arXiv:2305.18290) scores an answer by how many nats likelier it is than under
    the frozen reference; its loss is -log sigmoid(beta x (score of the chosen - score of the rejected)).
    Label smoothing (Mitchell 2023, "conservative DPO") takes a share of the pairs for reversed.

    ORPO (Hong et al. 2024, arXiv:2403.07691) has no reference. It scores an answer by the mean
    log-probability of its tokens; its loss is the chosen answer's cross-entropy a token plus beta (the
    paper's lambda) x -log sigmoid(the log of the ratio of the two answers' odds).

    Args:
        method: `"dpo"` or `"orpo"`.
        beta: DPO's strength of the pull to the reference; ORPO's weight of the odds ratio.
        label_smoothing: DPO's share of pairs taken for reversed, from 0 up to, not including, 0.5.
    """

    method: Method = "dpo"
    beta: float = 0.1
    label_smoothing: float = 0.0

    @property
    def has_reference(self) -> bool:
        """Whether log-probabilities under a frozen reference are needed."""
        return self.method == "dpo"

    @property
    def first_loss(self) -> float | None:
        """The loss where policy and reference are one model, as before the first step: ln 2 for DPO."""
        return float(np.log(2)) if self.has_reference else None

    def divisors(self, tokens: Array) -> Array:
        """What log-probabilities, less the reference's, are divided by to be scores.

        Args:
            tokens: The answers' trained tokens, `[rows]`.
        """
        return np.ones_like(tokens) if self.has_reference else np.maximum(tokens, 1)

    def losses(self, chosen: Any, rejected: Any, ops: ArrayOps = NUMPY) -> Any:
        """Compute each pair's loss.

        Args:
            chosen: The chosen answers' scores, `[pairs]`.
            rejected: The rejected answers' scores, `[pairs]`.
            ops: The functions of the library whose arrays these are.

        Returns:
            `[pairs]`.

        Example:
            >>> PreferenceLoss(beta=0.1).losses(np.array([0.0, 10.0]), np.array([0.0, 0.0])).round(4)
            array([0.6931, 0.3133])
            >>> PreferenceLoss(method="orpo").losses(np.array([-1.0]), np.array([-1.0])).round(4)
            array([1.0693])
        """
        if self.method == "dpo":
            margin = self.beta * (chosen - rejected)
            as_said, reversed_ = ops.softplus(-margin), ops.softplus(margin)
            return (1 - self.label_smoothing) * as_said + self.label_smoothing * reversed_
        log_odds_ratio = _log_odds(chosen, ops) - _log_odds(rejected, ops)
        return self.beta * ops.softplus(-log_odds_ratio) - chosen


def _log_odds(log_probability: Any, ops: ArrayOps) -> Any:
    """log(p / (1 - p)) of log p < 0."""
    return log_probability - ops.log(-ops.expm1(log_probability))


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """What the policy holds of pairs, in means over them.

    A reward is beta times a score: DPO's implicit reward, and for ORPO, as TRL has it, beta times the mean
    log-probability of the answer's tokens.

    Args:
        pairs: How many pairs.
        accuracy: The share of pairs whose chosen answer has the higher reward; a tie is none.
        chosen: Mean reward of the chosen answers.
        rejected: Mean reward of the rejected answers.
    """

    pairs: int
    accuracy: float
    chosen: float
    rejected: float

    @property
    def margin(self) -> float:
        """How much higher the chosen answers' rewards are."""
        return self.chosen - self.rejected

    @classmethod
    def of(cls, scores: NDArray[Any], beta: float) -> "Rewards":
        """Measure scores.

        Args:
            scores: `[2 x pairs]`, the chosen answers' first.
            beta: What makes rewards of them.

        Example:
            >>> Rewards.of(np.array([1.0, 2.0, 0.0, 3.0]), beta=0.5)
            Rewards(pairs=2, accuracy=0.5, chosen=0.75, rejected=0.75)
        """
        chosen, rejected = np.split(np.asarray(scores, np.float64), 2)
        return cls(
            pairs=len(chosen),
            accuracy=float(np.mean(chosen > rejected)),
            chosen=float(beta * chosen.mean()),
            rejected=float(beta * rejected.mean()),
        )

    @classmethod
    def mean(cls, parts: "list[Rewards]") -> "Rewards":
        """Put parts together, each weighing as many pairs as it has."""
        pairs = sum(part.pairs for part in parts)
        return cls(
            pairs=pairs,
            **{
                name: sum(part.pairs * getattr(part, name) for part in parts) / pairs
                for name in ("accuracy", "chosen", "rejected")
            },
        )

    def as_dict(self) -> dict[str, float]:
        """The measures, by the names that a history has them under."""
        return {
            "preference_accuracy": self.accuracy,
            "reward_margin": self.margin,
            "chosen_reward": self.chosen,
            "rejected_reward": self.rejected,
        }
