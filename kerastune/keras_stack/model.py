"""The Keras stack: a KerasHub model with an adapter, behind the `Stack` protocol."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kerastune.batching import Batch
from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.errors import AdapterError, ConfigError, ModelError
from kerastune.extras import require
from kerastune.keras_stack.backend import device_and_dtype, import_keras
from kerastune.lora import Factors
from kerastune.models import ModelFiles
from kerastune.models.cache import cache_root
from kerastune.stack import GenerationSpec, StackInfo

if TYPE_CHECKING:
    from kerastune.keras_stack.generation import Generator


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
        self._keras = import_keras(spec.backend, cache_root())
        self._backend = spec.backend
        self._device, self._dtype = device_and_dtype(spec.backend, spec.dtype)
        keras_hub = require("keras_hub", "keras")
        try:
            self._backbone = keras_hub.models.Backbone.from_preset(
                str(files.path), dtype=self._dtype, **_unread_settings(files)
            )
            self._causal_lm = keras_hub.models.CausalLM.from_preset(
                str(files.path), backbone=self._backbone, preprocessor=None
            )
        except (ValueError, KeyError, OSError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{files.name}: KerasHub cannot load {files.path}: {reason}") from error
        self._backbone.trainable = False
        self._parameters = int(self._backbone.count_params())
        self._adapters: dict[str, Any] = {}
        self._answers: Any = None
        self._labels: dict[tuple[int, ...], Any] = {}
        self._generator: Generator | None = None

    @property
    def info(self) -> StackInfo:
        """What runs."""
        trainable = sum(
            int(np.prod(variable.shape)) for lora in self._adapters.values() for variable in (lora.a, lora.b)
        )
        return StackInfo("keras", self._backend, self._device, self._dtype, self._parameters, trainable)

    def add_lora(self, lora: LoraSpec, seed: int) -> None:
        """Put a fresh adapter on the frozen base; see `Stack.add_lora`."""
        from kerastune.keras_stack.lora import add_lora

        if self._adapters:
            raise ConfigError("the model has an adapter already; load the model anew for another one")
        self._adapters = add_lora(self._backbone, lora, seed)

    def start_training(self, train: TrainSpec) -> None:
        """Make a fresh optimizer; see `Stack.start_training`."""
        optimizer = self._keras.optimizers.AdamW(
            learning_rate=train.learning_rate,
            weight_decay=train.weight_decay,
            global_clipnorm=train.clip_norm or None,
            gradient_accumulation_steps=train.accumulate if train.accumulate > 1 else None,
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "scale", "gamma", "beta"])
        model = self._answer_model()
        model.compile(optimizer=optimizer)
        optimizer.build(model.trainable_variables)

    def train_step(self, step: Sequence[Batch], learning_rate: float) -> float:
        """Take one optimizer step; see `Stack.train_step`."""
        model = self._answer_model()
        model.optimizer.learning_rate = learning_rate
        weight = sum(batch.weight for batch in step)
        # Keras averages accumulated gradients over the batches; the loss is over the step's tokens.
        share = np.float32(len(step) / weight)
        losses = [model.train_on_batch(_inputs(batch, batch.answer_weights * share)) for batch in step]
        return float(np.mean(losses))

    def token_losses(self, batch: Batch) -> NDArray[np.float32]:
        """Compute each answer token's loss; see `Stack.token_losses`."""
        return np.asarray(self._answer_model().predict_on_batch(_inputs(batch, batch.answer_weights)))

    def label_logits(self, batch: Batch, label_ids: Sequence[int]) -> NDArray[np.float32]:
        """Compute a few tokens' logits after each row; see `Stack.label_logits`."""
        from kerastune.keras_stack.loss import LabelModel

        key = tuple(label_ids)
        if key not in self._labels:
            self._labels[key] = LabelModel(self._backbone, key)
        inputs = {"token_ids": batch.token_ids, "padding_mask": batch.padding_mask}
        return np.asarray(self._labels[key].predict_on_batch(inputs))

    def generate(self, prompts: Sequence[Sequence[int]], spec: GenerationSpec) -> list[list[int]]:
        """Continue prompts; see `Stack.generate`."""
        from kerastune.keras_stack.generation import Generator

        if self._generator is None:
            self._generator = Generator(self._causal_lm)
        return self._generator.generate(prompts, spec)

    def get_adapter(self) -> dict[str, Factors]:
        """Return the adapter in PEFT's geometry; see `Stack.get_adapter`."""
        return {module: lora.factors() for module, lora in self._adapters.items()}

    def set_adapter(self, factors: Mapping[str, Factors]) -> None:
        """Give the adapter these values; see `Stack.set_adapter`."""
        missing, unexpected = set(self._adapters) - set(factors), set(factors) - set(self._adapters)
        if missing or unexpected:
            raise AdapterError(
                f"the adapter does not fit {self.files.name}: missing {sorted(missing)[:3]}, "
                f"unexpected {sorted(unexpected)[:3]}; load it with its own targets onto its own base"
            )
        for module, update in factors.items():
            self._adapters[module].assign(update)

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
            f"optimizer.{place}": variable
            for place, variable in enumerate(self._answer_model().optimizer.variables)
        }
        return adapter | optimizer

    def _answer_model(self) -> Any:
        from kerastune.keras_stack.loss import AnswerModel

        if self._answers is None:
            self._answers = AnswerModel(self._backbone)
        return self._answers


def _unread_settings(files: ModelFiles) -> dict[str, Any]:
    """What KerasHub 0.32 leaves unread in a config: Llama's epsilon, worth 1e-3 of the logits."""
    if files.layout == "hf" and files.config.get("model_type") == "llama":
        return {"layer_norm_epsilon": files.config["rms_norm_eps"]}
    return {}


def _inputs(batch: Batch, weights: NDArray[np.float32]) -> dict[str, Any]:
    return {
        "token_ids": batch.token_ids,
        "padding_mask": batch.padding_mask,
        "answer_positions": batch.answer_positions,
        "answer_ids": batch.answer_ids,
        "answer_weights": weights,
    }
