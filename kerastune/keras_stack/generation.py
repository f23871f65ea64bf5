"""Generation with KerasHub's samplers: prompts as ids in, answers as ids out."""

from collections.abc import Sequence
from typing import Any

import keras_hub
import numpy as np
from keras import ops

from kerastune.stack import GenerationSpec

# Prompts and answers are laid out in multiples of this, so that few lengths are compiled.
_MULTIPLE = 32


def make_sampler(spec: GenerationSpec) -> Any:
    """Choose KerasHub's sampler: greedy at temperature 0, else top-p within top-k."""
    if spec.temperature == 0:
        return keras_hub.samplers.GreedySampler()
    kwargs = {"temperature": spec.temperature, "seed": spec.seed}
    if spec.top_p < 1:
        return keras_hub.samplers.TopPSampler(p=spec.top_p, k=spec.top_k or None, **kwargs)
    if spec.top_k:
        return keras_hub.samplers.TopKSampler(k=spec.top_k, **kwargs)
    return keras_hub.samplers.RandomSampler(**kwargs)


class Generator:
    """A KerasHub model as a continuer of prompts; programs are compiled once a sampling and a length.

    Args:
        causal_lm: A KerasHub causal language model.
    """

    def __init__(self, causal_lm: Any) -> None:
        self._causal_lm = causal_lm
        self._spec: GenerationSpec | None = None

    def generate(self, prompts: Sequence[Sequence[int]], spec: GenerationSpec) -> list[list[int]]:
        """Continue prompts of any lengths in one batch; see `Stack.generate`."""
        if spec != self._spec:
            self._causal_lm.compile(sampler=make_sampler(spec))
            self._spec = spec
        length = max(map(len, prompts)) + spec.max_new_tokens
        length = -(-length // _MULTIPLE) * _MULTIPLE
        token_ids = np.full((len(prompts), length), spec.pad_id, np.int32)
        padding_mask = np.zeros((len(prompts), length), np.bool_)
        for row, prompt in enumerate(prompts):
            token_ids[row, : len(prompt)] = prompt
            padding_mask[row, : len(prompt)] = True
        # Not the model's own generate(), which stumbles over the images that a text model does not have.
        run = self._causal_lm.make_generate_function()
        inputs = {
            "token_ids": ops.convert_to_tensor(token_ids),
            "padding_mask": ops.convert_to_tensor(padding_mask),
        }
        outputs = run(inputs, stop_token_ids=spec.stop_ids or None)
        written = np.asarray(ops.convert_to_numpy(outputs["token_ids"]))
        return [spec.until_stop(written[row, len(prompt) :].tolist()) for row, prompt in enumerate(prompts)]
