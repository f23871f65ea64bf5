"""The adapter on disk: PEFT's two files, which plain PEFT loads, and a card that says what it is for.

`adapter_model.safetensors` and `adapter_config.json` are PEFT's. `kerastune.json` names the base, the
template and the label words that the adapter was trained with, so that loading it against others is refused.
"""

import dataclasses
import importlib.metadata
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from kerastune.atomic import atomic_folder
from kerastune.errors import AdapterError
from kerastune.lora import Factors

_PREFIX = "base_model.model."
WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "kerastune.json"


@dataclass(frozen=True, kw_only=True)
class AdapterCard:
    """What an adapter was trained for.

    Args:
        base_id: Where plain PEFT finds the base: a hub id where it has one.
        model: The base as the user named it.
        base_fingerprint: Hash of the base's weights.
        tokenizer_fingerprint: Hash of its tokenizer.
        task: The task's name.
        template: The template's name.
        prompt: The template's prompt text.
        completion: The template's completion text.
        labels: The labels, in the order of every array of label scores.
        label_words: The words that say them.
        max_length: The most tokens of an example.
        layout: The factorisation it was trained in, `"peft"` or `"native"`.
        version: The kerastune that wrote it.
    """

    base_id: str
    model: str
    base_fingerprint: str
    tokenizer_fingerprint: str
    task: str
    template: str
    prompt: str
    completion: str
    labels: tuple[int | str, ...]
    label_words: tuple[str, ...]
    max_length: int
    layout: str
    version: str = dataclasses.field(default_factory=lambda: importlib.metadata.version("kerastune"))

    def require_same(self, other: "AdapterCard", where: Path) -> None:
        """Refuse to use an adapter for something else than it was trained for.

        Raises:
            AdapterError: The base, the tokenizer, the template or the labels differ.
        """
        for name, what in (
            ("base_fingerprint", "base model"),
            ("tokenizer_fingerprint", "tokenizer"),
            ("prompt", "prompt"),
            ("completion", "completion"),
            ("labels", "labels"),
            ("label_words", "label words"),
        ):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                if name.endswith("fingerprint"):
                    mine, theirs = f"{self.model} ({mine[:12]})", f"{other.model} ({theirs[:12]})"
                raise AdapterError(
                    f"{where}: the adapter was trained with another {what}: expected {mine!r}, "
                    f"received {theirs!r}; use what it was trained with, or train a new one"
                )


def write_adapter(folder: Path, factors: Mapping[str, Factors], card: AdapterCard) -> None:
    """Write an adapter folder, wholly or not at all.

    Args:
        folder: Where to; what is there is replaced.
        factors: Hugging Face's module path -> the module's update.
        card: What it was trained for.

    Raises:
        OutputError: The folder cannot be written.
    """
    tensors = {}
    for module, update in sorted(factors.items()):
        tensors[f"{_PREFIX}{module}.lora_A.weight"] = np.ascontiguousarray(update.a, np.float32)
        tensors[f"{_PREFIX}{module}.lora_B.weight"] = np.ascontiguousarray(update.b, np.float32)
    with atomic_folder(folder) as temporary:
        # Not save_file, whose errors on a full disk are none of the system's.
        (temporary / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
        _write_json(temporary / CONFIG, _peft_config(factors, card))
        _write_json(temporary / CARD, dataclasses.asdict(card))


def read_adapter(folder: Path) -> tuple[dict[str, Factors], AdapterCard]:
    """Read an adapter that `write_adapter` wrote.

    Raises:
        AdapterError: A file is missing, damaged or incomplete; the message names it.
    """
    config = _read_json(folder / CONFIG)
    card_table = _read_json(folder / CARD)
    try:
        card_table |= {key: tuple(card_table[key]) for key in ("labels", "label_words")}
        card = AdapterCard(**card_table)
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        ranks, alphas = dict(config["rank_pattern"]), dict(config["alpha_pattern"])
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterError(f"{folder}: {CONFIG} or {CARD} lacks or misstates a key: {error}") from error
    try:
        tensors = load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise AdapterError(f"{folder}: no {WEIGHTS}; is the folder an adapter?") from error
    except (SafetensorError, OSError) as error:
        raise AdapterError(
            f"{folder / WEIGHTS}: damaged or cut short ({error}); copy the adapter again, or train anew"
        ) from error
    factors = {}
    for key in sorted(tensors):
        if not key.endswith(".lora_A.weight"):
            continue
        module = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        a, b = tensors[key], tensors.get(key.replace("lora_A", "lora_B"))
        expected = ranks.get(module, rank)
        shapes = (a.shape[:1], () if b is None else b.shape[1:])
        if b is None or shapes != ((expected,), (expected,)):
            raise AdapterError(
                f"{folder / WEIGHTS}: {module}: expected A and B of rank {expected}, received shapes "
                f"{a.shape} and {None if b is None else b.shape}"
            )
        factors[module] = Factors(
            a=a.astype(np.float32), b=b.astype(np.float32), alpha=float(alphas.get(module, alpha))
        )
    if len(tensors) != 2 * len(factors) or not factors:
        known = {f"{_PREFIX}{module}.lora_{side}.weight" for module in factors for side in "AB"}
        raise AdapterError(f"{folder / WEIGHTS}: unexpected tensors {sorted(set(tensors) - known)[:3]}")
    return factors, card


def _peft_config(factors: Mapping[str, Factors], card: AdapterCard) -> dict[str, Any]:
    """PEFT's `LoraConfig` as JSON; modules that differ from the most frequent rank are named one by one."""
    rank, alpha = Counter((update.rank, update.alpha) for update in factors.values()).most_common(1)[0][0]
    others = {
        module: update for module, update in factors.items() if (update.rank, update.alpha) != (rank, alpha)
    }
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": card.base_id,
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
        "use_dora": False,
    }


def _write_json(path: Path, table: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(table, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AdapterError(
            f"{path.parent}: no {path.name}; is the folder an adapter of kerastune?"
        ) from error
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(table, dict):
        raise AdapterError(f"{path}: expected a JSON object, received {type(table).__name__}")
    return table
