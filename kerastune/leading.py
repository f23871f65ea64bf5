"""The stack of the first of several processes: it makes each call in all of them, each with its own rows."""

import itertools
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastune.batching import Batch
from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.decoding import GenerationSpec
from kerastune.errors import ConfigError
from kerastune.group import FailedElsewhereError, Part, joined, rebuilt
from kerastune.lora import Factors
from kerastune.models import ModelFiles
from kerastune.preference.loss import Rewards
from kerastune.sharing import in_order, sides_of
from kerastune.stack import Prefix, Stack, StackInfo

_numbers = itertools.count()
_dropped: set[int] = set()


class LeadingStack:
    """A causal language model that several processes hold; see `Stack`.

    Args:
        spec: The model, and how the processes hold it.
        files: Its files.

    Raises:
        ConfigError: The other processes have not been joined, or the options do not go together.
        ModelError: The model cannot be loaded, in this process or in another.
    """

    def __init__(self, spec: ModelSpec, files: ModelFiles) -> None:
        self.files, self._spec = files, spec
        self._group = joined()
        self._number = next(_numbers)
        self._part: Part | None = None
        self._rewards: Rewards | None = None
        self._forgotten: set[int] = set()
        self._call("load", spec=spec, name=files.name, fingerprint=files.fingerprint)
        # The others are told with the next message: an object can end in the middle of an exchange.
        weakref.finalize(self, _dropped.add, self._number)

    @property
    def info(self) -> StackInfo:
        """What runs, and in how many processes."""
        info = self._own.info
        sharded = "" if self._spec.shard is None else f" ({self._spec.shard})"
        return replace(info, device=f"{self._group.size} x {info.device}{sharded}")

    def add_lora(self, lora: LoraSpec, seed: int) -> None:
        """Put a fresh adapter on the base; see `Stack.add_lora`."""
        self._call("add_lora", lora=lora, seed=seed)

    def load_adapter(self, factors: Mapping[str, Factors]) -> None:
        """Put a finished adapter on the base; see `Stack.load_adapter`."""
        self._call("load_adapter", factors=factors)

    def add_to_base(self, factors: Mapping[str, Factors]) -> None:
        """Make an adapter part of the base; see `Stack.add_to_base`."""
        self._call("add_to_base", factors=factors)

    def remove_adapter(self) -> None:
        """Leave the bare base; see `Stack.remove_adapter`."""
        self._call("remove_adapter")

    def save_merged(self, folder: Path, dtype: str) -> tuple[str, ...]:  # noqa: ARG002 - as in the protocol
        """Refuse: this is one process' work; see `Stack.save_merged`."""
        raise ConfigError(
            f"{folder}: a model is merged by one process, received {self._group.size}; start it alone"
        )

    def start_training(self, train: TrainSpec) -> None:
        """Make a fresh optimizer; see `Stack.start_training`."""
        self._call("start_training", train=train)

    def train_step(self, step: Sequence[Batch], learning_rate: float) -> float:
        """Take one optimizer step; see `Stack.train_step`."""
        found = self._call("train_step", step=tuple(step), learning_rate=learning_rate)
        rewards = [one["rewards"] for one in found if one["rewards"] is not None]
        self._rewards = Rewards.mean(rewards) if rewards else None
        return float(found[0]["loss"])

    def step_rewards(self) -> Rewards | None:
        """Return the last step's rewards; see `Stack.step_rewards`."""
        return self._rewards

    def prefill(self, token_ids: Sequence[int]) -> Prefix | None:
        """Compute a shared beginning in every process; see `Stack.prefill`."""
        number = next(_numbers)
        found = self._call("prefill", token_ids=tuple(token_ids), number=number)
        if not found:
            return None
        prefix = Prefix(found[0], number)
        weakref.finalize(prefix, self._forgotten.add, number)
        return prefix

    def token_losses(self, batch: Batch, prefix: Prefix | None = None) -> NDArray[np.float32]:
        """Compute each answer token's loss; see `Stack.token_losses`."""
        return self._rows("token_losses", batch, prefix=prefix and prefix.state)

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Compute the logits after every token; see `Stack.logits`."""
        return self._rows("logits", batch)

    def label_logits(
        self, batch: Batch, label_ids: Sequence[int], prefix: Prefix | None = None
    ) -> NDArray[np.float32]:
        """Compute a few tokens' logits after each row; see `Stack.label_logits`."""
        return self._rows("label_logits", batch, label_ids=tuple(label_ids), prefix=prefix and prefix.state)

    def start_decoding(self, prompts: Sequence[Sequence[int]], spec: GenerationSpec) -> "_LeadingDecoder":
        """Begin to continue prompts; see `Stack.start_decoding`."""
        number = next(_numbers)
        self._call("start_decoding", prompts=tuple(map(tuple, prompts)), spec=spec, number=number)
        decoder = _LeadingDecoder(self._call, spec.pad_id, number)
        weakref.finalize(decoder, self._forgotten.add, number)
        return decoder

    def get_adapter(self) -> dict[str, Factors]:
        """Return the adapter, which is the same in every process; see `Stack.get_adapter`."""
        return self._own.get_adapter()

    def adapter_gradients(self, batch: Batch) -> dict[str, Factors]:
        """Compute the gradients of the mean loss; see `Stack.adapter_gradients`."""
        found: dict[str, Factors] = self._call("adapter_gradients", batch=batch)[0]
        return found

    def training_state(self) -> dict[str, NDArray[Any]]:
        """Return what training changes, which is the same in every process; see `Stack.training_state`."""
        return self._own.training_state()

    def load_training_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state; see `Stack.load_training_state`."""
        self._call("load_training_state", state=state)

    @property
    def _own(self) -> Stack:
        assert self._part is not None
        stack: Stack = self._part.stack
        return stack

    def _rows(self, call: str, batch: Batch, **values: Any) -> NDArray[np.float32]:
        return in_order(self._call(call, batch=batch, **values), len(batch.token_ids), sides_of(batch))

    def _call(self, call: str, **values: Any) -> list[Any]:
        """Make a call in every process.

        Returns:
            What the processes return that return anything, in the order of their ranks.
        """
        group = self._group
        with group.exchange():
            dropped, forgotten = _taken(_dropped), _taken(self._forgotten)
            message = {"stack": self._number, "call": call, "values": values}
            group.send(message | {"dropped": dropped, "forgotten": forgotten})
            error: Exception | None = None
            mine = None
            try:
                if self._part is None:
                    with group.together():  # all have found the same model
                        pass
                    self._part = group.part(self._spec, self.files)
                else:
                    self._part.forget(forgotten)
                    mine = self._part.do(call, values)
            except Exception as caught:
                if self._part is not None and self._part.waits(call):  # the others cannot reply; see `follow`
                    raise group.cause(caught) from caught
                error = caught
            replies = group.replies()
        failed = [rebuilt(reply) for reply in replies if "error" in reply]
        errors = [one for one in (error, *failed) if one is not None]
        # The cause first, and not the processes that stopped because of it.
        for one in sorted(errors, key=lambda one: isinstance(one, FailedElsewhereError)):
            raise one
        all_found = (mine, *(reply["value"] for reply in replies))
        return [value for value in all_found if value is not None]


class _LeadingDecoder:
    """Prompts being continued by several processes; see `Decoder`."""

    def __init__(self, call: Callable[..., list[Any]], pad_id: int, number: int) -> None:
        self._call, self._pad_id, self._number = call, pad_id, number

    def step(self, tokens: Mapping[int, int]) -> Mapping[int, NDArray[np.float32]]:
        """Append a token to rows; see `Decoder.step`."""
        parts = self._call("decode", tokens=tokens, pad_id=self._pad_id, number=self._number)
        return dict(sorted((row, logits) for part in parts for row, logits in part.items()))


def _taken(numbers: set[int]) -> list[int]:
    """Take the numbers out of a set, but not those that are added meanwhile."""
    found = list(numbers)
    numbers.difference_update(found)
    return found
