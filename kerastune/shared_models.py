"""Base models that stay loaded: one for all estimators of a process that ask for the same.

Loading a base costs more than a fold of a small cross-validation, and clones of an estimator know nothing
of each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import RLock

from kerastune.config import ModelSpec
from kerastune.lora import Factors
from kerastune.models import ModelFiles, resolve_model
from kerastune.stack import Stack, load_stack
from kerastune.tokenizer import Tokenizer, load_tokenizer


@dataclass
class SharedModel:
    """A base model that its users take turns with, each putting its own adapter on.

    Args:
        spec: Which model, on which stack.
        files: Its files.
        lock: Held by whoever uses it.
        adapter_id: Whose adapter is on: None for the bare base, "" where that is not known.
    """

    spec: ModelSpec
    files: ModelFiles
    lock: RLock = field(default_factory=RLock)
    adapter_id: str | None = None

    @cached_property
    def stack(self) -> Stack:
        """The model, loaded at the first use."""
        return load_stack(self.spec, self.files)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return load_tokenizer(self.files)

    def put_on(self, adapter_id: str | None, factors: Mapping[str, Factors]) -> None:
        """Put an adapter on, or take any off; nothing is done where it is on already.

        Args:
            adapter_id: A name for the adapter that no other has; None for the bare base.
            factors: The adapter; empty for the bare base.
        """
        if self.adapter_id == adapter_id:
            return
        self.adapter_id = ""
        if adapter_id is None:
            self.stack.remove_adapter()
        else:
            self.stack.load_adapter(factors)
        self.adapter_id = adapter_id


_models: dict[ModelSpec, SharedModel] = {}
_finding = RLock()


def shared_model(spec: ModelSpec) -> SharedModel:
    """Return the base model that a spec asks for; it is found at the first call, and loaded when it is used.

    Raises:
        ModelError: The model is not found.
    """
    with _finding:
        if spec not in _models:
            _models[spec] = SharedModel(spec, resolve_model(spec.model))
        return _models[spec]


def release_models() -> None:
    """Let go of all base models, so that their memory can be used for something else."""
    with _finding:
        _models.clear()
