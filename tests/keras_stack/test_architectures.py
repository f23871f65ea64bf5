"""Every architecture on the Keras stack: the numbers of transformers, from the same folder."""

import json
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from kerastune.batching import Batch, make_batch
from kerastune.config import LoraSpec, ModelSpec
from kerastune.decoding import GenerationSpec, answers
from kerastune.encoding import Encoded
from kerastune.errors import ModelError
from kerastune.keras_stack import KerasStack
from kerastune.models import ModelFiles, resolve_model
from kerastune.targets import canonical_targets, module_path
from tests.tiny_models import ARCHITECTURES

LINEAR = {"rope_type": "linear", "factor": 4.0}
OLD_ROPE = {"rope_parameters": None, "rope_theta": 3000.0}  # as transformers 4 wrote it
OLD_LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
CHANGES = [
    *((name, {"rms_norm_eps": 1e-3}) for name in ARCHITECTURES),
    ("gemma2", {"query_pre_attn_scalar": 8, "layer_types": ["full_attention", "sliding_attention"]}),
    ("gemma3", {"query_pre_attn_scalar": 8, "layer_types": None, "sliding_window_pattern": 2}),
    (
        "gemma3",
        {
            "rope_parameters": {
                "full_attention": LINEAR | {"rope_theta": 2e5},
                "sliding_attention": {"rope_type": "default", "rope_theta": 2e3},
            }
        },
    ),
    ("gemma3", OLD_ROPE | {"rope_local_base_freq": 2e3, "rope_scaling": LINEAR}),
    ("gemma", {"hidden_act": "gelu", "rope_parameters": None}),
    ("llama3", OLD_ROPE | {"rope_scaling": OLD_LLAMA3}),
    ("tinyllama", {"rope_parameters": None, "head_dim": None}),
    ("qwen2", {"tie_word_embeddings": False, "rope_parameters": LINEAR | {"rope_theta": 3e3}}),
    ("qwen3", OLD_ROPE | {"tie_word_embeddings": True, "rope_scaling": {"type": "linear", "factor": 4.0}}),
    ("mistral", {"sliding_window": None, "head_dim": None}),
    ("mistral", {"tie_word_embeddings": True}),
]
WINDOW = {"use_sliding_window": True, "sliding_window": 3, "layer_types": None, "max_window_layers": 1}
LENGTHS = (20, 13, 2)


@pytest.fixture
def batch() -> Batch:
    """Random rows of three lengths, whose last three tokens, or one, are the answer."""
    draw = np.random.default_rng(0)
    rows = [tuple(map(int, draw.integers(3, 300, length))) for length in LENGTHS]
    split = [max(1, length - 3) for length in LENGTHS]
    examples = [
        Encoded(str(n), row[:at], row[at:]) for n, (row, at) in enumerate(zip(rows, split, strict=True))
    ]
    return make_batch(examples, rows=3, length=24, pad_id=0, answers=3)


def load(files: ModelFiles) -> KerasStack:
    return KerasStack(ModelSpec(dtype="float32"), files)


def load_reference(files: ModelFiles) -> torch.nn.Module:
    model, loaded = transformers.AutoModelForCausalLM.from_pretrained(
        files.path, dtype=torch.float32, output_loading_info=True
    )
    assert not any(loaded.values()), loaded
    return model.eval()


def reference_logits(model: torch.nn.Module, batch: Batch) -> np.ndarray:
    ids, mask = (torch.tensor(array).long() for array in (batch.token_ids, batch.padding_mask))
    with torch.no_grad():
        return model(ids, attention_mask=mask).logits.numpy()


def assert_equal_logits(found: np.ndarray, expected: np.ndarray, batch: Batch) -> None:
    found, expected = found[batch.padding_mask], expected[batch.padding_mask]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_architecture_computes_what_transformers_does(make_tiny_model, batch, architecture):
    files = make_tiny_model(architecture=architecture)
    stack, reference = load(files), load_reference(files)
    expected = reference_logits(reference, batch)
    assert_equal_logits(stack.logits(batch), expected, batch)

    log_probabilities = torch.log_softmax(torch.tensor(expected), dim=-1).numpy()
    at_answers = np.take_along_axis(log_probabilities, batch.answer_positions[:, :, None], axis=1)
    losses = -np.take_along_axis(at_answers, batch.answer_ids[:, :, None], axis=2)[:, :, 0]
    np.testing.assert_allclose(stack.token_losses(batch), losses * batch.answer_weights, rtol=2e-5, atol=2e-5)

    last = expected[np.arange(len(LENGTHS)), np.array(LENGTHS) - 1]
    found = stack.label_logits(batch, [7, 299, 41])
    np.testing.assert_allclose(found, last[:, [7, 299, 41]], rtol=1e-4, atol=1e-5)

    # An adapter on every linear layer, beside a reference with the same update in its weights.
    stack.add_lora(LoraSpec(rank=2, alpha=3, targets=("all",)), seed=0)
    draw = np.random.default_rng(1)
    factors = {
        module: replace(update, b=0.3 * draw.standard_normal(update.b.shape).astype(np.float32))
        for module, update in stack.get_adapter().items()
    }
    layers = range(files.config["num_hidden_layers"])
    assert set(factors) == {
        module_path(layer, name) for layer in layers for name in canonical_targets(["all"])
    }
    stack.load_adapter(factors)
    for module, update in factors.items():
        reference.get_submodule(module).weight.data += torch.tensor(1.5 * update.b @ update.a)
    adapted = reference_logits(reference, batch)
    assert np.abs(adapted - expected).max() > 0.1
    assert_equal_logits(stack.logits(batch), adapted, batch)


@pytest.mark.parametrize(("architecture", "changes"), CHANGES)
def test_every_number_of_a_config_is_honoured(make_tiny_model, batch, architecture, changes):
    files = make_tiny_model(architecture=architecture, **changes)
    assert_equal_logits(load(files).logits(batch), reference_logits(load_reference(files), batch), batch)


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3", "mistral"])
def test_generation_keeps_to_the_window(make_tiny_model, architecture):
    files = make_tiny_model(architecture=architecture)
    prompts = [[2, 17, 230, 41, 9], [2, 55, 6, 7, 130, 201, 77, 12]]
    written = answers(load(files), prompts, GenerationSpec(max_new_tokens=6, stop_ids=(), pad_id=0))
    reference = load_reference(files)
    for prompt, answer in zip(prompts, written, strict=True):
        expected = reference.generate(
            torch.tensor([prompt]), max_new_tokens=6, min_new_tokens=6, do_sample=False, use_cache=False
        )
        assert list(answer.token_ids) == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize("architecture", ["gemma2", "qwen3"])
def test_a_kerashub_preset_computes_the_same(make_tiny_model, batch, tmp_path, architecture):
    # Its files hold no base of RoPE for Gemma; the rest KerasHub does not pass on to its layers here either.
    changes = {"gemma2": {"query_pre_attn_scalar": 8}, "qwen3": {"rms_norm_eps": 1e-3}}[architecture]
    files = make_tiny_model(architecture=architecture, rope_parameters=None, **changes)
    stack = load(files)
    expected = stack.logits(batch)
    stack._backbone.save_to_preset(str(tmp_path))
    preset = resolve_model(str(tmp_path), cache_dir=tmp_path)
    assert preset.layout == "keras"
    assert_equal_logits(load(preset).logits(batch), expected, batch)


def test_weights_come_from_what_transformers_reads(make_tiny_model, batch):
    files = make_tiny_model(architecture="mistral")
    path = files.path / "model.safetensors"
    tensors = {name: value.astype(ml_dtypes.bfloat16) for name, value in load_file(path).items()}
    path.unlink()
    shards = {"model-1.safetensors": "lm_head", "model-2.safetensors": "model"}
    for shard, start in shards.items():
        save_file(
            {n: v for n, v in tensors.items() if n.startswith(start)}, files.path / shard, {"format": "pt"}
        )
    index = {n: s for n in tensors for s, start in shards.items() if n.startswith(start)}
    (files.path / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )
    save_file({"tok_embeddings.weight": np.zeros(1)}, files.path / "consolidated.safetensors")
    assert_equal_logits(load(files).logits(batch), reference_logits(load_reference(files), batch), batch)


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("tinyllama", {"model_type": "phi3"}, "expected one of the model types gemma, .* received 'phi3'"),
        ("tinyllama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "RoPE of type .* 'yarn'"),
        ("tinyllama", {"rope_parameters": LINEAR}, "RoPE of type default or llama3, received 'linear'"),
        ("qwen3", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "RoPE on whole heads, received a"),
        ("qwen2", WINDOW, "expected attention to all tokens, received a sliding window of 3"),
        ("gemma3", {"query_pre_attn_scalar": 9}, "expected query_pre_attn_scalar 16 or 8, received 9"),
        ("gemma3", {"use_bidirectional_attention": True}, "expected causal attention"),
        ("mistral", {"hidden_act": "gelu"}, "expected the activation silu, received 'gelu'"),
        ("llama3-tied", {"num_key_value_heads": 4}, "expected the shape"),
    ],
)  # fmt: skip
def test_what_kerashub_would_compute_otherwise_is_refused_in_a_line(
    make_tiny_model, architecture, changes, message
):
    files = make_tiny_model(architecture=architecture)
    config = json.dumps(dict(files.config) | changes)
    (files.path / "config.json").write_text(config)
    with pytest.raises(ModelError, match=message) as caught:
        load(resolve_model(str(files.path), cache_dir=files.cache_dir))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "changes", "name", "message"),
    [
        (
            "tinyllama",
            {},
            "model.layers.1.self_attn.q_proj.bias",
            "has no place for 1 of its weights, such as",
        ),
        (
            "gemma",
            {"tie_word_embeddings": False},
            None,
            "no place for 1 of its weights, such as lm_head.weight",
        ),
        ("qwen2", {}, "model.layers.0.self_attn.k_proj.bias", "expected the weight .*, received none"),
    ],
)
def test_weights_that_do_not_fit_are_refused(make_tiny_model, architecture, changes, name, message):
    files = make_tiny_model(architecture=architecture, **changes)
    tensors = load_file(files.path / "model.safetensors")
    if name and tensors.pop(name, None) is None:
        tensors[name] = np.zeros(32, np.float32)
    save_file(tensors, files.path / "model.safetensors")
    with pytest.raises(ModelError, match=message):
        load(files)


def test_a_size_that_is_not_there_is_named(make_tiny_model):
    files = make_tiny_model(architecture="qwen3")
    config = {key: value for key, value in files.config.items() if key != "hidden_size"}
    (files.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"no 'hidden_size' in its config\.json"):
        load(resolve_model(str(files.path), cache_dir=files.cache_dir))
