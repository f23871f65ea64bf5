"""The adapter on disk: PEFT's two files, which plain PEFT loads, and a card that says what it is for.

`adapter_model.safetensors` and `adapter_config.json` are PEFT's. `kerastune.json` names the base, the
template and the label words that the adapter was trained with, so that loading it against others is refused.
"""

import dataclasses
import re
import reprlib
from collections import Counter
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from kerastune.adapter_card import CARD, AdapterCard, read_card, read_json, write_json
from kerastune.atomic import atomic_folder
from kerastune.environment import sha256_of_files
from kerastune.errors import AdapterError
from kerastune.float_tensors import read_float_tensors
from kerastune.lora import Factors

_PREFIX = "base_model.model."
_SIDES, _MAGNITUDE = ("lora_A.weight", "lora_B.weight"), "lora_magnitude_vector"
_REPEATS, _REPEATED_GROUP, _MOST_REPEATS = re.compile(r"[*+?{]"), re.compile(r"\)[*+{]"), 2
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def write_adapter(folder: Path, factors: Mapping[str, Factors], card: AdapterCard) -> None:
    """Write an adapter folder, wholly or not at all.

    Args:
        folder: Where to; what is there is replaced.
        factors: Hugging Face's module path -> the module's update.
        card: What it was trained for.

    Raises:
        OutputError: The folder cannot be written.
    """
    with atomic_folder(folder) as temporary:
        _write_peft(temporary, factors, card.base_id)
        write_json(temporary / CARD, dataclasses.asdict(card))


def adapter_hash(folder: Path) -> str:
    """Hash an adapter's files, those of them that are there."""
    paths = (folder / name for name in (WEIGHTS, CONFIG, CARD))
    return sha256_of_files(path for path in paths if path.is_file())


def write_peft(folder: Path, factors: Mapping[str, Factors], base_id: str) -> None:
    """Write PEFT's two files alone, wholly or not at all: an adapter of which no card is known.

    Args:
        folder: Where to; what is there is replaced.
        factors: Hugging Face's module path -> the module's update.
        base_id: Where PEFT finds the base.

    Raises:
        OutputError: The folder cannot be written.
    """
    with atomic_folder(folder) as temporary:
        _write_peft(temporary, factors, base_id)


def _write_peft(folder: Path, factors: Mapping[str, Factors], base_id: str) -> None:
    tensors = {}
    for module, update in sorted(factors.items()):
        tensors[f"{_PREFIX}{module}.lora_A.weight"] = np.ascontiguousarray(update.a, np.float32)
        tensors[f"{_PREFIX}{module}.lora_B.weight"] = np.ascontiguousarray(update.b, np.float32)
        if update.magnitude is not None:
            tensors[f"{_PREFIX}{module}.{_MAGNITUDE}"] = np.ascontiguousarray(update.magnitude, np.float32)
    # Not save_file, whose errors on a full disk are none of the system's.
    (folder / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
    write_json(folder / CONFIG, _peft_config(factors, base_id))


def read_adapter(folder: Path) -> tuple[dict[str, Factors], AdapterCard]:
    """Read an adapter that `write_adapter` wrote.

    Raises:
        AdapterError: A file is missing, damaged or incomplete; the message names it.
    """
    card = read_card(folder)
    return read_peft(folder), card


def base_of(folder: Path) -> str:
    """The base model that an adapter in PEFT's format names.

    Raises:
        AdapterError: It names none.
    """
    base = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise AdapterError(
            f"{folder / CONFIG}: names no base model; write the base's id under base_model_name_or_path, "
            "or give it with --model"
        )
    return base


def read_peft(folder: Path) -> dict[str, Factors]:
    """Read an adapter in PEFT's format, whoever wrote it.

    Args:
        folder: The folder of `adapter_config.json` and `adapter_model.safetensors`.

    Returns:
        Hugging Face's module path -> the module's update.

    Raises:
        AdapterError: It is no LoRA adapter, a file is missing or damaged, or tensors are missing, unexpected
            or of another rank than the configuration says.
    """
    config = read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise AdapterError(
            f"{folder / CONFIG}: expected peft_type 'LORA', received {config.get('peft_type')!r}"
        )
    unread = [key for key in ("modules_to_save", "layers_to_transform", "lora_bias") if config.get(key)]
    if unread or config.get("bias", "none") != "none":
        raise AdapterError(
            f"{folder / CONFIG}: expected an adapter of linear layers alone, received {unread or 'biases'}; "
            "merge it with the package that made it"
        )
    try:
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        ranks, alphas = dict(config.get("rank_pattern") or {}), dict(config.get("alpha_pattern") or {})
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterError(f"{folder / CONFIG}: lacks or misstates a key: {error}") from error
    tensors = read_float_tensors(folder / WEIGHTS)
    factors = {}
    for key in sorted(tensors):
        if not key.endswith(".lora_A.weight"):
            continue
        module = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        a, b = tensors[key], tensors.get(key.replace("lora_A", "lora_B"))
        expected, its_alpha = _rank_and_alpha(folder / CONFIG, module, (ranks, rank), (alphas, alpha))
        shapes = (a.shape[:1], () if b is None else b.shape[1:])
        if b is None or shapes != ((expected,), (expected,)):
            raise AdapterError(
                f"{folder / WEIGHTS}: {module}: expected A and B of rank {expected}, received shapes "
                f"{a.shape} and {None if b is None else b.shape}; copy the adapter again"
            )
        scale = its_alpha / (expected**0.5 if config.get("use_rslora") else expected)
        magnitude = tensors.get(f"{_PREFIX}{module}.{_MAGNITUDE}")
        factors[module] = Factors(
            a=a,
            b=b,
            alpha=scale * expected,
            magnitude=magnitude,
        )
    known = {f"{_PREFIX}{module}.{name}" for module in factors for name in (*_SIDES, _MAGNITUDE)}
    if unexpected := sorted(set(tensors) - known):
        raise AdapterError(
            f"{folder / WEIGHTS}: unexpected tensors {unexpected[:3]}; expected LoRA factors of linear "
            "layers alone; merge it with the package that made it"
        )
    targets = config.get("target_modules")
    missing = [
        name
        for name in (targets if isinstance(targets, list) else [])
        if not any(module == name or module.endswith(f".{name}") for module in factors)
    ]
    if missing or not factors:
        raise AdapterError(
            f"{folder / WEIGHTS}: no tensors of the targets {missing[:3]}; copy the adapter again"
        )
    return factors


def _peft_config(factors: Mapping[str, Factors], base_id: str) -> dict[str, Any]:
    """PEFT's `LoraConfig` as JSON; modules that differ from the most frequent rank are named one by one."""
    rank, alpha = Counter((update.rank, update.alpha) for update in factors.values()).most_common(1)[0][0]
    others = {
        module: update for module, update in factors.items() if (update.rank, update.alpha) != (rank, alpha)
    }
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_id,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted({module.rsplit(".", 1)[1] for module in factors}),
        "rank_pattern": {module: update.rank for module, update in sorted(others.items())},
        "alpha_pattern": {module: update.alpha for module, update in sorted(others.items())},
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": any(update.magnitude is not None for update in factors.values()),
    }


def _rank_and_alpha(
    path: Path,
    module: str,
    rank: tuple[Mapping[str, Any], float],
    alpha: tuple[Mapping[str, Any], float],
) -> tuple[int, float]:
    """A module's rank and alpha, each out of a pattern and what is meant where that has none for it."""
    try:
        found = int(_of_pattern(rank[0], module, rank[1])), float(_of_pattern(alpha[0], module, alpha[1]))
    except (TypeError, ValueError, OverflowError, re.error) as error:
        raise AdapterError(
            f"{path}: rank_pattern or alpha_pattern: {error}; copy the adapter again"
        ) from error
    if found[0] < 1 or not isfinite(found[1]):
        raise AdapterError(
            f"{path}: {module}: expected a rank of 1 or more and a finite lora_alpha, received {found[0]} "
            f"and {found[1]}; copy the adapter again"
        )
    return found


def _of_pattern(pattern: Mapping[str, Any], module: str, otherwise: float) -> Any:
    """A module's value in PEFT's `rank_pattern` or `alpha_pattern`: keys match ends of paths."""
    for key, value in pattern.items():
        # The keys are expressions of a stranger's; one that repeats what repeats could match for ever.
        if len(_REPEATS.findall(key)) > _MOST_REPEATS or _REPEATED_GROUP.search(key):
            raise ValueError(f"the key {reprlib.repr(key)} repeats too much")
        if re.fullmatch(rf"(.*\.)?({key})", module):
            return value
    return otherwise
