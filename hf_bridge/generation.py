"""Generation with transformers: prompts as ids in, answers as ids out."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from kerastune.stack import GenerationSpec


def generate(model: Any, prompts: Sequence[Sequence[int]], spec: GenerationSpec) -> list[list[int]]:
    """Continue prompts of any lengths in one batch, padded on the left; see `Stack.generate`.

    Args:
        model: A causal language model of transformers.
        prompts: The prompts' ids.
        spec: How to continue them.
    """
    length = max(map(len, prompts))
    token_ids = torch.full((len(prompts), length), spec.pad_id)
    mask = torch.zeros_like(token_ids)
    for row, prompt in enumerate(prompts):
        token_ids[row, length - len(prompt) :] = torch.tensor(list(prompt))
        mask[row, length - len(prompt) :] = 1
    config = GenerationConfig(
        max_new_tokens=spec.max_new_tokens,
        eos_token_id=list(spec.stop_ids) or None,
        pad_token_id=spec.pad_id,
        do_sample=spec.temperature > 0,
        **(
            {"temperature": spec.temperature, "top_k": spec.top_k, "top_p": spec.top_p}
            if spec.temperature > 0
            else {}
        ),
    )
    with torch.no_grad(), torch.random.fork_rng():  # the draws leave the caller's random numbers as they were
        torch.manual_seed(spec.seed)
        written = model.generate(
            input_ids=token_ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=config,
        )
    return [spec.until_stop(row[length:].tolist()) for row in written]
