"""A model folder written as GGUF, held against what llama.cpp's converter writes of the same model."""

import numpy as np
import pytest

from kerastune.models import resolve_model
from kerastune.models.gguf_reader import read_gguf
from kerastune.models.gguf_writer import write_gguf


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "gemma3", "llama", "llama3", "qwen2", "qwen3"])
def test_a_written_file_is_the_converters(kind, gguf_model, tmp_path):
    """The fixture writes GGUF as llama.cpp's converter does, from transformers' own model."""
    made = gguf_model(kind)
    files = resolve_model(str(made.path), cache_dir=tmp_path)
    write_gguf(files, tmp_path / "again.gguf", "f16", "{{ messages }}")
    first, again = read_gguf(made.path), read_gguf(tmp_path / "again.gguf")
    assert set(again.tensors) == set(first.tensors)
    for name in first.tensors:
        expected = first.array(name)
        expected = expected.astype(np.float16).astype(np.float32) if expected.ndim > 1 else expected
        np.testing.assert_allclose(again.array(name), expected, rtol=1e-6, atol=2e-7, err_msg=name)
    assert set(first.metadata) <= set(again.metadata)
    first.metadata["tokenizer.ggml.token_type"] = first.metadata["tokenizer.ggml.token_type"].copy()
    first.metadata["tokenizer.ggml.token_type"][3] = 2  # <unk>, which the fixture calls a control token
    for key in first.metadata:
        np.testing.assert_array_equal(again.metadata[key], first.metadata[key], err_msg=key)
    assert again.metadata["tokenizer.chat_template"] == "{{ messages }}"
    assert again.metadata["tokenizer.ggml.add_bos_token"]
