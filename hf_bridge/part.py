"""One process' part of a stack that several hold: it computes its share of the rows.

This is data parallelism of an adapter. The base is frozen and the adapter small, so that every process has
both whole (unless the base is sharded): it computes its rows' gradients, the gradients are summed over all
processes, and each takes the same step. Every process divides by the answer weights of the whole step, not by
those of its own rows, so that loss and step are the same as those of a single process.
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

#: Calls that every process makes with the same arguments and the same effect.
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
#: Calls whose rows are shared out over the processes: methods of `Part`.
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
        FailedElsewhereError: Another process could not load the model.
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
        """Do this process' part of a call; see `Part.do`."""
        if call in ALIKE:
            return getattr(self.stack, call)(**values)
        if call in _SHARED:
            return getattr(self, call)(**values)
        raise ValueError(f"there is no call {call!r}")

    def reply(self, call: str, values: Mapping[str, Any]) -> Any:
        """Do a call, and return its result unless every process has the same; see `Part.reply`."""
        found = self.do(call, values)
        return None if call in ALIKE else found

    def waits(self, call: str) -> bool:  # noqa: ARG002
        """In every call of a sharded base, whose layers are gathered from all processes; see `Part.waits`."""
        return self._sharded

    def forget(self, numbers: Sequence[int]) -> None:
        """Free the shared prefixes and the decoders of these numbers; see `Part.forget`."""
        for number in numbers:
            self._prefixes.pop(number, None)
            self._decoders.pop(number, None)

    def train_step(self, step: Sequence[Batch], learning_rate: float) -> dict[str, Any]:
        """Take one optimizer step together with all processes.

        Returns:
            `loss`, the loss of the whole step, and `rewards`, this process' own.
        """
        weight = sum(batch.weight for batch in step)
        loss, error = 0.0, None
        try:
            loss = self.stack.accumulate([self._share(batch) for batch in step], weight, self._group.rank)
        except Exception as caught:
            if self._sharded:  # the others wait inside a layer's collective, and would never reach `total`
                raise
            error = caught
        loss = self._group.total(error, loss)
        self._group.all_reduce(self.stack.gradients())
        self.stack.apply(learning_rate)
        return {"loss": loss, "rewards": self.stack.step_rewards()}

    def prefill(self, token_ids: Sequence[int], number: int) -> int | None:
        """Compute a shared prefix and keep it here under a number.

        Returns:
            The prefix' length in tokens; None where the stack computes none.
        """
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
        """Start on this process' prompts, every `size`-th of them.

        With fewer prompts than processes, one that has none decodes the first prompt, and its output is not
        used: a sharded model needs all processes in every forward pass.
        """
        mine = prompts[self._group.rank :: self._group.size]
        self._decoders[number] = self.stack.start_decoding(mine or prompts[:1], spec), len(mine)

    def decode(self, tokens: Mapping[int, int], pad_id: int, number: int) -> dict[int, Any]:
        """Append tokens to this process' prompts.

        Args:
            tokens: Row -> token, for rows of all processes.
            pad_id: The token for a process that has no prompt of its own.
            number: The decoder's number.

        Returns:
            Row -> logits, `[vocabulary]`, for this process' rows, by their numbers among all rows.
        """
        decoder, prompts = self._decoders[number]
        rank, ranks = self._group.rank, self._group.size
        mine = {row // ranks: token for row, token in tokens.items() if row % ranks == rank}
        if tokens and not mine:  # an empty mapping would mean the first step
            mine = {0: pad_id}
        found = decoder.step(mine)
        return {row * ranks + rank: logits for row, logits in found.items() if row < prompts}

    def _kept(self, prefix: int | None) -> Prefix | None:
        return None if prefix is None else self._prefixes[prefix]

    def _share(self, batch: Batch) -> Batch:
        return share(batch, self._group.rank, self._group.size)
