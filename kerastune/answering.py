"""Many prompts answered in batches, with a progress bar and errors that say what to lower."""

from collections.abc import Sequence

import numpy as np

from kerastune.decoding import Answer, GenerationSpec, HasDecoder, answers
from kerastune.memory import explained_memory_errors
from kerastune.progress import Advance, progress


def answer_in_batches(
    stack: HasDecoder,
    prompts: Sequence[Sequence[int]],
    spec: GenerationSpec,
    *,
    batch_size: int,
    show: bool = True,
    advance: Advance | None = None,
) -> list[Answer]:
    """Continue prompts, those of like lengths in one batch.

    Args:
        stack: What computes.
        prompts: The prompts' ids; one prompt at least.
        spec: How to continue them.
        batch_size: Prompts of a batch.
        show: Whether to show a progress bar.
        advance: Moves a bar that is already there, in place of one of its own.

    Returns:
        The answers, in the prompts' order.

    Raises:
        ModelError: Memory ran out; the message says to lower `score_batch_size`.
    """
    order = np.argsort([len(prompt) for prompt in prompts], kind="stable").tolist()
    longest = max(map(len, prompts)) + spec.max_new_tokens
    found: dict[int, Answer] = {}
    with (
        progress("generating", len(prompts), show=show, bar=advance) as advance,
        explained_memory_errors(batch_size, longest, "score_batch_size"),
    ):
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            written = answers(stack, [prompts[place] for place in batch], spec)
            found |= dict(zip(batch, written, strict=True))
            advance(len(batch))
    return [found[place] for place in range(len(prompts))]
