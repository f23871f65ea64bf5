"""A float32 checkpoint in bfloat16: what transformers loads, weight by weight, in any number of pieces."""

import json
import struct

import pytest
import torch
import transformers

from hf_bridge import reading
from hf_bridge.loading import load_model
from kerastune.errors import ModelError


@pytest.mark.parametrize("piece", [100, reading._PIECE])
@pytest.mark.parametrize("architecture", ["gemma3", "tinyllama", "qwen2"])
def test_the_weights_are_those_that_transformers_rounds(make_tiny_model, monkeypatch, piece, architecture):
    monkeypatch.setattr(reading, "_PIECE", piece)
    files = make_tiny_model(architecture=architecture)
    expected = transformers.AutoModelForCausalLM.from_pretrained(files.path, dtype=torch.bfloat16)
    found = load_model(files, "bfloat16").model
    assert type(found) is type(expected)
    assert found.config.to_dict() == expected.config.to_dict()
    assert found.name_or_path == expected.name_or_path
    weights = found.state_dict()
    assert weights.keys() == expected.state_dict().keys()
    for name, weight in expected.state_dict().items():
        assert weights[name].dtype == weight.dtype, name
        assert torch.equal(weights[name], weight), name
    tied = expected.get_input_embeddings().weight is expected.get_output_embeddings().weight
    assert (found.get_input_embeddings().weight is found.get_output_embeddings().weight) == tied


def test_a_damaged_file_is_said_in_one_line(make_tiny_model):
    files = make_tiny_model(seed=8)
    path = files.path / "model.safetensors"
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"F32"}
    path.write_bytes(whole[:-100])
    try:
        with pytest.raises(ModelError, match=r"transformers cannot load .*; fetch the model again"):
            load_model(files, "bfloat16")
    finally:
        path.write_bytes(whole)
