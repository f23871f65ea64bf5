"""Writing on from prompts, a token at a time: the same choice of tokens on both stacks.

A stack computes logits; which token follows is decided here, in float64, by a row's own random numbers. So
the draws are the same on both stacks and in any batch, and tokens can be shown as they are written.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kerastune.strict import require_option

#: The penalty of tuned dialogue models, where nothing else is said. Of 37 held-out answers of a tuned Gemma 3
#: 270M, 6 went round in circles without it and none with it (docs/chat.md).
DIALOGUE_PENALTY = 1.1


@dataclass(frozen=True, kw_only=True)
class GenerationSpec:
    """How prompts are continued, and how the next token is chosen.

    Args:
        max_new_tokens: The most tokens that are written.
        stop_ids: Tokens that end an answer; they are left out of it.
        pad_id: The token put at padding.
        temperature: 0 takes the likeliest token; higher is more random.
        top_k: Only this many likeliest tokens are drawn from; 0 draws from all.
        top_p: Only the likeliest tokens that make up this probability are drawn from.
        repetition_penalty: What the logits of tokens that are in the text already are divided by, or
            multiplied with where they are below zero (transformers' reading of CTRL, Keskar et al. 2019,
            arXiv:1909.05858); 1 changes nothing. Stop tokens are spared, unlike there: the end of an
            earlier turn stands in every prompt of a dialogue, and would keep the answer from ending.
        seed: Seed of the draws.
    """

    max_new_tokens: int
    stop_ids: tuple[int, ...]
    pad_id: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges; a `ConfigError` names the option."""
        for name, allowed, expected in (
            ("max_new_tokens", self.max_new_tokens >= 1, "1 or more"),
            ("temperature", 0 <= self.temperature < inf, "a finite number, 0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < inf, "a finite number more than 0"),
            ("seed", self.seed >= 0, "0 or more"),
        ):
            require_option(name, getattr(self, name), allowed, expected)


@dataclass(frozen=True)
class Answer:
    """What was written behind a prompt.

    Args:
        token_ids: The tokens, without the one that stopped it.
        stopped: Whether a stop token ended it, not the number of tokens.
    """

    token_ids: tuple[int, ...]
    stopped: bool


class Decoder(Protocol):
    """Prompts on their way through a model, with the keys and values of what was read."""

    def step(self, tokens: Mapping[int, int]) -> Mapping[int, NDArray[np.float32]]:
        """Put a token behind rows, and return the logits after the rows that have been read to their end.

        Args:
            tokens: Row -> token, for the rows of the last step that go on; none at the first step.

        Returns:
            Row -> logits, `[vocabulary]`. A row whose prompt is longer than others may come later.
        """


class HasDecoder(Protocol):
    """What prompts can be continued with: a stack."""

    def start_decoding(self, prompts: Sequence[Sequence[int]], spec: GenerationSpec) -> Decoder:
        """See `Stack.start_decoding`."""


@dataclass
class _Row:
    """A row's text and its random numbers."""

    seen: set[int]
    draws: np.random.Generator
    written: int = 0


def decode(
    stack: HasDecoder,
    prompts: Sequence[Sequence[int]],
    spec: GenerationSpec,
    names: Sequence[int] | None = None,
) -> Iterator[tuple[int, int]]:
    """Continue prompts of any lengths, and yield each token as soon as it is chosen.

    Args:
        stack: What computes.
        prompts: The prompts' ids.
        spec: How to continue them.
        names: A number a prompt, which with the seed decides its draws; the prompt's place when None.

    Yields:
        The row and its next token; a stop token is the last of its row.
    """
    names = range(len(prompts)) if names is None else names
    rows = {
        place: _Row(set(prompt) - set(spec.stop_ids), np.random.default_rng([spec.seed, name]))
        for place, (prompt, name) in enumerate(zip(prompts, names, strict=True))
    }
    decoder = stack.start_decoding(prompts, spec)
    chosen: dict[int, int] = {}
    while rows:
        found = decoder.step(chosen)
        chosen = {}
        for place in [place for place in rows if place in found]:
            row = rows[place]
            token = choose(found[place], row.seen, spec, row.draws)
            yield place, token
            row.seen.add(token)
            row.written += 1
            if token in spec.stop_ids or row.written == spec.max_new_tokens:
                del rows[place]
            else:
                chosen[place] = token


def answers(
    stack: HasDecoder,
    prompts: Sequence[Sequence[int]],
    spec: GenerationSpec,
    names: Sequence[int] | None = None,
) -> list[Answer]:
    """Continue prompts until a stop token or `max_new_tokens`; see `decode`."""
    written: list[list[int]] = [[] for _ in prompts]
    for place, token in decode(stack, prompts, spec, names):
        written[place].append(token)
    return [
        Answer(tuple(ids[:-1]), True) if ids and ids[-1] in spec.stop_ids else Answer(tuple(ids), False)
        for ids in written
    ]


def choose(
    logits: NDArray[np.float32], seen: set[int], spec: GenerationSpec, draws: np.random.Generator
) -> int:
    """Choose the next token: penalty, temperature, top-k, top-p and a draw, in this order.

    Args:
        logits: `[vocabulary]`.
        seen: The tokens that are in the text already.
        spec: How to choose.
        draws: Random numbers; one is taken where the temperature is not 0.
    """
    scores = logits.astype(np.float64)
    if spec.repetition_penalty != 1:
        places = np.fromiter(seen, np.int64)
        old = scores[places]
        scores[places] = np.where(old < 0, old * spec.repetition_penalty, old / spec.repetition_penalty)
    if spec.temperature == 0:
        return int(scores.argmax())
    scores /= spec.temperature
    if 0 < spec.top_k < len(scores):
        least = np.partition(scores, -spec.top_k)[-spec.top_k]
        scores[scores < least] = -np.inf
    probabilities = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    if spec.top_p < 1:
        order = np.argsort(-probabilities, kind="stable")
        # The token that passes the mark is still one of them.
        before = np.cumsum(probabilities[order]) - probabilities[order]
        probabilities[order[before >= spec.top_p]] = 0.0
    reached = np.cumsum(probabilities)
    place = np.searchsorted(reached, draws.random() * reached[-1], side="right")
    return int(min(place, np.flatnonzero(probabilities)[-1]))
