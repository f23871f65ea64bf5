"""Preference pairs in torch: token losses to scores, by the shared definition to losses."""

import numpy as np
import torch

from kerastune.batching import Batch
from kerastune.preference.loss import ArrayOps, PreferenceLoss, Rewards
from kerastune.preference.pairs import PairArrays

_OPS = ArrayOps(softplus=torch.nn.functional.softplus, expm1=torch.expm1, log=torch.log)


def pair_scores(token_losses: torch.Tensor, batch: Batch, arrays: PairArrays) -> torch.Tensor:
    """Sum a batch's token losses to the scores of its answers.

    Args:
        token_losses: `[answer tokens]`, row by row.
        batch: The batch, of pairs.
        arrays: What `PairArrays.of` makes of the batch.

    Returns:
        `[B]`, the chosen answers' scores first.
    """
    device = token_losses.device
    rows = torch.from_numpy(np.nonzero(batch.answer_weights > 0)[0]).to(device)
    summed = torch.zeros(len(batch.token_ids), device=device).index_add(0, rows, token_losses)
    reference, divisors = (torch.from_numpy(one).to(device) for one in (arrays.reference, arrays.divisors))
    return (-summed - reference) / divisors


def pair_losses(scores: torch.Tensor, arrays: PairArrays, preference: PreferenceLoss) -> torch.Tensor:
    """Compute each pair's loss, 0 at padding; `[pairs]`.

    Args:
        scores: What `pair_scores` returned.
        arrays: The batch's.
        preference: The loss.
    """
    chosen, rejected = scores.chunk(2)
    weights = torch.from_numpy(arrays.weights).to(scores.device)
    return preference.losses(chosen, rejected, _OPS) * weights.chunk(2)[0]


def rewards_of(scores: torch.Tensor, batch: Batch, preference: PreferenceLoss) -> Rewards:
    """Measure the scores of a batch's pairs, padding left out.

    Args:
        scores: What `pair_scores` returned.
        batch: The batch, with one pair at least.
        preference: The loss.
    """
    halves = scores.detach().cpu().numpy().reshape(2, -1)[:, : len(batch.example_ids)]
    return Rewards.of(halves.reshape(-1), preference.beta)
