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
from kerastune.errors import AdapterError
from kerastune.lora import Factors, initial_a, require_shapes, require_whole
from kerastune.targets import canonical_targets, module_path, targeted

_NAME = "default"
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
        model: A causal language model of transformers.
        lora: The adapter's options.
        seed: Seed of the initial factors, which are the same as on the Keras stack.

    Raises:
        ConfigError: A target is unknown, or the model has no such layer.
    """
    adapted = _attach(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=lora.rank,
            # A float alpha says every scale, rsLoRA's too; plain PEFT then reads the adapter the same.
            lora_alpha=lora.scale * lora.rank,
            lora_dropout=lora.dropout,
            use_dora=lora.dora,
            target_modules=targeted(adaptable_modules(model), lora.targets),
        ),
    )
    for name, module in lora_layers(adapted).items():
        weight = module.lora_A[_NAME].weight
        weight.data.copy_(torch.from_numpy(initial_a(name, weight.shape[1], lora.rank, seed)))
    return adapted


def load_adapter(model: Any, factors: Mapping[str, Factors]) -> PeftModel:
    """Put a finished adapter on a model.

    Raises:
        AdapterError: It does not fit the model.
    """
    modules = adaptable_modules(model)
    require_whole(factors, modules)
    require_shapes(
        factors, {name: (layer.out_features, layer.in_features) for name, layer in modules.items()}
    )
    magnitudes = {update.magnitude is not None for update in factors.values()}
    if len(magnitudes) > 1:
        raise AdapterError("the adapter has DoRA's magnitudes in some modules alone; copy it again")
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
    )
    for name, module in lora_layers(adapted).items():
        for side, weight in parameters_of(module).items():
            weight.data.copy_(torch.from_numpy(np.ascontiguousarray(getattr(factors[name], side))))
    return adapted


def lora_layers(model: Any) -> dict[str, Any]:
    """The adapted layers of a PEFT model: path in the base -> layer."""
    base = model.get_base_model()
    return {name: module for name, module in base.named_modules() if isinstance(module, LoraLayer)}


def parameters_of(module: Any) -> dict[str, Any]:
    """What is trained of an adapted layer, by short names."""
    found = {"a": module.lora_A[_NAME].weight, "b": module.lora_B[_NAME].weight}
    if _NAME in module.lora_magnitude_vector:  # DoRA's
        found["magnitude"] = module.lora_magnitude_vector[_NAME].weight
    return found


def factors_of(module: Any, values: Mapping[str, Any]) -> Factors:
    """Say an adapted layer's tensors, or their gradients, as an update."""
    arrays = {name: value.detach().float().cpu().numpy().copy() for name, value in values.items()}
    return Factors(**arrays, alpha=float(module.scaling[_NAME] * module.r[_NAME]))


def dropout_of(module: Any) -> torch.nn.Module:
    """The dropout layer of an adapted layer; without dropout one that does nothing."""
    return module.lora_dropout[_NAME]


def _attach(model: Any, config: LoraConfig) -> PeftModel:
    with warnings.catch_warnings():
        # PEFT warns of a config without a hub id; the adapter is written by kerastune, with its base's id.
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, config)
    for module in lora_layers(adapted).values():
        for parameter in parameters_of(module).values():
            parameter.data = parameter.data.float()
        fuse(module, _NAME)
    adapted.eval()
    return adapted
