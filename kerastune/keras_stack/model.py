"""The Keras stack: a KerasHub model with an adapter, behind the `Stack` protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kerastune.batching import Batch
from kerastune.config import ADAM_EPSILON, LoraSpec, ModelSpec, TrainSpec
from kerastune.decoding import GenerationSpec
from kerastune.errors import AdapterError, ConfigError
from kerastune.keras_stack.backend import device, import_keras
from kerastune.keras_stack.heap import keep_freed
from kerastune.keras_stack.inputs import batch_inputs, past_input, text_inputs
from kerastune.lora import Factors
from kerastune.models import ModelFiles
from kerastune.models.cache import cache_root
from kerastune.precision import decide_dtype
from kerastune.preference.loss import PreferenceLoss, Rewards
from kerastune.stack import Prefix, StackInfo, quantised_dtype

if TYPE_CHECKING:
    from kerastune.keras_stack.generation import CachedDecoder, Generator
    from kerastune.keras_stack.programs import Forward


class KerasStack:
    """A KerasHub causal language model, loaded without its preprocessor: arrays go in.

    Args:
        spec: The backend and the dtype.
        files: The base model.

    Raises:
        ConfigError: Keras already runs on another backend.
        MissingExtraError: Keras, KerasHub or the backend is not installed.
        ModelError: KerasHub cannot load the model.
    """

    def __init__(self, spec: ModelSpec, files: ModelFiles) -> None:
        self.files = files
        self._backend = spec.backend or "jax"
        self._keras = import_keras(self._backend, cache_root())
        hardware = device(self._backend)
        decision = decide_dtype(spec.dtype, hardware, files.model_type).said()
        self._device, self._dtype, self._why = hardware.kind, decision.dtype, decision.reason
        # Not before: these import Keras, which takes its backend then.
        from kerastune.keras_stack.loading import load_model
        from kerastune.keras_stack.placement import placement_of

        self._placement = placement_of(spec.grid)
        self._backbone, self._causal_lm = load_model(files, self._dtype, self._placement)
        self._backbone.trainable = False
        self._parameters = int(self._backbone.count_params())
        if spec.quantized is not None:
            from kerastune.keras_stack.quantizing import quantize

            quantize(self._backbone, spec.quantized)
            self._dtype = quantised_dtype(spec.quantized, self._dtype)
        if self._backend == "jax" and self._device == "cpu":
            keep_freed()  # from here on: what loading took and gave back is not to stay
        self._adapters: dict[str, Any] = {}
        self._beneath: dict[str, Any] = {}
        self._rewards: list[Rewards] = []
        self._optimizer: Any = None
        self._step: Callable[[Mapping[str, Any]], dict[str, float]] | None = None
        self._programs: dict[Any, Forward] = {}
        self._generator: Generator | None = None

    @property
    def info(self) -> StackInfo:
        """What runs."""
        trainable = sum(
            int(np.prod(variable.shape)) for lora in self._adapters.values() for variable in (lora.a, lora.b)
        )
        return StackInfo(
            "keras", self._backend, self._device, self._dtype, self._parameters, trainable, self._why,
            self._placement.note,
        )  # fmt: skip

    @property
    def backbone(self) -> Any:
        """The KerasHub backbone: Keras' own files count its layers."""
        return self._backbone

    def add_lora(self, lora: LoraSpec, seed: int) -> None:
        """Put a fresh adapter on the frozen base; see `Stack.add_lora`."""
        from kerastune.keras_stack.lora import add_lora

        if lora.dora:
            raise ConfigError("dora: not on the keras stack; train with --stack hf")
        self.remove_adapter()
        self._adapters = add_lora(self._backbone, lora, seed)

    def load_adapter(self, factors: Mapping[str, Factors]) -> None:
        """Put a finished adapter on the base; see `Stack.load_adapter`."""
        from kerastune.keras_stack.lora import put_on

        self.remove_adapter()
        self._adapters = put_on(self._backbone, factors)

    def add_to_base(self, factors: Mapping[str, Factors]) -> None:
        """Make an adapter part of the base; see `Stack.add_to_base`."""
        from kerastune.keras_stack.lora import put_on

        self.remove_adapter()
        for lora in self._beneath.values():
            lora.remove()
        self._beneath = put_on(self._backbone, factors, trainable=False)

    def save_merged(self, folder: Path, dtype: str) -> tuple[str, ...]:
        """Add the adapter to the base for good, and save it as a KerasHub preset; see `Stack.save_merged`."""
        from kerastune.keras_stack.merge import save_preset

        # Each gives its layer back as it found it, so the upper one goes first.
        for lora in (*self._adapters.values(), *self._beneath.values()):
            lora.merge()
        self._beneath = {}
        self._forget_adapter()
        return save_preset(self._causal_lm, self.files, folder, dtype)

    def remove_adapter(self) -> None:
        """Leave the bare base; see `Stack.remove_adapter`."""
        for lora in self._adapters.values():
            lora.remove()
        self._forget_adapter()

    def _forget_adapter(self) -> None:
        # Compiled programs hold the variables that were there when they were traced.
        self._adapters, self._generator = {}, None
        self._optimizer = self._step = None
        self._programs.clear()
        self.__dict__.pop("_answer_model", None)

    def start_training(self, train: TrainSpec) -> None:
        """Make a fresh optimizer; see `Stack.start_training`."""
        optimizer = self._keras.optimizers.AdamW(
            learning_rate=train.learning_rate,
            weight_decay=train.weight_decay,
            epsilon=ADAM_EPSILON,
            global_clipnorm=train.clip_norm or None,
            gradient_accumulation_steps=train.accumulate if train.accumulate > 1 else None,
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "scale", "gamma", "beta"])
        optimizer.build(self._answer_model.trainable_variables)
        self._optimizer, self._step = optimizer, None

    def train_step(self, step: Sequence[Batch], learning_rate: float) -> float:
        """Take one optimizer step; see `Stack.train_step`."""
        if self._optimizer is None:
            raise AdapterError("training has not been started on this stack; call start_training first")
        self._optimizer.learning_rate = learning_rate
        compiled = self._step_of(step[0].preference)
        weight = sum(batch.weight for batch in step)
        # Keras averages accumulated gradients over the batches; the loss is over the step's tokens.
        share = np.float32(len(step) / weight)
        found = [compiled(batch_inputs(self._placement.rows(batch), share)) for batch in step]
        self._rewards = [
            Rewards(pairs=len(batch.example_ids), **{name: one[name] for name in one if name != "loss"})
            for batch, one in zip(step, found, strict=True)
            if batch.preference is not None and batch.example_ids
        ]
        return float(np.mean([one["loss"] for one in found]))

    def step_rewards(self) -> Rewards | None:
        """Return the last step's rewards; see `Stack.step_rewards`."""
        return Rewards.mean(self._rewards) if self._rewards else None

    def _step_of(self, preference: PreferenceLoss | None) -> Callable[[Mapping[str, Any]], dict[str, float]]:
        """The training step with the loss of pairs, or with the tokens' own; compiled where that changes."""
        from kerastune.keras_stack.programs import training_step

        model = self._answer_model
        if self._step is None or model.preference != preference:
            model.preference = preference
            self._step = training_step(model, self._optimizer, self._placement)
        return self._step

    def prefill(self, token_ids: Sequence[int]) -> Prefix | None:
        """Compute the keys and values of a shared beginning; see `Stack.prefill`."""
        from kerastune.keras_stack.prefix import PrefixModel, can_go_on

        if not can_go_on(self._backbone):
            return None
        prefix_of = self._program("prefix", lambda: PrefixModel(self._backbone))
        state = prefix_of(np.array([token_ids], np.int32))
        # Kept where it is computed with, not sent there anew with every batch.
        to_tensor = self._keras.ops.convert_to_tensor
        return Prefix(len(token_ids), self._keras.tree.map_structure(to_tensor, state))

    def token_losses(self, batch: Batch, prefix: Prefix | None = None) -> NDArray[np.float32]:
        """Compute each answer token's loss; see `Stack.token_losses`."""
        rows = self._placement.rows(replace(batch, preference=None))
        losses = self._program("answers", lambda: self._answer_model)(batch_inputs(rows) | past_input(prefix))
        return np.asarray(losses)[: len(batch.token_ids)]

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Compute the logits after every token; see `Stack.logits`."""
        from kerastune.keras_stack.loss import LogitsModel

        inputs = text_inputs(self._placement.rows(batch))
        logits = self._program("logits", lambda: LogitsModel(self._backbone))(inputs)
        return np.asarray(logits)[: len(batch.token_ids)]

    def label_logits(
        self, batch: Batch, label_ids: Sequence[int], prefix: Prefix | None = None
    ) -> NDArray[np.float32]:
        """Compute a few tokens' logits after each row; see `Stack.label_logits`."""
        from kerastune.keras_stack.loss import LabelModel

        key = tuple(label_ids)
        labels_of = self._program(key, lambda: LabelModel(self._backbone, key))
        inputs = text_inputs(self._placement.rows(batch)) | past_input(prefix)
        return np.asarray(labels_of(inputs))[: len(batch.token_ids)]

    def start_decoding(self, prompts: Sequence[Sequence[int]], spec: GenerationSpec) -> "CachedDecoder":
        """Begin to continue prompts; see `Stack.start_decoding`."""
        from kerastune.keras_stack.generation import Generator

        if self._generator is None:
            self._generator = Generator(self._causal_lm, self._placement)
        return self._generator.start(prompts, spec)

    def get_adapter(self) -> dict[str, Factors]:
        """Return the adapter in PEFT's geometry; see `Stack.get_adapter`."""
        return {module: lora.factors() for module, lora in self._adapters.items()}

    def adapter_gradients(self, batch: Batch) -> dict[str, Factors]:
        """Compute the gradients of the mean loss; see `Stack.adapter_gradients`."""
        from kerastune.keras_stack.gradients import gradients

        if any(lora.native for lora in self._adapters.values()):
            raise ConfigError('gradients: expected an adapter in the "peft" layout, received the native one')
        model = self._answer_model
        model.preference, self._step = batch.preference, None
        variables = {
            (module, name): getattr(lora, name) for module, lora in self._adapters.items() for name in "ab"
        }
        inputs = batch_inputs(batch, np.float32(1 / batch.weight))
        found = gradients(model, inputs, list(variables.values()))
        values = dict(zip(variables, found, strict=True))
        return {
            module: lora.as_factors(values[module, "a"], values[module, "b"])
            for module, lora in self._adapters.items()
        }

    def training_state(self) -> dict[str, NDArray[Any]]:
        """Return what training changes; see `Stack.training_state`."""
        to_numpy = self._keras.ops.convert_to_numpy
        return {name: np.asarray(to_numpy(variable)) for name, variable in self._training_variables().items()}

    def load_training_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state; see `Stack.load_training_state`."""
        variables = self._training_variables()
        if set(variables) != set(state):
            raise AdapterError(
                f"the checkpoint holds {len(state)} variables, expected {len(variables)} of the same names; "
                "it is of another configuration: start the run anew in another folder"
            )
        for name, variable in variables.items():
            variable.assign(state[name])

    def _training_variables(self) -> dict[str, Any]:
        adapter = {
            f"{module}.{name}": variable
            for module, lora in self._adapters.items()
            for name, variable in lora.state().items()
        }
        optimizer = {
            f"optimizer.{place}": variable for place, variable in enumerate(self._optimizer.variables)
        }
        return adapter | optimizer

    @cached_property
    def _answer_model(self) -> Any:
        from kerastune.keras_stack.loss import AnswerModel

        return AnswerModel(self._backbone)

    def _program(self, key: Any, make_model: Callable[[], Any]) -> "Forward":
        """A compiled forward pass, made at its first use."""
        from kerastune.keras_stack.programs import forward

        if key not in self._programs:
            self._programs[key] = forward(make_model(), self._placement)
        return self._programs[key]
