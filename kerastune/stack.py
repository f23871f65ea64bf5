"""The stack: arrays in, numbers out. All that Keras and Hugging Face have to do, and nothing about text.

Reading, templates, encoding, the training loop, scoring and the adapter's files are shared code above and
below this line, so a third stack is these few methods.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kerastune.batching import Batch
from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.decoding import Decoder, GenerationSpec
from kerastune.devices import Device, this_machine
from kerastune.errors import ConfigError
from kerastune.launching import find_launch
from kerastune.lora import Factors
from kerastune.models import ModelFiles
from kerastune.models.cache import cache_root
from kerastune.preference.loss import Rewards


@dataclass(frozen=True)
class StackInfo:
    """What runs, for the plan that is printed and the manifest that is kept.

    Args:
        stack: `"keras"` or `"hf"`.
        backend: What computes: `"jax"`, `"tensorflow"` or `"torch"`.
        device: The hardware, such as `"cpu"`.
        dtype: The base's dtype, after what its linear layers are quantised to, as in `"nf4, bfloat16"`.
        parameters: How many the base has.
        trainable: How many of the adapter are trained.
        dtype_reason: Why the dtype is this one.
        placement: Over which devices it is laid out, and how much of it; empty for one device.
    """

    stack: str
    backend: str
    device: str
    dtype: str
    parameters: int
    trainable: int
    dtype_reason: str = ""
    placement: str = ""


def quantised_dtype(quantize: str | None, dtype: str) -> str:
    """Say a dtype as `StackInfo` has it.

    Example:
        >>> quantised_dtype("nf4", "bfloat16")
        'nf4, bfloat16'
    """
    return dtype if quantize is None else f"{quantize}, {dtype}"


@dataclass(frozen=True)
class Prefix:
    """What a stack has computed of the tokens with which prompts begin; for that stack alone.

    It is of the model as that was: putting on an adapter or training one makes it stale.

    Args:
        length: How many tokens.
        state: Their keys and values, layer by layer, in the stack's own form.
    """

    length: int
    state: Any


class Stack(Protocol):
    """A base model with an adapter. One is made by `load_stack`."""

    files: ModelFiles

    @property
    def info(self) -> StackInfo:
        """What runs."""

    def add_lora(self, lora: LoraSpec, seed: int) -> None:
        """Put a fresh adapter on the frozen base, in the place of any that is there.

        Raises:
            ConfigError: A target matches no layer; the near name is suggested.
        """

    def load_adapter(self, factors: Mapping[str, Factors]) -> None:
        """Put a finished adapter on the frozen base, in the place of any that is there.

        Args:
            factors: Hugging Face's module path -> the module's update, each of its own rank and scale.

        Raises:
            AdapterError: The base lacks a module, a layer of a kind that is adapted elsewhere is missing, or
                a shape does not fit.
        """

    def add_to_base(self, factors: Mapping[str, Factors]) -> None:
        """Make a finished adapter part of the frozen base, in the place of any that was made so before.

        Other adapters go on top of it from then on, and are taken off without it. It stays in float32
        beside the weights, which would round it to their dtype.

        Raises:
            AdapterError: As `load_adapter` does, and where it has DoRA's magnitudes.
        """

    def remove_adapter(self) -> None:
        """Take any adapter off, which leaves the base."""

    def save_merged(self, folder: Path, dtype: str) -> tuple[str, ...]:
        """Add the adapter to the base for good, in float32, and save the whole in the stack's own layout.

        Args:
            folder: An empty folder.
            dtype: Of the weights; `"auto"` keeps the base's own.

        Returns:
            What could not be saved along, if anything: a sentence each.
        """

    def start_training(self, train: TrainSpec) -> None:
        """Make a fresh optimizer for the adapter."""

    def train_step(self, step: Sequence[Batch], learning_rate: float) -> float:
        """Take one optimizer step and return its loss.

        Args:
            step: The batches to accumulate, of one shape.
            learning_rate: The step's learning rate.

        Returns:
            Cross-entropy summed over the step's answer tokens, divided by the step's answer weights; where
            the rows are pairs, their mean loss.
        """

    def step_rewards(self) -> Rewards | None:
        """Return the rewards of the last step's pairs, as they were before it; None of other rows."""

    def prefill(self, token_ids: Sequence[int]) -> Prefix | None:
        """Compute the keys and values of tokens with which prompts begin, to be used for many batches.

        Args:
            token_ids: The tokens, BOS among them.

        Returns:
            What `token_losses` and `label_logits` take; None where the stack cannot go on from the middle
            of a text in this architecture, so that prompts are to be given whole.
        """

    def token_losses(self, batch: Batch, prefix: Prefix | None = None) -> NDArray[np.float32]:
        """Return the weighted cross-entropy of each answer token, `[B, K]`, without dropout.

        Args:
            batch: The rows; only what comes after the prefix.
            prefix: What `prefill` returned of the tokens before.
        """

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Return the logits after every token, `[B, L, vocabulary]`; not those at padding."""

    def label_logits(
        self, batch: Batch, label_ids: Sequence[int], prefix: Prefix | None = None
    ) -> NDArray[np.float32]:
        """Return the logits of these tokens after each row's last token, `[B, labels]`.

        Args:
            batch: The rows; only what comes after the prefix.
            label_ids: The tokens.
            prefix: What `prefill` returned of the tokens before.
        """

    def start_decoding(self, prompts: Sequence[Sequence[int]], spec: GenerationSpec) -> Decoder:
        """Begin to continue prompts of any lengths in one batch; `kerastune.decoding` chooses the tokens.

        Args:
            prompts: The prompts' ids.
            spec: The most tokens that will be written, and the token put at padding.
        """

    def get_adapter(self) -> dict[str, Factors]:
        """Return the adapter: Hugging Face's module path -> the module's update."""

    def adapter_gradients(self, batch: Batch) -> dict[str, Factors]:
        """Return the gradients of the batch's mean loss, in the adapter's own form, without dropout.

        Raises:
            ConfigError: The adapter is in Keras' native layout, whose gradients have no such form.
        """

    def training_state(self) -> dict[str, NDArray[Any]]:
        """Return the adapter's and the optimizer's variables, to go on from later."""

    def load_training_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `training_state` returned."""


def load_stack(spec: ModelSpec, files: ModelFiles) -> Stack:
    """Load the base model on the stack that the spec names, in every process of a launch.

    Raises:
        ConfigError: There is no such stack, or it does not work in several processes.
        ModelError: The model cannot be loaded.
        MissingExtraError: The stack is not installed.
    """
    launch = find_launch()
    if launch is not None:
        if launch.stack != spec.stack:
            raise _launched_for_another(spec.stack, launch.size)
        from kerastune.leading import LeadingStack

        return LeadingStack(spec, files)
    if spec.stack == "keras":
        from kerastune.keras_stack import KerasStack

        return KerasStack(spec, files)
    if spec.stack == "hf":
        from hf_bridge import HfStack

        return HfStack(spec, files)
    raise ConfigError(f"stack: expected 'keras' or 'hf', received {spec.stack!r}")


def _launched_for_another(stack: str, processes: int) -> ConfigError:
    """Say that processes were started in the other stack's way."""
    if stack == "keras":
        return ConfigError(
            f"stack 'keras': expected one process a host, which uses all its devices, received {processes} "
            "from torchrun; leave torchrun out and say --mesh, or use --stack hf"
        )
    return ConfigError(
        f"stack {stack!r}: expected one process or torchrun, received {processes} by Keras' variables; unset "
        "KERAS_DISTRIBUTION_NUM_PROCESSES and its like, or use --stack keras"
    )


def find_device(spec: ModelSpec) -> Device:
    """What the stack would compute on here, and its memory; no model is loaded.

    Raises:
        MissingExtraError: The stack is not installed.
    """
    backend = spec.backend or ("torch" if spec.stack == "hf" else "jax")
    if spec.stack == "hf":
        from hf_bridge.loading import computing_device
        from kerastune.precision import torch_memory

        hardware = computing_device()
        memory = torch_memory()
    else:
        from kerastune.keras_stack.backend import accelerator_memory, device, import_keras

        import_keras(backend, cache_root())
        hardware = device(backend)
        memory = accelerator_memory(backend) if hardware.kind != "cpu" else None
    kind, fast_bfloat16 = hardware.kind, hardware.fast_bfloat16
    if kind == "cpu" or memory is None:  # what does not say is taken to have as much as the machine
        return replace(this_machine(), kind=kind, fast_bfloat16=fast_bfloat16)
    return Device(f"this machine's {kind.upper()}", kind, memory, fast_bfloat16)


def load_own_tokenizer(spec: ModelSpec, files: ModelFiles) -> Callable[[Sequence[str]], list[list[int]]]:
    """Load the tokenizer of a stack's own library, to hold ours against: texts -> ids, without BOS or EOS.

    Raises:
        ModelError: The library has none for these files.
        MissingExtraError: The stack is not installed.
    """
    if spec.stack == "hf":
        from hf_bridge.tokens import OwnTokenizer as HfTokenizer

        return HfTokenizer(files)
    from kerastune.keras_stack.tokens import OwnTokenizer as KerasTokenizer

    return KerasTokenizer(files, spec.backend or "jax")
