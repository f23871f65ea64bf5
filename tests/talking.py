"""A model without a framework: what follows a token is a table's row. And a tokenizer of bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

STOP, PAD = 256, 257
SIZE = 258


@dataclass
class TableStack:
    """Logits after a text: the row of its last token, in a table of random numbers."""

    table: np.ndarray = field(
        default_factory=lambda: np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
    )
    batches: list[int] = field(default_factory=list)

    def start_decoding(self, prompts, _spec):
        self.batches.append(len(prompts))
        return TableDecoder(self.table, prompts)


class TableDecoder:
    """Rows whose prompts are longer come later, as on the Keras stack."""

    def __init__(self, table: np.ndarray, prompts: Sequence[Sequence[int]]) -> None:
        self.table, self.last = table, {row: prompt[-1] for row, prompt in enumerate(prompts)}
        self.lengths, self.read = [len(prompt) for prompt in prompts], min(map(len, prompts))

    def step(self, tokens: Mapping[int, int]) -> Mapping[int, np.ndarray]:
        self.last |= tokens
        found = {row: self.table[self.last[row]] for row, n in enumerate(self.lengths) if n <= self.read}
        self.read += 1
        return found


class ByteTokenizer:
    """UTF-8 bytes as tokens, so that a syllable is three of them."""

    end_ids, pad_id, bos_id = (STOP,), PAD, None

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(number for number in ids if number < 256).decode(errors="replace")
