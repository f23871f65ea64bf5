"""Pairs of the tiny model's tokens, as one batch."""

from dataclasses import replace

import numpy as np
import pytest

from kerastune.batching import Batch
from kerastune.encoding import Encoded
from kerastune.preference.loss import PreferenceLoss
from kerastune.preference.pairs import EncodedPair, make_pair_batch


@pytest.fixture(scope="session")
def make_pairs():
    """Draw pairs of random tokens whose answers are of different lengths and end in the end token."""

    def make(count: int, seed: int = 0) -> list[EncodedPair]:
        draw = np.random.default_rng(seed)

        def ids(length: int) -> tuple[int, ...]:
            return tuple(map(int, draw.integers(4, 250, length)))

        pairs = []
        for number in range(count):
            prompt = (2, *ids(3 + number % 4))
            answers = [(*ids(length), 1) for length in (2 + number % 3, 4 - number % 2)]
            chosen, rejected = (Encoded(f"p{number}", prompt, answer) for answer in answers)
            pairs.append(EncodedPair(chosen, rejected))
        return pairs

    return make


@pytest.fixture(scope="session")
def pair_batch(make_pairs):
    """Three pairs with room for four, and references that are not the model's own."""

    def make(preference: PreferenceLoss, rows: int = 4) -> Batch:
        references = [(-20.0, -25.0), (-31.0, -18.0), (-11.5, -12.0)]
        pairs = [
            replace(pair, reference=reference)
            for pair, reference in zip(make_pairs(3), references, strict=True)
        ]
        batch = make_pair_batch(pairs, rows=rows, length=16, pad_id=0, answers=6)
        return replace(batch, preference=preference)

    return make
