"""Ranking ways to ask on labelled rows, with no training: the cloze and the label words decide much."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kerastune.calibration import batch_bias, rescale
from kerastune.dataset import Dataset, require_classes
from kerastune.dataset.splits import read_labels
from kerastune.encoding import Encoder, Encodings
from kerastune.errors import ConfigError, EncodingError
from kerastune.evaluation import Metrics, evaluate
from kerastune.progress import progress
from kerastune.scoring import label_log_probabilities
from kerastune.session import Session
from kerastune.task import Task
from kerastune.template import TEMPLATES, Template, literal_template

#: Words for a bad and a good verdict.
PAIRS = (
    "별로/최고", "최악/최고", "실망/만족", "비추/추천", "나쁘/좋", "싫/좋", "부정/긍정", "아니/정말", "0/1",
)  # fmt: skip
#: Prompts for reviews of whatever it may be.
PROMPTS = (
    "음식점 리뷰: {comment}\n한마디로 말해 이 가게는",
    "영화평: {comment}\n한마디로 말해 이 영화는",
    "리뷰: {comment}\n한마디로 말해",
    "{comment}\n한마디로 하면",
    "후기: {comment}\n총평:",
    "리뷰: {comment}\n감정:",
    "Review: {comment}\nIn a word:",
)


@dataclass(frozen=True)
class Candidate:
    """A way to ask, and how the model answered.

    Args:
        template: How the rows were asked.
        words: The word for each label.
        metrics: Of the answers as they were.
        balanced: Of the answers after batch calibration (Zhou et al. 2023, arXiv:2309.17249), which takes
            off what a model has for one word whatever it reads; training takes that off too.
    """

    template: Template
    words: tuple[str, ...]
    metrics: Metrics
    balanced: Metrics


def rank_verbalizers(
    session: Session,
    dataset: Dataset,
    *,
    templates: Sequence[Template] | None = None,
    words: Sequence[Sequence[str]] | None = None,
    show: bool = True,
) -> tuple[Candidate, ...]:
    """Try templates and label words on labelled rows.

    A template costs one pass over the rows, however many words are tried with it.

    Args:
        session: The base model.
        dataset: Labelled rows, such as a validation table; never the test rows.
        templates: Ways to ask; None takes `default_templates`.
        words: A word for each label, in the order of the labels; None takes `default_words`.
        show: Whether to show progress.

    Returns:
        The best first, by the balanced answers' accuracy and then their log-loss. Words that cannot be told
        apart after a template by their first tokens are left out.

    Raises:
        ConfigError: There are not as many words as labels, or no words can be told apart.
        DataError: The labels were not read, or are of one class only.
    """
    require_classes(dataset)
    task, truth = dataset.task, read_labels(dataset)
    wanted = default_words(task) if words is None else tuple(map(tuple, words))
    for one in wanted:
        if len(one) != len(task.labels):
            raise ConfigError(
                f"words: expected {len(task.labels)}, one for each of the labels "
                f"{', '.join(map(str, task.labels))}, received {'/'.join(one)}"
            )
    asked = default_templates(task) if templates is None else tuple(templates)
    found: list[Candidate] = []
    with progress("asking", len(asked) * len(dataset), show=show) as advance:
        for template in asked:
            firsts = _first_tokens(session.encoder, template, wanted, dataset)
            if not firsts:
                advance(len(dataset))
                continue
            tokens = sorted({token for ids in firsts.values() for token in ids})
            encoder = _encoder(session.encoder, template, next(iter(firsts)))
            # Labels are tokens here: the words' shares of each other follow from those of all tokens.
            encodings = Encodings(encoder.encode(dataset).examples, tuple((token,) for token in tokens))
            scores = label_log_probabilities(
                session.stack,
                encodings,
                pad_id=encoder.tokenizer.pad_id,
                batch_size=session.config.score.score_batch_size,
                advance=advance,
            )
            for one, ids in firsts.items():
                found.append(_judged(template, one, scores[:, np.searchsorted(tokens, ids)], truth))
    if not found:
        raise ConfigError(
            "words: expected some whose first tokens differ and do not merge with the prompt, received none"
        )
    return tuple(sorted(found, key=lambda one: (-one.balanced.accuracy, one.balanced.log_loss or 0.0)))


def default_templates(task: Task) -> tuple[Template, ...]:
    """The prompts above and the templates that ship, where the task can fill them, none twice."""
    templates = [*TEMPLATES.values(), *map(literal_template, PROMPTS)]
    fitting = [one for one in templates if set(one.slots) <= set(task.slots)]
    return tuple({(one.prompt, one.completion): one for one in reversed(fitting)}.values())[::-1]


def default_words(task: Task) -> tuple[tuple[str, ...], ...]:
    """The task's verbalizers, and for two labels the pairs above, none twice."""
    pairs = [tuple(pair.split("/")) for pair in PAIRS] if len(task.labels) == 2 else []
    return tuple(dict.fromkeys([*task.verbalizers.values(), *pairs]))


def _encoder(encoder: Encoder, template: Template, words: tuple[str, ...]) -> Encoder:
    task = replace(encoder.task, verbalizers={"tried": words}, verbalizer="tried")
    return replace(encoder, task=task, template=template, verbalizer=None)


def _first_tokens(
    encoder: Encoder, template: Template, wanted: Sequence[tuple[str, ...]], dataset: Dataset
) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Words -> their first tokens after the template, those that can be told apart by them."""
    found = {}
    row = dataset.take([0])
    for words in wanted:
        try:
            label_ids = _encoder(encoder, template, words).encode(row).label_ids
        except EncodingError:
            continue
        firsts = tuple(ids[0] for ids in label_ids)
        if len(set(firsts)) == len(firsts):
            found[words] = firsts
    return found


def _judged(
    template: Template, words: tuple[str, ...], scores: NDArray[np.float64], truth: NDArray[np.int64]
) -> Candidate:
    as_they_are = rescale(scores, 1.0, np.zeros(len(words)))
    balanced = rescale(as_they_are, 1.0, batch_bias(as_they_are))
    return Candidate(template, words, evaluate(np.exp(as_they_are), truth), evaluate(np.exp(balanced), truth))
