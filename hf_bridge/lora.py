"""LoRA by PEFT: a fresh adapter with our initial numbers, or a finished one, each module of its own rank."""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer

from hf_bridge.fused import fuse
from kerastune.config import LoraSpec
from kerastune.errors import AdapterError, ConfigError
from kerastune.lora import Factors, initial_a, require_shapes, require_whole
from kerastune.targets import canonical_targets, module_path, targeted

_NAME, _BENEATH = "default", "beneath"
_NO_DORA = "its scales are those of the base alone; merge what is beneath first, and train on what that wrote"
_LINEAR = re.compile(r"layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)$")


def adaptable_modules(model: Any) -> dict[str, torch.nn.Linear]:
    """Find the linear layers of a model's decoder layers: path -> layer."""
    known = canonical_targets(["all"])
    found = {}
    for name, module in model.named_modules():
        match = _LINEAR.search(name)
        if match and match[2] in known and name == module_path(int(match[1]), match[2]):
            found[name] = module
    return found


def add_lora(model: Any, lora: LoraSpec, seed: int) -> PeftModel:
    """Put a fresh adapter on a model.

    Args:
        model: A causal language model of transformers, or what `put_beneath` made of it.
        lora: The adapter's options.
        seed: Seed of the initial factors, which are the same as on the Keras stack.

    Raises:
        ConfigError: A target is unknown, the model has no such layer, or DoRA is asked for on top of another
            adapter.
    """
    if lora.dora and isinstance(model, PeftModel):
        raise ConfigError(f"dora: {_NO_DORA}")
    adapted = _attach(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=lora.rank,
            # A float alpha says every scale, rsLoRA's too; plain PEFT then reads the adapter the same.
            lora_alpha=lora.scale * lora.rank,
            lora_dropout=lora.dropout,
            use_dora=lora.dora,
            target_modules=targeted(adaptable_modules(_base_of(model)), lora.targets),
        ),
    )
    for name, module in lora_layers(adapted).items():
        weight = module.lora_A[_NAME].weight
        weight.data.copy_(torch.from_numpy(initial_a(name, weight.shape[1], lora.rank, seed)))
    return adapted


def load_adapter(model: Any, factors: Mapping[str, Factors]) -> PeftModel:
    """Put a finished adapter on a model, or on what `put_beneath` made of it.

    Raises:
        AdapterError: It does not fit the model.
    """
    return _load(model, factors, _NAME)


def put_beneath(model: Any, factors: Mapping[str, Factors]) -> PeftModel:
    """Put a finished adapter on a model for good: another goes on top of it, and is taken off without it.

    It stays beside the weights, in float32: added to them it would be rounded to the base's dtype.

    Raises:
        AdapterError: It does not fit the model, or has DoRA's magnitudes.
    """
    return _load(model, factors, _BENEATH)


def remove(adapted: PeftModel) -> None:
    """Take an adapter off; what is beneath it stays."""
    if _BENEATH in adapted.peft_config:
        adapted.delete_adapter(_NAME)
    else:
        adapted.unload()


def _load(model: Any, factors: Mapping[str, Factors], name: str) -> PeftModel:
    modules = adaptable_modules(_base_of(model))
    require_whole(factors, modules)
    require_shapes(
        factors, {name: (layer.out_features, layer.in_features) for name, layer in modules.items()}
    )
    magnitudes = {update.magnitude is not None for update in factors.values()}
    if len(magnitudes) > 1:
        raise AdapterError("the adapter has DoRA's magnitudes in some modules alone; copy it again")
    if True in magnitudes and (name == _BENEATH or isinstance(model, PeftModel)):
        raise AdapterError(f"the adapter has DoRA's magnitudes: {_NO_DORA}")
    first = next(iter(factors.values()))
    adapted = _attach(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=first.rank,
            lora_alpha=first.alpha,
            use_dora=magnitudes.pop(),
            target_modules=list(factors),
            rank_pattern={name: update.rank for name, update in factors.items()},
            alpha_pattern={name: update.alpha for name, update in factors.items()},
        ),
        name,
    )
    for path, module in lora_layers(adapted, name).items():
        for side, weight in parameters_of(module, name).items():
            weight.data.copy_(torch.from_numpy(np.ascontiguousarray(getattr(factors[path], side))))
    return adapted


def lora_layers(model: Any, name: str = _NAME) -> dict[str, Any]:
    """The layers of a PEFT model that an adapter is on: path in the base -> layer."""
    base = model.get_base_model()
    return {
        path: module
        for path, module in base.named_modules()
        if isinstance(module, LoraLayer) and name in module.lora_A
    }


def parameters_of(module: Any, name: str = _NAME) -> dict[str, Any]:
    """What is trained of an adapted layer, by short names."""
    found = {"a": module.lora_A[name].weight, "b": module.lora_B[name].weight}
    if name in module.lora_magnitude_vector:  # DoRA's
        found["magnitude"] = module.lora_magnitude_vector[name].weight
    return found


def factors_of(module: Any, values: Mapping[str, Any]) -> Factors:
    """Say an adapted layer's tensors, or their gradients, as an update."""
    arrays = {name: value.detach().float().cpu().numpy().copy() for name, value in values.items()}
    return Factors(**arrays, alpha=float(module.scaling[_NAME] * module.r[_NAME]))


def dropout_of(module: Any) -> torch.nn.Module:
    """The dropout layer of an adapted layer; without dropout one that does nothing."""
    return module.lora_dropout[_NAME]


def _base_of(model: Any) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _attach(model: Any, config: LoraConfig, name: str = _NAME) -> PeftModel:
    with warnings.catch_warnings():
        # PEFT warns of a config without a hub id; the adapter is written by kerastune, with its base's id.
        warnings.simplefilter("ignore")
        if isinstance(model, PeftModel):
            adapted = model
            adapted.add_adapter(name, config)
            adapted.base_model.set_adapter([_BENEATH, name], inference_mode=True)
        else:
            adapted = get_peft_model(model, config, adapter_name=name)
    for module in lora_layers(adapted, name).values():
        for parameter in parameters_of(module, name).values():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(name == _NAME)
        # Not where two adapters stand or will: PEFT computes both, and rounds the one alone in the same way.
        if name == _NAME and not isinstance(model, PeftModel):
            fuse(module, name)
    adapted.eval()
    return adapted
