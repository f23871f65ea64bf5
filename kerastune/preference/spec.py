"""The options of training on pairs of answers."""

from dataclasses import dataclass
from math import inf

from kerastune.preference.loss import Method, PreferenceLoss
from kerastune.strict import require_option


@dataclass(frozen=True, kw_only=True)
class PreferenceSpec:
    """How pairs of a chosen and a rejected answer are trained; see `kerastune.preference.loss`.

    Args:
        method: `"dpo"`, which needs a reference (the model without the new adapter), or `"orpo"`, which
            needs none.
        beta: For DPO, how strongly the model is held to the reference; for ORPO, the odds ratio's weight.
        label_smoothing: For DPO, the share of pairs whose answers are assumed to be in the wrong order.
        min_chosen_score: The lowest score of a chosen answer that is trained on; pairs below it are left out.
            None keeps all pairs.
    """

    method: Method = "dpo"
    beta: float = 0.1
    label_smoothing: float = 0.0
    min_chosen_score: float | None = None

    def __post_init__(self) -> None:
        require_option("beta", self.beta, 0 < self.beta < inf, "a finite number more than 0")
        require_option(
            "label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 0.5, "from 0 to below 0.5"
        )
        if self.method == "orpo":
            require_option(
                "label_smoothing", self.label_smoothing, self.label_smoothing == 0, "0 for method 'orpo'"
            )

    @property
    def loss(self) -> PreferenceLoss:
        """The loss that these options make."""
        return PreferenceLoss(method=self.method, beta=self.beta, label_smoothing=self.label_smoothing)
