"""The loss: cross-entropy at the answer positions, with the language-model head nowhere else.

More than half of a small Gemma is its head, so logits where no answer is would cost more than the model.
"""

from typing import Any

import keras
from keras import ops

from kerastune.keras_stack.last_layer import hidden_at
from kerastune.keras_stack.prefix import hidden_after
from kerastune.preference.loss import ArrayOps, PreferenceLoss

_REWARDS = ("accuracy", "chosen", "rejected")
_OPS = ArrayOps(softplus=ops.softplus, expm1=ops.expm1, log=ops.log)


class AnswerModel(keras.Model):  # type: ignore[misc]  # keras has no types
    """A backbone with its head at the answer positions, whose output is its tokens' loss.

    Args:
        backbone: A KerasHub backbone with a `token_embedding` that can be reversed.
    """

    def __init__(self, backbone: Any) -> None:
        # Weights of a batch must not be rounded to the backbone's dtype on their way in.
        super().__init__(name="answer_model", dtype="float32")
        self.backbone = backbone
        self.built = True  # by the backbone; there is nothing else
        #: The loss of pairs, or None for the tokens' own; what is compiled holds the one that was there.
        self.preference: PreferenceLoss | None = None
        self._means = {name: keras.metrics.Mean(name=name) for name in _REWARDS}

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """Compute each answer token's weighted cross-entropy.

        Args:
            inputs: The arrays of a `Batch`, by their names; `choices [B, C]` where answers are one of them.
            training: Whether dropout is on.

        Returns:
            `[B, K] float32`.
        """
        at_answers = hidden_at(
            lambda: hidden_states(self.backbone, inputs, training), self.backbone, inputs["answer_positions"]
        )
        answer_ids = inputs["answer_ids"][:, :, None]
        if "choices" in inputs:
            choices = inputs["choices"]
            logits = logits_of(self.backbone.token_embedding, at_answers, choices[0])
            chosen = ops.sum(ops.where(choices[:, None, :] == answer_ids, logits, 0.0), axis=-1)
        else:
            logits = ops.cast(self.backbone.token_embedding(at_answers, reverse=True), "float32")
            chosen = ops.take_along_axis(logits, answer_ids, axis=-1)[:, :, 0]
        return (ops.logsumexp(logits, axis=-1) - chosen) * inputs["answer_weights"]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,  # noqa: ARG002 - the signature is Keras'
        y_pred: Any = None,
        sample_weight: Any = None,  # noqa: ARG002
        training: bool = True,  # noqa: ARG002
    ) -> Any:
        """Sum the tokens' losses, or the pairs'; the weights already carry the step's normalisation."""
        if self.preference is None:
            return ops.sum(y_pred)
        chosen, rejected = ops.split(_pair_scores(x, y_pred), 2)
        return ops.sum(self.preference.losses(chosen, rejected, _OPS) * ops.split(x["pair_weights"], 2)[0])

    @property
    def measured(self) -> tuple[str, ...]:
        """The names of what is measured of pairs; none where there are no pairs."""
        return () if self.preference is None else _REWARDS

    def rewards(self, x: Any, y_pred: Any) -> tuple[dict[str, Any], Any]:
        """Compute the rewards of pairs by the names of `Rewards`, each `[pairs]`, and the pairs' weights."""
        if self.preference is None:
            return {}, None
        chosen, rejected = ops.split(self.preference.beta * _pair_scores(x, y_pred), 2)
        right = ops.cast(chosen > rejected, "float32")
        found = dict(zip(_REWARDS, (right, chosen, rejected), strict=True))
        return found, ops.split(x["pair_weights"], 2)[0]

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Measure the pairs' rewards, where there are pairs and Keras' own trainer trains."""
        values, weights = self.rewards(x, y_pred)
        for name, value in values.items():
            self._means[name].update_state(value, weights)
        found: dict[str, Any] = super().compute_metrics(x, y, y_pred, sample_weight)
        return found


def _pair_scores(inputs: dict[str, Any], token_losses: Any) -> Any:
    """The scores of a batch's answers, the chosen ones' first; `[B]`."""
    return (-ops.sum(token_losses, axis=1) - inputs["reference"]) / inputs["divisors"]


class LabelModel(keras.Model):  # type: ignore[misc]  # keras has no types
    """A backbone with only the head's rows of a few tokens, at each row's last token.

    Args:
        backbone: A KerasHub backbone.
        label_ids: The tokens.
    """

    def __init__(self, backbone: Any, label_ids: tuple[int, ...]) -> None:
        super().__init__(name="label_model", dtype="float32")
        self.backbone = backbone
        self.label_ids = label_ids
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """Compute the tokens' logits.

        Args:
            inputs: `token_ids [B, L]` and `padding_mask [B, L]`, padded on the right.
            training: Whether dropout is on.

        Returns:
            `[B, labels] float32`.
        """
        last = ops.sum(ops.cast(inputs["padding_mask"], "int32"), axis=1) - 1
        final = hidden_at(
            lambda: hidden_states(self.backbone, inputs, training), self.backbone, last[:, None]
        )
        return logits_of(self.backbone.token_embedding, final[:, 0], self.label_ids)


class LogitsModel(keras.Model):  # type: ignore[misc]  # keras has no types
    """A backbone with its whole head after every token.

    Args:
        backbone: A KerasHub backbone.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__(name="logits_model", dtype="float32")
        self.backbone = backbone
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """Compute `[B, L, vocabulary] float32`."""
        hidden = hidden_states(self.backbone, inputs, training)
        return ops.cast(self.backbone.token_embedding(hidden, reverse=True), "float32")


def logits_of(embedding: Any, hidden: Any, token_ids: Any) -> Any:
    """Compute a few tokens' logits, with only their rows of the head; `[..., tokens] float32`."""
    if embedding.tie_weights:
        rows = ops.take(embedding.embeddings, token_ids, axis=0)
    else:
        rows = ops.transpose(ops.take(embedding.reverse_embeddings, token_ids, axis=1))
    logits = ops.matmul(ops.cast(hidden, "float32"), ops.transpose(ops.cast(rows, "float32")))
    if embedding.logit_soft_cap is not None:
        logits = ops.tanh(logits / embedding.logit_soft_cap) * embedding.logit_soft_cap
    return logits


def hidden_states(backbone: Any, inputs: dict[str, Any], training: bool | None) -> Any:
    """Run the backbone, from where `past` ends if that is there; `[B, L, width]` in its dtype."""
    if "past" in inputs:
        return hidden_after(backbone, inputs["token_ids"], inputs["padding_mask"], inputs["past"])
    return backbone(
        {"token_ids": inputs["token_ids"], "padding_mask": inputs["padding_mask"]}, training=training
    )
