"""One table of layer names for both stacks."""

import pytest

from kerastune.errors import ConfigError
from kerastune.targets import KERAS_TO_HF, canonical_targets, module_path

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.mark.parametrize(
    ("keras", "hf"),
    [
        ("query", "q_proj"),
        ("key", "k_proj"),
        ("value", "v_proj"),
        ("attention_output", "o_proj"),
        ("ffw_gating", "gate_proj"),
        ("ffw_gating_2", "up_proj"),
        ("ffw_linear", "down_proj"),
        ("feedforward_gate_dense", "gate_proj"),
        ("feedforward_intermediate_dense", "up_proj"),
        ("feedforward_output_dense", "down_proj"),
    ],
)
def test_either_name_is_the_same_layer(keras, hf):
    assert KERAS_TO_HF[keras] == hf
    assert canonical_targets([keras]) == canonical_targets([hf, keras]) == (hf,)


def test_all_and_the_order():
    assert canonical_targets(["all"]) == canonical_targets(reversed(ALL)) == ALL


@pytest.mark.parametrize(
    ("name", "hint"),
    [("valeu", "did you mean 'value'"), ("Query", "did you mean 'query'"), ("zz", "there are: all, query")],
)
def test_unknown_names(name, hint):
    with pytest.raises(ConfigError, match=f"no layer '{name}' can be adapted; {hint}"):
        canonical_targets(["query", name])


def test_paths():
    assert module_path(0, "q_proj") == "model.layers.0.self_attn.q_proj"
    assert module_path(11, "down_proj") == "model.layers.11.mlp.down_proj"
