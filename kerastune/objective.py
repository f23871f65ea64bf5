"""The objective: which tokens are trained, and among which others their likelihood counts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kerastune.batching import Batch, ExampleT, make_batch
from kerastune.config import LossOn
from kerastune.encoding import Encoded
from kerastune.errors import ConfigError, EncodingError, ModelError
from kerastune.preference.loss import PreferenceLoss
from kerastune.preference.pairs import make_pair_batch

_FIRST_LOSS_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Objective:
    """What the loss is on.

    On the labels, a row's loss is the cross-entropy of its label among the labels, so that training does what
    scoring asks. On the completion it is that of the answer's tokens among the whole vocabulary, half of
    which goes to the end token where the answer is one token.

    Args:
        loss_on: `"label"`, `"completion"`, `"all"` or `"assistant"`.
        choices: The labels' first tokens; empty where the loss is over the whole vocabulary.
        preference: The loss of pairs of answers, where examples are pairs; None where each is a text.
    """

    loss_on: LossOn
    choices: tuple[int, ...] = ()
    preference: PreferenceLoss | None = None

    @classmethod
    def of(cls, asked: LossOn | None, default: LossOn, label_ids: Sequence[Sequence[int]]) -> "Objective":
        """Choose the objective.

        Args:
            asked: What the options ask for, if anything.
            default: The task's own; where it is `"label"` and two labels begin with one token, the
                completion is trained.
            label_ids: The ids of each label's completion.

        Raises:
            ConfigError: `"assistant"` is asked for, which no label is.
            EncodingError: `"label"` is asked for, and two labels begin with one token.

        Example:
            >>> Objective.of(None, "label", [(5,), (7, 8)])
            Objective(loss_on='label', choices=(5, 7), preference=None)
            >>> Objective.of(None, "label", [(5, 1), (5, 2)])
            Objective(loss_on='completion', choices=(), preference=None)
        """
        loss_on = asked or default
        if loss_on == "assistant":
            raise ConfigError(
                "loss_on: expected 'label', 'completion' or 'all' for a task with labels, received "
                "'assistant'"
            )
        if loss_on != "label":
            return cls(loss_on)
        choices = tuple(ids[0] for ids in label_ids)
        if len(set(choices)) == len(choices):
            return cls("label", choices)
        if asked is None:
            return cls("completion")
        raise EncodingError(
            "loss_on 'label': expected label words whose first tokens differ, received two that begin alike; "
            "choose other words, or loss_on 'completion'"
        )

    def examples(self, examples: Iterable[ExampleT]) -> tuple[ExampleT, ...]:
        """Keep of the completions what is trained."""
        if not self.choices:
            return tuple(examples)
        return tuple(
            replace(one, completion_ids=one.completion_ids[:1]) if isinstance(one, Encoded) else one
            for one in examples
        )

    @property
    def lay_out(self) -> Callable[..., Batch]:
        """What makes a batch of examples."""
        return make_batch if self.preference is None else make_pair_batch

    def batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Tell batches among which tokens the likelihood counts, and which loss pairs have."""
        return (replace(batch, choices=self.choices, preference=self.preference) for batch in batches)

    def check_first_loss(self, loss: float) -> None:
        """Refuse to go on where the loss before the first step shows that the reference is a wrong one.

        Raises:
            ModelError: It does.
        """
        expected = None if self.preference is None else self.preference.first_loss
        if expected is not None and abs(loss - expected) > _FIRST_LOSS_TOLERANCE:
            raise ModelError(
                f"the first step's loss is {loss:.5f}, expected ln 2 = {expected:.5f}: the reference is not "
                "the model that training begins with; delete the folder `reference` in kerastune's cache and "
                "start anew, or choose dtype float32"
            )
