"""What is imported before anything is asked for: nothing heavy."""

import subprocess
import sys

import pytest

HEAVY = {
    "datasets", "gguf", "huggingface_hub", "jax", "keras", "keras_hub", "peft", "pyarrow", "safetensors",
    "sentencepiece", "sklearn", "tensorflow", "tokenizers", "torch", "transformers", "trl",
}  # fmt: skip
SHARED = [
    "baselines",
    "batching",
    "config",
    "dataset",
    "encoding",
    "evaluation",
    "row_preview",
    "submission",
    "task",
]


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in answer.stdout.split()}


def test_the_package_is_light():
    assert not loaded_by("import kerastune") & (HEAVY | {"pandas", "rich"})


def test_the_shared_layer_knows_no_framework():
    # pandas looks for pyarrow by itself
    loaded = loaded_by("; ".join(f"import kerastune.{name}" for name in SHARED))
    assert not loaded & (HEAVY - {"pyarrow"})


@pytest.mark.parametrize("name", ["json", "kerastune.errors"])
def test_the_test_sees_what_is_loaded(name):
    assert name.split(".")[0] in loaded_by(f"import {name}")
