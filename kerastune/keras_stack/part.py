"""One host's part of a Keras stack: it makes the same calls as the first, and JAX splits the rows.

Every process is given the whole batch, and puts on its own devices what the mesh lays there: its rows, its
part of the weights. What the programs return is on all devices whole, so that the first process has it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kerastune.config import ModelSpec
from kerastune.decoding import Decoder, GenerationSpec
from kerastune.errors import ConfigError
from kerastune.keras_stack.model import KerasStack
from kerastune.models import ModelFiles
from kerastune.stack import Prefix

#: What changes a process' own variables alone.
_ALONE = frozenset({"add_lora", "load_adapter", "add_to_base", "remove_adapter", "start_training"})
_OWN = frozenset({"train_step", "prefill", "start_decoding", "decode"})
_AS_THEY_ARE = frozenset({"load_training_state", "adapter_gradients", "logits"})
_BEHIND_A_PREFIX = frozenset({"token_losses", "label_logits"})


class KerasPart:
    """A host's part of a stack; see `kerastune.group.Part`.

    Args:
        spec: The base model.
        files: Its files, as this host finds them.

    Raises:
        ConfigError: The mesh is none over all devices of all hosts.
        ModelError: The model cannot be loaded.
    """

    def __init__(self, spec: ModelSpec, files: ModelFiles) -> None:
        import jax

        devices = jax.device_count()
        if spec.grid is None or spec.grid.devices != devices:
            raise ConfigError(
                f"mesh: expected all {devices} devices of the {jax.process_count()} hosts, received "
                f"{spec.grid or 'none'}; say --mesh data={devices}, or model=N beside it"
            )
        self.stack = KerasStack(spec, files)
        self._prefixes: dict[int, Prefix] = {}
        self._decoders: dict[int, Decoder] = {}

    def do(self, call: str, values: Mapping[str, Any]) -> Any:
        """Make a call as all hosts make it; see `Part.do`."""
        if call in _OWN:
            return getattr(self, call)(**values)
        if call in _BEHIND_A_PREFIX:
            number = values["prefix"]
            values = {**values, "prefix": None if number is None else self._prefixes[number]}
        elif call not in _ALONE | _AS_THEY_ARE:
            raise ValueError(f"there is no call {call!r}")
        return getattr(self.stack, call)(**values)

    def reply(self, call: str, values: Mapping[str, Any]) -> None:
        """Make it elsewhere: the first process has what all have; see `Part.reply`."""
        self.do(call, values)

    def waits(self, call: str) -> bool:
        """In all that computes on the mesh; see `Part.waits`."""
        return call not in _ALONE

    def forget(self, numbers: Sequence[int]) -> None:
        """Let go of beginnings and of prompts; see `Part.forget`."""
        for number in numbers:
            self._prefixes.pop(number, None)
            self._decoders.pop(number, None)

    def train_step(self, **values: Any) -> dict[str, Any]:
        """Take a step."""
        loss = self.stack.train_step(**values)
        return {"loss": loss, "rewards": self.stack.step_rewards()}

    def prefill(self, token_ids: Sequence[int], number: int) -> int | None:
        """Compute a beginning, and keep it under a number; its length is what the first process needs."""
        prefix = self.stack.prefill(token_ids)
        if prefix is None:
            return None
        self._prefixes[number] = prefix
        return prefix.length

    def start_decoding(self, prompts: Sequence[Sequence[int]], spec: GenerationSpec, number: int) -> None:
        """Begin to continue prompts."""
        self._decoders[number] = self.stack.start_decoding(prompts, spec)

    def decode(self, tokens: Mapping[int, int], pad_id: int, number: int) -> Any:  # noqa: ARG002
        """Put a token behind rows."""
        return self._decoders[number].step(tokens)
