"""The Hugging Face stack: a model of transformers with PEFT's LoRA, behind the `Stack` protocol.

The training loop is kerastune's own, the same for both stacks: one order, one schedule, one normalisation,
one way to resume. What is here is one optimizer step.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hf_bridge.loading import Loaded, load_model
from kerastune.batching import Batch
from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.decoding import GenerationSpec
from kerastune.errors import AdapterError
from kerastune.lora import Factors
from kerastune.models import ModelFiles
from kerastune.preference.loss import Rewards
from kerastune.preference.pairs import PairArrays
from kerastune.stack import Prefix, StackInfo, quantised_dtype

if TYPE_CHECKING:
    from hf_bridge.generation import CachedDecoder
    from hf_bridge.training import Trainer

#: oneDNN makes kernels for each number of tokens and keeps them: with lengths in steps of 4, two thousand
#: reviews take half a gigabyte less, and 7 % less time.
_STEP = 4


class HfStack:
    """A causal language model of transformers, loaded from disk.

    Args:
        spec: The dtype.
        files: The base model, in Hugging Face layout.
        loaded: The model, where it is loaded already.

    Raises:
        MissingExtraError: torch, transformers or peft is not installed.
        ModelError: The model cannot be loaded.
    """

    def __init__(self, spec: ModelSpec, files: ModelFiles, loaded: Loaded | None = None) -> None:
        self.files, self._quantize = files, spec.quantized
        self._model, self._device, self._decision = loaded or load_model(files, spec.dtype, spec.quantized)
        # Only what a GenerationSpec says: a base's own settings would change how its answers are drawn.
        import torch
        from transformers import GenerationConfig

        from hf_bridge.attention import CpuAttention
        from hf_bridge.head import Head

        self._torch = torch
        self._model.generation_config = GenerationConfig()
        self._head = Head(self._model)
        self._attention = CpuAttention(self._model)
        self._parameters = sum(parameter.numel() for parameter in self._model.parameters())
        self._adapted: Any = None
        self._trainer: Trainer | None = None
        self._beneath: Any = None
        self._rewards: list[Rewards] = []

    @property
    def info(self) -> StackInfo:
        """What runs."""
        trainable = sum(parameter.numel() for parameter in self._trained().values())
        dtype, reason, _ = self._decision
        dtype = quantised_dtype(self._quantize, dtype)
        return StackInfo("hf", "torch", self._device, dtype, self._parameters, trainable, reason)

    def add_lora(self, lora: LoraSpec, seed: int) -> None:
        """Put a fresh adapter on the base; see `Stack.add_lora`."""
        from hf_bridge.lora import add_lora

        self.remove_adapter()
        self._adapted = add_lora(self._beneath or self._model, lora, seed)

    def load_adapter(self, factors: Mapping[str, Factors]) -> None:
        """Put a finished adapter on the base; see `Stack.load_adapter`."""
        from hf_bridge.lora import load_adapter

        self.remove_adapter()
        self._adapted = load_adapter(self._beneath or self._model, factors)

    def add_to_base(self, factors: Mapping[str, Factors]) -> None:
        """Make an adapter part of the base; see `Stack.add_to_base`."""
        from hf_bridge.lora import put_beneath

        self.remove_adapter()
        if self._beneath is not None:
            self._beneath.unload()
        self._beneath = put_beneath(self._model, factors)

    def save_merged(self, folder: Path, dtype: str) -> tuple[str, ...]:
        """Add the adapter to the base for good, and save it as transformers does; see `Stack.save_merged`."""
        from hf_bridge.merge import merged_weights, save_folder

        weights = merged_weights(self._adapted or self._beneath)
        self._adapted = self._trainer = self._beneath = None
        save_folder(weights, self.files, folder, dtype)
        return ()

    def start_training(self, train: TrainSpec) -> None:
        """Make a fresh optimizer; see `Stack.start_training`."""
        from hf_bridge.training import Trainer

        self._trainer = Trainer(self._trained(), self._dropouts(), train)

    def train_step(self, step: Sequence[Batch], learning_rate: float) -> float:
        """Take one optimizer step; see `Stack.train_step`."""
        self._rewards = []
        return self._require_trainer().step(step, learning_rate, self._step_losses)

    def accumulate(self, step: Sequence[Batch], weight: float, rank: int) -> float:
        """Compute one process' gradients of a step, and its part of the loss; see `Trainer.accumulate`."""
        self._rewards = []
        return self._require_trainer().accumulate(step, weight, self._step_losses, rank)

    def gradients(self) -> list[Any]:
        """The last step's gradients, to be added up in place."""
        return self._require_trainer().gradients

    def apply(self, learning_rate: float) -> None:
        """Take the step whose gradients have been added up."""
        self._require_trainer().apply(learning_rate)

    def step_rewards(self) -> Rewards | None:
        """Return the last step's rewards; see `Stack.step_rewards`."""
        return Rewards.mean(self._rewards) if self._rewards else None

    def prefill(self, token_ids: Sequence[int]) -> Prefix | None:
        """Compute the keys and values of a shared beginning; see `Stack.prefill`."""
        from hf_bridge.prefix import prefill

        return prefill(self._model, token_ids)

    def token_losses(self, batch: Batch, prefix: Prefix | None = None) -> NDArray[np.float32]:
        """Compute each answer token's loss; see `Stack.token_losses`."""
        losses = np.zeros_like(batch.answer_weights)
        with self._torch.no_grad():
            losses[batch.answer_weights > 0] = self._losses(batch, prefix).cpu().numpy()
        return losses

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Compute the logits after every token; see `Stack.logits`."""
        with self._torch.no_grad():
            hidden = self._hidden(batch)
            logits = self._head(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        missing = batch.token_ids.shape[1] - logits.shape[1]
        return np.pad(logits.cpu().numpy(), ((0, 0), (0, missing), (0, 0)))

    def label_logits(
        self, batch: Batch, label_ids: Sequence[int], prefix: Prefix | None = None
    ) -> NDArray[np.float32]:
        """Compute a few tokens' logits after each row; see `Stack.label_logits`."""
        last = batch.padding_mask.sum(axis=1) - 1
        with self._torch.no_grad():
            final = self._hidden_at(batch, np.arange(len(last)), last, prefix)
            return np.asarray(self._head(final, label_ids).cpu().numpy())

    def start_decoding(self, prompts: Sequence[Sequence[int]], spec: GenerationSpec) -> "CachedDecoder":
        """Begin to continue prompts; see `Stack.start_decoding`."""
        from hf_bridge.generation import CachedDecoder

        return CachedDecoder(self._model, prompts, spec)

    def get_adapter(self) -> dict[str, Factors]:
        """Return the adapter; see `Stack.get_adapter`."""
        from hf_bridge.lora import factors_of, parameters_of

        return {name: factors_of(module, parameters_of(module)) for name, module in self._layers().items()}

    def adapter_gradients(self, batch: Batch) -> dict[str, Factors]:
        """Compute the gradients of the mean loss; see `Stack.adapter_gradients`."""
        from hf_bridge.lora import factors_of

        trained = self._trained()
        loss = self._step_losses(batch).sum() / batch.weight
        found = dict(zip(trained, self._torch.autograd.grad(loss, list(trained.values())), strict=True))
        return {
            name: factors_of(module, {key: found[name, key] for other, key in found if other == name})
            for name, module in self._layers().items()
        }

    def training_state(self) -> dict[str, NDArray[Any]]:
        """Return what training changes; see `Stack.training_state`."""
        return self._require_trainer().state()

    def load_training_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state; see `Stack.load_training_state`."""
        self._require_trainer().load_state(state)

    def _hidden(self, batch: Batch, prefix: Prefix | None = None) -> Any:
        """Run the decoder as far as the longest row goes, in steps of `_STEP`; `[B, longest, width]`."""
        longest = int(batch.padding_mask.any(axis=0).sum())
        longest = min(-(-longest // _STEP) * _STEP, batch.token_ids.shape[1])
        device, torch = self._model.device, self._torch
        mask, past = batch.padding_mask[:, :longest], None
        if prefix is not None:
            from hf_bridge.prefix import past_of

            mask = np.pad(mask, ((0, 0), (prefix.length, 0)), constant_values=True)
            past = past_of(prefix, len(mask))
        self._attention.fit(mask.shape[1])
        return self._model.base_model(
            input_ids=torch.from_numpy(batch.token_ids[:, :longest]).long().to(device),
            attention_mask=torch.from_numpy(mask).long().to(device),
            past_key_values=past,
            use_cache=past is not None,
        ).last_hidden_state

    def _hidden_at(
        self, batch: Batch, rows: NDArray[Any], places: NDArray[Any], prefix: Prefix | None
    ) -> Any:
        """Run the decoder, and return the hidden states of N tokens: `[N, width]`."""
        from hf_bridge.last_layer import last_layer_at

        torch = self._torch
        with last_layer_at(self._model, torch.from_numpy(rows), torch.from_numpy(places.astype(np.int64))):
            return self._hidden(batch, prefix)[0]

    def _losses(self, batch: Batch, prefix: Prefix | None = None) -> Any:
        """The weighted cross-entropy of the answer tokens of weight, row by row: `[answer tokens]`."""
        torch = self._torch
        answers = batch.answer_weights > 0
        chosen = self._hidden_at(batch, np.nonzero(answers)[0], batch.answer_positions[answers], prefix)
        logits = self._head(chosen, batch.choices or None)
        expected = torch.from_numpy(_among(batch.choices, batch.answer_ids[answers])).to(logits.device)
        weights = torch.from_numpy(batch.answer_weights[answers]).to(logits.device)
        return torch.nn.functional.cross_entropy(logits, expected, reduction="none") * weights

    def _step_losses(self, batch: Batch) -> Any:
        """What a step's loss sums: the tokens' losses, or the pairs', whose rewards are kept."""
        losses = self._losses(batch)
        if batch.preference is None:
            return losses
        from hf_bridge.preference import pair_losses, pair_scores, rewards_of

        arrays = PairArrays.of(batch)
        scores = pair_scores(losses, batch, arrays)
        if batch.example_ids:
            self._rewards.append(rewards_of(scores, batch, batch.preference))
        return pair_losses(scores, arrays, batch.preference)

    def _layers(self) -> dict[str, Any]:
        from hf_bridge.lora import lora_layers

        return {} if self._adapted is None else lora_layers(self._adapted)

    def _trained(self) -> dict[tuple[str, str], Any]:
        from hf_bridge.lora import parameters_of

        return {
            (name, key): parameter
            for name, module in self._layers().items()
            for key, parameter in parameters_of(module).items()
        }

    def _dropouts(self) -> list[Any]:
        from hf_bridge.lora import dropout_of

        return [dropout_of(module) for module in self._layers().values()]

    def remove_adapter(self) -> None:
        """Leave the bare base; see `Stack.remove_adapter`."""
        if self._adapted is not None:
            from hf_bridge.lora import remove

            remove(self._adapted)
        self._adapted = self._trainer = None

    def _require_trainer(self) -> "Trainer":
        if self._trainer is None:
            raise AdapterError("training has not been started on this stack; call start_training first")
        return self._trainer


def _among(choices: Sequence[int], token_ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Each token's place among the choices; the tokens themselves where there are none."""
    if not choices:
        return token_ids.astype(np.int64)
    places: NDArray[np.int64] = (token_ids[:, None] == np.array(choices)).argmax(axis=1)
    return places
