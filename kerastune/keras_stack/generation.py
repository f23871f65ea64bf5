"""Decoding with KerasHub's caches: prompts as ids in, logits a token out."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from kerastune.decoding import GenerationSpec
from kerastune.keras_stack.compiling import compiled
from kerastune.keras_stack.placement import Placement

# Prompts and answers are laid out in multiples of this, so that few lengths are compiled.
_MULTIPLE = 64


class Generator:
    """A KerasHub model as a continuer of prompts; programs are compiled once a batch's shape.

    Args:
        causal_lm: A KerasHub causal language model.
        placement: Where it is; the caches are split by their rows.
    """

    def __init__(self, causal_lm: Any, placement: Placement) -> None:
        takes_images = "img_embeddings" in inspect.signature(causal_lm._build_cache).parameters

        def fill(token_ids: Any, padding_mask: Any) -> Any:
            # A text model has no images, whose arguments Gemma 3 wants all the same.
            more = (None, None, padding_mask, None) if takes_images else ()
            return causal_lm._build_cache(token_ids, *more)[1]

        def step(tokens: Any, cache: Any, index: Any) -> Any:
            logits, _, cache = causal_lm.call_with_cache(tokens, cache, index)
            return ops.cast(logits[:, 0], "float32"), cache

        self._multiple = placement.multiple
        self._fill = compiled(causal_lm, fill, placement, "rows")
        self._step = compiled(causal_lm, step, placement, ("whole", "rows"))

    def start(self, prompts: Sequence[Sequence[int]], spec: GenerationSpec) -> "CachedDecoder":
        """Read prompts; see `Stack.start_decoding`."""
        spare = -len(prompts) % self._multiple  # rows that nobody reads, where the others do not divide
        return CachedDecoder(self._fill, self._step, [*prompts, *[prompts[0]] * spare], spec)


class CachedDecoder:
    """Prompts padded on the right, all of them at one place of their texts.

    KerasHub's caches are written at one index for all rows, so that a row whose prompt is longer is still
    being read while others are written on.

    Args:
        fill: Token ids and mask -> cache.
        step: Tokens, cache and index -> logits and cache.
        prompts: The prompts' ids.
        spec: The most tokens that will be written, and the pad.
    """

    def __init__(self, fill: Any, step: Any, prompts: Sequence[Sequence[int]], spec: GenerationSpec) -> None:
        self._step_on = step
        self._lengths = [len(prompt) for prompt in prompts]
        length = max(self._lengths) + spec.max_new_tokens
        length = -(-length // _MULTIPLE) * _MULTIPLE
        self._token_ids = np.full((len(prompts), length), spec.pad_id, np.int32)
        for row, prompt in enumerate(prompts):
            self._token_ids[row, : len(prompt)] = prompt
        mask = np.arange(length)[None, :] < np.array(self._lengths)[:, None]
        self._cache = fill(ops.convert_to_tensor(self._token_ids), ops.convert_to_tensor(mask))
        self._read = min(self._lengths) - 1

    def step(self, tokens: Mapping[int, int]) -> Mapping[int, NDArray[np.float32]]:
        """Go one token on; see `Decoder.step`."""
        for row, token in tokens.items():
            self._token_ids[row, self._read] = token
        column = ops.convert_to_tensor(self._token_ids[:, self._read : self._read + 1])
        logits, self._cache = self._step_on(column, self._cache, ops.convert_to_tensor(self._read, "int32"))
        self._read += 1
        found = np.asarray(ops.convert_to_numpy(logits))
        return {row: found[row] for row, length in enumerate(self._lengths) if length <= self._read}
