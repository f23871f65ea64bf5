"""Whether two models compute the same: their logits on the same real rows, held against each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kerastune.batching import Batch, make_batch
from kerastune.config import RunConfig
from kerastune.dataset import read_dataset
from kerastune.encoding import Encoded
from kerastune.mainjob import packaged_reviews
from kerastune.models import ModelFiles
from kerastune.session import make_encoder
from kerastune.task import Task
from kerastune.text_task import find_task

_ROWS = 8
# A whole vocabulary at every token of every row is gigabytes; the last tokens attend to all before.
_TOKENS = 16


class HasLogits(Protocol):
    """What computes logits: a stack, or a model opened by its plain library."""

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """See `Stack.logits`."""


def prompt_batches(config: RunConfig, files: ModelFiles, input: Path | None = None) -> list[Batch]:
    """Encode the first rows of a table as prompts, a batch each, all of one length.

    Args:
        config: The task and how its rows are said.
        files: The base, for its tokenizer.
        input: The table; the packaged reviews when None.
    """
    if not isinstance(find_task(config.task), Task):
        # What stands in a prompt does not matter here, so reviews serve tasks without labels too.
        config = RunConfig()
    table = packaged_reviews() / "test.tsv" if input is None else input
    dataset = read_dataset(table, config.task, labelled=False)
    encoder = make_encoder(config, files)
    prompts = [
        Encoded(example_id=example.example_id, prompt_ids=example.prompt_ids, completion_ids=())
        for example in encoder.encode(dataset).examples[:_ROWS]
    ]
    length = max(map(len, prompts))
    return [
        make_batch([prompt], rows=1, length=length, pad_id=encoder.tokenizer.pad_id, answers=0)
        for prompt in prompts
    ]


def last_logits(model: HasLogits, batch: Batch) -> NDArray[np.float32]:
    """Return the logits after the last tokens of a batch of one row: `[tokens, vocabulary]`."""
    last = int(batch.padding_mask.sum())
    return model.logits(batch)[0, max(0, last - _TOKENS) : last].copy()


def logits_difference(
    before: Sequence[NDArray[np.float32]], after: Sequence[NDArray[np.float32]]
) -> tuple[float, float]:
    """Return the largest absolute difference, and that over the largest logit.

    Example:
        >>> logits_difference([np.float32([[1, -4]])], [np.float32([[2, -4]])])
        (1.0, 0.25)
    """
    # numpy's max, which hands on what is no number
    pairs = zip(before, after, strict=True)
    absolute = float(np.max([np.abs(ours - theirs).max() for ours, theirs in pairs]))
    return absolute, absolute / float(np.max([np.abs(ours).max() for ours in before]))
