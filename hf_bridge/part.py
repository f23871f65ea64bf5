"""One process' part of a stack that several hold: its rows of what is asked, and its place in the sums.

The base is frozen and the adapter small, so that every process has both whole: it takes its rows' gradients,
they are summed, and each takes the same step. Gradients are those of the global batch, divided by the global
weight, and not a mean of the processes' means: the loss and the step are one process'.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hf_bridge.loading import load_model
from hf_bridge.model import HfStack
from hf_bridge.processes import Processes
from kerastune.batching import Batch
from kerastune.config import ModelSpec
from kerastune.decoding import Decoder, GenerationSpec
from kerastune.models import ModelFiles
from kerastune.sharing import share
from kerastune.stack import Prefix

#: What every process does alike, to the same effect.
ALIKE = frozenset(
    {
        "add_lora",
        "load_adapter",
        "add_to_base",
        "remove_adapter",
        "start_training",
        "load_training_state",
        "adapter_gradients",
    }
)
_SHARED = frozenset(
    {"train_step", "prefill", "token_losses", "logits", "label_logits", "start_decoding", "decode"}
)


class HfPart:
    """A process' part of a stack.

    Args:
        spec: The base model.
        files: Its files.
        group: All processes.

    Raises:
        FailedElsewhereError: Another process could not load it.
        ModelError: The model cannot be loaded.
    """

    def __init__(self, spec: ModelSpec, files: ModelFiles, group: Processes) -> None:
        self._group, self._sharded = group, spec.shard is not None
        with group.together():
            loaded = load_model(files, spec.dtype, spec.quantized, alone=False, shard=self._sharded)
        if self._sharded:
            from hf_bridge.fsdp import shard_layers

            shard_layers(loaded.model)
        self.stack = HfStack(spec, files, loaded)
        self._prefixes: dict[int, Prefix] = {}
        self._decoders: dict[int, tuple[Decoder, int]] = {}

    def do(self, call: str, values: Mapping[str, Any]) -> Any:
        """Do this process' part of a call, and return what it comes to of its rows; see `Part.do`."""
        if call in ALIKE:
            return getattr(self.stack, call)(**values)
        if call in _SHARED:
            return getattr(self, call)(**values)
        raise ValueError(f"there is no call {call!r}")

    def reply(self, call: str, values: Mapping[str, Any]) -> Any:
        """Do it elsewhere, and return what is of this process alone; see `Part.reply`."""
        found = self.do(call, values)
        return None if call in ALIKE else found

    def waits(self, call: str) -> bool:  # noqa: ARG002
        """In every call of a base in pieces: the processes wait for each other's inside of a layer."""
        return self._sharded

    def forget(self, numbers: Sequence[int]) -> None:
        """Let go of beginnings and of prompts that nobody goes on from; see `Part.forget`."""
        for number in numbers:
            self._prefixes.pop(number, None)
            self._decoders.pop(number, None)

    def train_step(self, step: Sequence[Batch], learning_rate: float) -> dict[str, Any]:
        """Take one step of all processes together."""
        weight = sum(batch.weight for batch in step)
        loss, error = 0.0, None
        try:
            loss = self.stack.accumulate([self._share(batch) for batch in step], weight, self._group.rank)
        except Exception as caught:
            if self._sharded:  # the others are waiting inside of a layer, not here
                raise
            error = caught
        loss = self._group.total(error, loss)
        self._group.add_up(self.stack.gradients())
        self.stack.apply(learning_rate)
        return {"loss": loss, "rewards": self.stack.step_rewards()}

    def prefill(self, token_ids: Sequence[int], number: int) -> int | None:
        """Compute a beginning, and keep it here under a number; its length is what the others need of it."""
        prefix = self.stack.prefill(token_ids)
        if prefix is None:
            return None
        self._prefixes[number] = prefix
        return prefix.length

    def token_losses(self, batch: Batch, prefix: int | None) -> Any:
        """Compute this process' rows."""
        return self.stack.token_losses(self._share(batch), self._kept(prefix))

    def logits(self, batch: Batch) -> Any:
        """Compute this process' rows."""
        return self.stack.logits(self._share(batch))

    def label_logits(self, batch: Batch, label_ids: Sequence[int], prefix: int | None) -> Any:
        """Compute this process' rows."""
        return self.stack.label_logits(self._share(batch), label_ids, self._kept(prefix))

    def start_decoding(self, prompts: Sequence[Sequence[int]], spec: GenerationSpec, number: int) -> None:
        """Begin with this process' prompts; one that has none takes part with another's."""
        mine = prompts[self._group.rank :: self._group.size]
        self._decoders[number] = self.stack.start_decoding(mine or prompts[:1], spec), len(mine)

    def decode(self, tokens: Mapping[int, int], pad_id: int, number: int) -> dict[int, Any]:
        """Put tokens behind this process' prompts; row -> logits, by the numbers of the whole."""
        decoder, prompts = self._decoders[number]
        rank, ranks = self._group.rank, self._group.size
        mine = {row // ranks: token for row, token in tokens.items() if row % ranks == rank}
        if tokens and not mine:  # none at all would mean the first step
            mine = {0: pad_id}
        found = decoder.step(mine)
        return {row * ranks + rank: logits for row, logits in found.items() if row < prompts}

    def _kept(self, prefix: int | None) -> Prefix | None:
        return None if prefix is None else self._prefixes[prefix]

    def _share(self, batch: Batch) -> Batch:
        return share(batch, self._group.rank, self._group.size)
