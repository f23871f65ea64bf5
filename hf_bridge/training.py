"""One optimizer step in torch, equal to Keras' AdamW: decoupled decay, a global norm, one normalisation."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kerastune.batching import Batch
from kerastune.config import ADAM_EPSILON, TrainSpec
from kerastune.errors import AdapterError

_BETA_2 = 0.999
_MOMENTS = ("exp_avg", "exp_avg_sq")


class Trainer:
    """The optimizer of an adapter.

    Args:
        trained: (module, name) -> parameter, in float32.
        dropouts: The adapter's dropout layers; the base has none that is on.
        spec: How to train.
    """

    def __init__(
        self,
        trained: Mapping[tuple[str, str], torch.nn.Parameter],
        dropouts: Sequence[torch.nn.Module],
        spec: TrainSpec,
    ) -> None:
        self._trained, self._dropouts, self._spec = dict(trained), list(dropouts), spec
        for parameter in self._trained.values():
            parameter.requires_grad_(True)
        # DoRA's magnitudes are scales, which are not decayed.
        scales = [parameter for (_, name), parameter in self._trained.items() if name == "magnitude"]
        factors = [parameter for (_, name), parameter in self._trained.items() if name != "magnitude"]
        groups = [
            {"params": factors, "weight_decay": spec.weight_decay},
            {"params": scales, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=spec.learning_rate, betas=(0.9, _BETA_2)
        )
        self._steps = 0

    def step(
        self, step: Sequence[Batch], learning_rate: float, losses_of: Callable[[Batch], torch.Tensor]
    ) -> float:
        """Take one step and return its loss; see `Stack.train_step`.

        Args:
            step: The batches to accumulate.
            learning_rate: The step's learning rate.
            losses_of: Computes a batch's weighted token losses.
        """
        weight = sum(batch.weight for batch in step)
        total = 0.0
        self._optimizer.zero_grad()
        with torch.random.fork_rng():  # dropout draws from the run's seed, and from nothing else
            torch.manual_seed(_step_seed(self._spec.seed, self._steps))
            for dropout in self._dropouts:
                dropout.train()
            for batch in step:
                loss = losses_of(batch).sum() / weight
                loss.backward()
                total += float(loss.detach())
            for dropout in self._dropouts:
                dropout.eval()
        if self._spec.clip_norm:
            torch.nn.utils.clip_grad_norm_(list(self._trained.values()), self._spec.clip_norm)
        # torch corrects the second moment before it adds epsilon, Keras after; this makes them one.
        corrected = math.sqrt(1.0 - _BETA_2 ** (self._steps + 1))
        for group in self._optimizer.param_groups:
            group["lr"], group["eps"] = learning_rate, ADAM_EPSILON / corrected
        self._optimizer.step()
        self._steps += 1
        return total

    def state(self) -> dict[str, NDArray[Any]]:
        """The parameters, the optimizer's moments and the number of steps."""
        found = {f"{module}.{name}": _array(value) for (module, name), value in self._trained.items()}
        for (module, name), parameter in self._trained.items():
            moments = self._optimizer.state.get(parameter, {})
            for kind in _MOMENTS:
                value = moments.get(kind, torch.zeros_like(parameter))
                found[f"optimizer.{module}.{name}.{kind}"] = _array(value)
        return {**found, "optimizer.steps": np.asarray(self._steps)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` returned.

        Raises:
            AdapterError: It is of another adapter.
        """
        mine = {name: value.shape for name, value in self.state().items()}
        if mine != {name: value.shape for name, value in state.items()}:
            raise AdapterError(
                f"the checkpoint holds {len(state)} arrays, expected {len(mine)} of the same names and "
                "shapes; it is of another configuration: start the run anew in another folder"
            )
        self._steps = int(state["optimizer.steps"])
        for (module, name), parameter in self._trained.items():
            parameter.data.copy_(_tensor(state[f"{module}.{name}"]))
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(self._steps)),
                **{
                    kind: _tensor(state[f"optimizer.{module}.{name}.{kind}"]).to(parameter.device)
                    for kind in _MOMENTS
                },
            }


def _array(value: torch.Tensor) -> NDArray[np.float32]:
    return np.array(value.detach().cpu().numpy(), np.float32)


def _tensor(value: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(value))


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
