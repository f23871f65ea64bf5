"""What was run: the lines of a report's last table, and how a value is said."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastune.report.content import ReportContent, RunContent


@dataclass(frozen=True)
class Fact:
    """A line of what was run, a value a run; `kind` is `"text"`, `"code"` or `"hash"`."""

    name: str
    values: tuple[str, ...]
    kind: str = "text"

    @property
    def differs(self) -> bool:
        """Whether the two runs differ in it."""
        return len(set(self.values)) > 1


def facts(content: ReportContent) -> tuple[tuple[str, tuple[Fact, ...]], ...]:
    """What was run, in groups; a value a run."""
    groups: dict[str, dict[str, dict[int, tuple[str, str]]]] = {}
    for place, run in enumerate(content.runs):
        for group, name, value, kind in _facts_of(run):
            groups.setdefault(group, {}).setdefault(name, {})[place] = (value, kind)
    return tuple(
        (
            group,
            tuple(
                Fact(
                    name,
                    tuple(said.get(place, ("", ""))[0] for place in range(len(content.runs))),
                    next(iter(said.values()))[1],
                )
                for name, said in names.items()
            ),
        )
        for group, names in groups.items()
    )


def _facts_of(run: RunContent) -> Iterator[tuple[str, str, str, str]]:
    manifest, config, card = run.manifest, run.config, run.card
    stack, training, train = (manifest.get(key, {}) for key in ("stack", "training", "train"))
    yield "Model", "Model", say(manifest.get("model", config.model.model)), "text"
    yield "Model", "Base", say(manifest.get("base_id", "")), "text"
    for field in dataclasses.fields(config.model):
        if field.name != "model":
            value = stack.get(field.name, getattr(config.model, field.name))
            yield "Model", _title(field.name), say(value), "text"
    for name in ("device", "parameters", "trainable"):
        if name in stack:
            yield "Model", _title(name), say(stack[name]), "text"
    for name in ("template", "prompt", "completion", "label_words", "max_length"):
        if name in card:
            yield (
                "Prompt",
                _title(name),
                say(card[name]),
                "code" if name in ("prompt", "completion") else "text",
            )
    for field in dataclasses.fields(config.lora):
        yield "LoRA", _title(field.name), say(getattr(config.lora, field.name)), "text"
    if train:
        yield "Training", "Table", Path(train["source"]).name, "text"
        yield "Training", "Rows", say(train["rows"]), "text"
    if config.validation_file:
        yield "Training", "Validation table", Path(config.validation_file).name, "text"
    for field in dataclasses.fields(config.train):
        yield "Training", _title(field.name), say(getattr(config.train, field.name)), "text"
    for name in ("steps", "best_epoch", "seconds", "examples_per_second"):
        if name in training:
            yield "Training", _title(name), say(training[name]), "text"
    if "peak_memory_gb" in manifest:
        yield "Training", "Peak memory", f"{manifest['peak_memory_gb']:.2f} GB", "text"
    yield from _calibration_facts(run)
    for name, version in manifest.get("versions", {}).items():
        yield "Versions", name, version, "text"
    for name in ("base_fingerprint", "adapter_sha256", "config_sha256"):
        if name in manifest:
            yield "Hashes", _title(name.removesuffix("_sha256")), manifest[name], "hash"
    if train.get("sha256"):
        yield "Hashes", "Training table", train["sha256"], "hash"


def _calibration_facts(run: RunContent) -> Iterator[tuple[str, str, str, str]]:
    calibration = run.calibration
    if calibration is None:
        return
    fitted = calibration.fitted_on
    yield "Calibration", "Methods", ", ".join(calibration.methods), "text"
    yield "Calibration", "Temperature", f"{calibration.temperature:.3g}", "text"
    yield "Calibration", "Bias", ", ".join(f"{value:+.3f}" for value in calibration.bias), "text"
    if calibration.threshold is not None:
        yield "Calibration", "Threshold", f"{calibration.threshold:.3f}", "text"
    yield "Calibration", "Fitted on", f"{Path(fitted.source).name}, {fitted.rows:,} rows", "text"
    yield "Calibration", "Why", fitted.reason, "text"


def say(value: Any) -> str:
    """A value as a reader would write it: `none`, `yes`, `1,234`, `0.0005`, `a, b`."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(say, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _title(name: str) -> str:
    """An option's name as a line's: `batch_size` -> `Batch size`."""
    return name.replace("_", " ").capitalize()
