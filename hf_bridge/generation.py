"""Decoding with transformers: prompts as ids in, logits a token out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from kerastune.decoding import GenerationSpec


class CachedDecoder:
    """Prompts padded on the left, so that all are written on at the same place; see `Stack.start_decoding`.

    Args:
        model: A causal language model of transformers.
        prompts: The prompts' ids.
        spec: The token put at padding.
    """

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], spec: GenerationSpec) -> None:
        self._model, self._pad_id = model, spec.pad_id
        length = max(map(len, prompts))
        self._token_ids = torch.full((len(prompts), length), spec.pad_id)
        self._mask = torch.zeros_like(self._token_ids)
        for row, prompt in enumerate(prompts):
            self._token_ids[row, length - len(prompt) :] = torch.tensor(list(prompt))
            self._mask[row, length - len(prompt) :] = 1
        # Padding has no place in the text.
        self._positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)
        self._cache = DynamicCache(config=model.config)

    def step(self, tokens: Mapping[int, int]) -> Mapping[int, NDArray[np.float32]]:
        """Read the prompts, then a token a row; see `Decoder.step`."""
        if tokens:
            column = [tokens.get(row, self._pad_id) for row in range(len(self._mask))]
            self._token_ids = torch.tensor(column)[:, None]
            self._mask = torch.cat([self._mask, torch.ones_like(self._token_ids)], dim=1)
            self._positions = self._positions[:, -1:] + 1
        device = self._model.device
        with torch.no_grad():
            logits = self._model(
                input_ids=self._token_ids.to(device),
                attention_mask=self._mask.to(device),
                position_ids=self._positions.to(device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        return dict(enumerate(logits.float().cpu().numpy()))
