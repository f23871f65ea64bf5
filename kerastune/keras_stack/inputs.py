"""A batch as the inputs of Keras models."""

from typing import Any

import numpy as np

from kerastune.batching import Batch
from kerastune.preference.pairs import PairArrays
from kerastune.stack import Prefix

_ONE = np.float32(1)


def batch_inputs(batch: Batch, share: np.float32 = _ONE) -> dict[str, Any]:
    """A batch's arrays by the names that the models know; its losses come out multiplied by `share`."""
    inputs: dict[str, Any] = text_inputs(batch) | {
        "answer_positions": batch.answer_positions,
        "answer_ids": batch.answer_ids,
    }
    if batch.preference is None:
        inputs["answer_weights"] = batch.answer_weights * share
    else:
        arrays = PairArrays.of(batch)
        inputs |= {
            "answer_weights": batch.answer_weights,
            "reference": arrays.reference,
            "divisors": arrays.divisors,
            "pair_weights": arrays.weights * share,
        }
    if batch.choices:  # a row each, because Keras takes every array apart by rows
        inputs["choices"] = np.tile(np.array(batch.choices, np.int32), (len(batch.token_ids), 1))
    return inputs


def text_inputs(batch: Batch) -> dict[str, Any]:
    """A batch's tokens alone."""
    return {"token_ids": batch.token_ids, "padding_mask": batch.padding_mask}


def past_input(prefix: Prefix | None) -> dict[str, Any]:
    """What a prefix adds to the inputs."""
    return {} if prefix is None else {"past": prefix.state}
