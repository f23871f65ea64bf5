"""Validation while training: the loss on rows that are not trained on, and how many of them are right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerastune.batch_shapes import bucket_lengths
from kerastune.batching import Example, scoring_batches
from kerastune.encoding import Encoded
from kerastune.memory import explained_memory_errors
from kerastune.objective import Objective
from kerastune.preference.loss import PreferenceLoss, Rewards
from kerastune.preference.pairs import EncodedPair
from kerastune.preference.scoring import answer_log_probabilities, by_length, scores_of
from kerastune.stack import Stack


@dataclass(frozen=True)
class Watched:
    """What the model says of rows that it is not trained on.

    Args:
        loss: Mean cross-entropy of the trained answer tokens, without dropout.
        accuracy: How often the right label is the likeliest, where the loss is on the label, or the chosen
            answer's reward the higher one, of pairs; else None.
    """

    loss: float
    accuracy: float | None = None


def validate(
    stack: Stack, examples: Sequence[Example], objective: Objective, *, batch_size: int, pad_id: int
) -> Watched:
    """Measure the objective on labelled examples.

    Args:
        stack: The model as it is now.
        examples: The examples, with what is trained of their completions.
        objective: What the loss is on.
        batch_size: Rows of a forward pass.
        pad_id: The token put at padding.
    """
    if objective.preference is not None:
        pairs = [example for example in examples if isinstance(example, EncodedPair)]
        return _of_pairs(stack, pairs, objective.preference, batch_size, pad_id)
    texts = [example for example in examples if isinstance(example, Encoded)]
    if objective.choices:
        return _among_labels(stack, texts, objective, batch_size, pad_id)
    lengths = bucket_lengths([len(text) for text in texts])
    loss = weight = 0.0
    for _, batch in scoring_batches(texts, batch_size=batch_size, pad_id=pad_id, lengths=lengths):
        with explained_memory_errors(batch_size, batch.token_ids.shape[1], "batch_size"):
            loss += float(stack.token_losses(batch).sum())
        weight += batch.weight
    return Watched(loss / weight)


def _of_pairs(
    stack: Stack, pairs: Sequence[EncodedPair], loss: PreferenceLoss, batch_size: int, pad_id: int
) -> Watched:
    batches = by_length(pairs, batch_size, pad_id)
    scores = scores_of(pairs, answer_log_probabilities(stack, batches, "validation", show=False), loss)
    chosen, rejected = np.split(scores, 2)
    losses = loss.losses(chosen, rejected)
    return Watched(float(np.mean(losses)), Rewards.of(scores, loss.beta).accuracy)


def _among_labels(
    stack: Stack, examples: Sequence[Encoded], objective: Objective, batch_size: int, pad_id: int
) -> Watched:
    prompts = [Encoded(example.example_id, example.prompt_ids, ()) for example in examples]
    truth = np.array([objective.choices.index(example.completion_ids[0]) for example in examples])
    logits = np.zeros((len(examples), len(objective.choices)))
    lengths = bucket_lengths([len(prompt) for prompt in prompts])
    for rows, batch in scoring_batches(prompts, batch_size=batch_size, pad_id=pad_id, lengths=lengths):
        with explained_memory_errors(batch_size, batch.token_ids.shape[1], "batch_size"):
            logits[rows] = stack.label_logits(batch, objective.choices)[: len(rows)]
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(truth)), truth]
    return Watched(float(losses.mean()), float(np.mean(logits.argmax(axis=1) == truth)))
