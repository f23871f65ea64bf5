"""A GGUF file that was exported is the model that it was made of, as llama.cpp would read it."""

import json
import shutil

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kerastune.errors import ConfigError, ModelError, OutputError
from kerastune.exporting import export
from kerastune.merging import merge
from kerastune.models.byte_level import byte_alphabet, byte_level_parts
from kerastune.models.gguf_reader import read_gguf

# What a file can say of each family; the fixtures' own numbers are none of the defaults.
CHANGES = {"mistral": {"sliding_window": 512}}


@pytest.mark.parametrize(
    "architecture",
    ["gemma", "gemma2", "gemma3", "tinyllama", "llama3", "llama3-tied", "qwen2", "qwen3", "mistral"],
)
def test_small_models_compute_the_same(make_tiny_model, tmp_path, architecture):
    files = make_tiny_model(5, architecture, **CHANGES.get(architecture, {}))
    done = export(str(files.path), tmp_path / "model.gguf")
    assert (done.kind, done.rows, done.notes) == ("f16", 8, ())
    assert 0 < done.relative < 5e-3
    assert done.size == (tmp_path / "model.gguf").stat().st_size
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]


def test_q8_0_is_coarser_and_smaller(make_tiny_model, tmp_path):
    files = make_tiny_model(5, "tinyllama")
    half, eighth = (export(str(files.path), tmp_path / kind, gguf=kind) for kind in ("f16", "q8_0"))
    assert half.relative < eighth.relative < 5e-2
    assert eighth.size < half.size
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "q8_0").tensors}
    assert kinds["blk.0.attn_q.weight"] == "Q8_0"
    assert kinds["blk.0.ffn_down.weight"] == "F16"  # 48 columns are no whole blocks of 32
    assert kinds["blk.0.attn_norm.weight"] == "F32"


def test_a_run_is_merged_first(tiny_run, reviews_file, tmp_path):
    done = export(str(tiny_run.folder), tmp_path / "run.gguf")
    merge(tiny_run.folder, tmp_path / "merged", dtype="float32", input=reviews_file)
    again = export(str(tmp_path / "merged"), tmp_path / "merged.gguf")
    assert done.relative == again.relative
    files = {name: read_gguf(tmp_path / f"{name}.gguf") for name in ("run", "merged")}
    for name in files["run"].tensors:
        np.testing.assert_array_equal(files["run"].array(name), files["merged"].array(name))


def test_a_shorter_context_than_a_mistrals_is_said(make_tiny_model, tmp_path):
    """llama.cpp attends to all tokens of a Mistral, so that only as many may be as its window holds."""
    files = make_tiny_model(5, "mistral", sliding_window=256)
    done = export(str(files.path), tmp_path / "model.gguf")
    assert done.notes == ("the context is 256 tokens, not 512: llama.cpp has no window for a Mistral",)
    assert read_gguf(tmp_path / "model.gguf").metadata["llama.context_length"] == 256


def test_the_chat_template_and_byte_level_merges_come_along(make_tiny_model, tmp_path):
    files = make_tiny_model(5, "qwen2")
    alphabet = sorted(byte_alphabet())
    merges = ["ë ĭ", "ëĭ ¤", "a b"]
    vocabulary = {token: n for n, token in enumerate([*alphabet, "ëĭ", "ëĭ¤", "ab", "<|im_end|>"])}
    content = {
        "version": "1.0",
        "added_tokens": [
            {"id": vocabulary["<|im_end|>"], "content": "<|im_end|>", "special": True, "normalized": False,
             "single_word": False, "lstrip": False, "rstrip": False}
        ],
        **byte_level_parts("qwen2", vocabulary, merges),
        "post_processor": None,
    }  # fmt: skip
    (files.path / "tokenizer.json").write_text(json.dumps(content))
    settings = {"eos_token": "<|im_end|>", "chat_template": "{{ messages[0].content }}"}
    (files.path / "tokenizer_config.json").write_text(json.dumps(settings))
    (files.path / "config.json").write_text(
        json.dumps({**files.config, "eos_token_id": None, "bos_token_id": None})
    )
    export(str(files.path), tmp_path / "model.gguf")
    metadata = read_gguf(tmp_path / "model.gguf").metadata
    assert metadata["tokenizer.ggml.model"] == "gpt2"
    assert metadata["tokenizer.ggml.pre"] == "qwen2"
    assert metadata["tokenizer.ggml.merges"] == merges
    assert metadata["tokenizer.ggml.tokens"][256:261] == ["ëĭ", "ëĭ¤", "ab", "<|im_end|>", "[PAD260]"]
    assert metadata["tokenizer.ggml.token_type"][256:261].tolist() == [1, 1, 1, 3, 5]
    assert not metadata["tokenizer.ggml.add_bos_token"]
    assert metadata["tokenizer.ggml.eot_token_id"] == 259
    assert metadata["tokenizer.chat_template"] == "{{ messages[0].content }}"


def test_what_gguf_cannot_hold_is_refused(make_tiny_model, tmp_path):
    def said(source, **options):
        with pytest.raises((ConfigError, ModelError, OutputError)) as caught:
            export(str(source), options.pop("out", tmp_path / "model.gguf"), **options)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "model.gguf").exists()
        return str(caught.value)

    files = make_tiny_model(5, "gemma2", query_pre_attn_scalar=8)
    assert "expected query_pre_attn_scalar 16, which llama.cpp takes, received 8" in said(files.path)
    files = make_tiny_model(5, "tinyllama", rope_parameters={"rope_type": "yarn", "factor": 2.0})
    assert "expected RoPE of type default or linear or llama3, received 'yarn'" in said(files.path)
    files = make_tiny_model(5, "gemma3", model_type="mamba")
    assert "for GGUF, received 'mamba'" in said(files.path)
    assert "gguf: expected f16 or q8_0, received 'q4'" in said(files.path, gguf="q4")
    assert "is a model itself, so that no base is to be named" in said(files.path, model="gemma3-270m")
    assert "is a folder; expected the name of a file" in said(files.path, out=tmp_path)
    assert "unknown model 'gema3-270m' (did you mean gemma3-270m" in said("gema3-270m")
    files = make_tiny_model(5, "gemma3")
    large = shutil.copytree(files.path, tmp_path / "large")
    weights = load_file(large / "model.safetensors")
    weights["model.embed_tokens.weight"][7, 7] = 1e6
    save_file(weights, large / "model.safetensors", metadata={"format": "pt"})
    assert said(large) == "token_embd.weight: holds 1e+06, which float16 cannot; use --gguf q8_0"
    assert [file.name for file in tmp_path.iterdir()] == ["large"]


@pytest.mark.real_model
def test_the_packaged_gemma_comes_back(tmp_path):
    done = export("gemma3-270m", tmp_path / "gemma.gguf")
    assert done.relative < 1e-2
    assert done.same_token == 1
