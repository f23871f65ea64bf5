"""One optimizer step in torch, equal to Keras' AdamW: decoupled decay, a global norm, one normalisation."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
        self._flat = [*_flattened(factors, spec.weight_decay), *_flattened(scales, 0.0)]
        self._optimizer = torch.optim.AdamW(
            [{"params": [flat.values], "weight_decay": flat.decay} for flat in self._flat],
            lr=spec.learning_rate,
            betas=(0.9, _BETA_2),
            fused=True,
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
        loss = self.accumulate(step, sum(batch.weight for batch in step), losses_of)
        self.apply(learning_rate)
        return loss

    def accumulate(
        self,
        step: Sequence[Batch],
        weight: float,
        losses_of: Callable[[Batch], torch.Tensor],
        rank: int = 0,
    ) -> float:
        """Compute a step's gradients, and return its loss.

        Args:
            step: The batches to accumulate, or one process' rows of them.
            weight: What the losses' sum is divided by: the weight of the whole step.
            losses_of: Computes a batch's weighted token losses.
            rank: The process, which with the seed and the step decides the dropout.
        """
        total = 0.0
        self._optimizer.zero_grad(set_to_none=False)  # the parameters' gradients are views of these
        with torch.random.fork_rng():  # dropout draws from the run's seed, and from nothing else
            torch.manual_seed(_step_seed(self._spec.seed, self._steps, rank))
            for dropout in self._dropouts:
                dropout.train()
            for batch in step:
                loss = losses_of(batch).sum() / weight
                loss.backward()
                total += float(loss.detach())
            for dropout in self._dropouts:
                dropout.eval()
        return total

    @property
    def gradients(self) -> list[torch.Tensor]:
        """The gradients, end to end, to be changed in place."""
        return [flat.values.grad for flat in self._flat]

    def apply(self, learning_rate: float) -> None:
        """Clip the gradients and take the step.

        Args:
            learning_rate: The step's learning rate.
        """
        if self._spec.clip_norm:
            torch.nn.utils.clip_grad_norm_([flat.values for flat in self._flat], self._spec.clip_norm)
        # torch corrects the second moment before it adds epsilon, Keras after; this makes them one.
        corrected = math.sqrt(1.0 - _BETA_2 ** (self._steps + 1))
        for group in self._optimizer.param_groups:
            group["lr"], group["eps"] = learning_rate, ADAM_EPSILON / corrected
        self._optimizer.step()
        self._steps += 1

    def state(self) -> dict[str, NDArray[Any]]:
        """The parameters, the optimizer's moments and the number of steps."""
        found = {f"{module}.{name}": _array(value) for (module, name), value in self._trained.items()}
        for kind in _MOMENTS:
            moments = self._moments(kind)
            for (module, name), parameter in self._trained.items():
                found[f"optimizer.{module}.{name}.{kind}"] = _array(moments[parameter])
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
        for flat in self._flat:
            self._optimizer.state[flat.values] = {
                "step": torch.tensor(float(self._steps), device=flat.values.device),
                **{kind: torch.zeros_like(flat.values) for kind in _MOMENTS},
            }
        for (module, name), parameter in self._trained.items():
            parameter.data.copy_(_tensor(state[f"{module}.{name}"]))
        for kind in _MOMENTS:
            moments = self._moments(kind)
            for (module, name), parameter in self._trained.items():
                moments[parameter].copy_(_tensor(state[f"optimizer.{module}.{name}.{kind}"]))

    def _moments(self, kind: str) -> dict[torch.nn.Parameter, torch.Tensor]:
        """Each parameter's part of a moment."""
        found = {}
        for flat in self._flat:
            moment = self._optimizer.state.get(flat.values, {}).get(kind)
            found.update(flat.parts(torch.zeros_like(flat.values) if moment is None else moment))
        return found


@dataclass(frozen=True, eq=False)
class _Flat:
    """Parameters laid end to end, so that the optimizer takes one of its dozen operations for all of them.

    Args:
        values: `[numbers] float32`; the parameters are views of it, and their gradients of its gradient.
        parameters: The parameters, in order.
        decay: Their weight decay.
    """

    values: torch.nn.Parameter
    parameters: tuple[torch.nn.Parameter, ...]
    decay: float

    def parts(self, values: torch.Tensor) -> dict[torch.nn.Parameter, torch.Tensor]:
        """Cut numbers that lie like `values` into the parameters' shapes, without copying them."""
        pieces = values.split([parameter.numel() for parameter in self.parameters])
        return {
            parameter: piece.view(parameter.shape)
            for parameter, piece in zip(self.parameters, pieces, strict=True)
        }


def _flattened(parameters: Sequence[torch.nn.Parameter], decay: float) -> list[_Flat]:
    """Lay parameters end to end, those of each device apart."""
    found = []
    for device in dict.fromkeys(parameter.device for parameter in parameters):
        mine = tuple(parameter for parameter in parameters if parameter.device == device)
        values = torch.nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in mine]))
        values.grad = torch.zeros_like(values)
        flat = _Flat(values, mine, decay)
        for parameter, part in flat.parts(values.detach()).items():
            parameter.data = part
        for parameter, part in flat.parts(values.grad).items():
            parameter.grad = part
        found.append(flat)
    return found


def _array(value: torch.Tensor) -> NDArray[np.float32]:
    return np.array(value.detach().cpu().numpy(), np.float32)


def _tensor(value: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(value))


def _step_seed(seed: int, step: int, rank: int) -> int:
    """The first of several processes draws what one alone does."""
    return int(np.random.SeedSequence([seed, step, *([rank] if rank else [])]).generate_state(1)[0])
