"""Parameters out of a config, against public totals, small checkpoints, transformers and PEFT."""

import math

import pytest
from safetensors import safe_open

from kerastune.config import LoraSpec, ModelSpec
from kerastune.errors import ModelError
from kerastune.models import resolve_model
from kerastune.planning import Shape, find_shape, known_shape
from kerastune.stack import load_stack
from tests.tiny_models import ARCHITECTURES

TOTALS = {
    "google/gemma-2b": 2_506_172_416,
    "google/gemma-7b-it": 8_537_680_896,
    "google/gemma-2-2b": 2_614_341_888,
    "google/gemma-2-9b-it": 9_241_705_984,
    "google/gemma-2-27b": 27_227_128_320,
    "gemma3-270m": 268_098_176,
    "google/gemma-3-1b-pt": 999_885_952,
    # of the whole model less its image part: 4,300,079,472 - 419,816,304 and so on
    "google/gemma-3-4b-it": 3_880_263_168,
    "google/gemma-3-12b-pt": 11_766_034_176,
    "google/gemma-3-27b-it": 27_009_346_304,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-2-13b-chat-hf": 13_015_864_320,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "meta-llama/Meta-Llama-3-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Meta-Llama-3-70B": 70_553_706_496,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B": 1_711_376_384,
    "Qwen/Qwen2-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2-7B": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen2.5-32B-Instruct": 32_763_876_352,
    "Qwen/Qwen3-0.6B-Base": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
    # KerasHub's presets
    "gemma_instruct_2b_en": 2_506_172_416,
    "gemma2_instruct_9b_en": 9_241_705_984,
    "llama3_instruct_8b_en": 8_030_261_248,
    "mistral_0.2_instruct_7b_en": 7_241_732_096,
}


@pytest.mark.parametrize(("name", "total"), TOTALS.items())
def test_public_totals(name, total):
    shape = known_shape(name)
    assert shape is not None
    assert shape.parameters == total


@pytest.mark.parametrize("name", ["google/gemma-2-2b-jpn-it", "someone/llama-3-8b-vision", "gemma", ""])
def test_other_models_are_not_taken_for_a_known_one(name):
    assert known_shape(name) is None


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parameters_of_checkpoints(make_tiny_model, architecture):
    files = make_tiny_model(architecture=architecture)
    with safe_open(files.path / "model.safetensors", framework="np") as tensors:
        count = sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    shape, dtype = find_shape(str(files.path))
    assert (shape.parameters, dtype) == (count, "float32")


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("targets", [("all",), ("query", "value"), ("o_proj", "down_proj")])
@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        *((name, {}) for name in ("gemma2", "gemma3", "qwen2", "qwen3", "mistral")),
        ("llama3", {"attention_bias": True, "mlp_bias": True}),
    ],
)
def test_transformers_and_peft_count_alike(make_tiny_model, architecture, changes, targets, dora):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    lora = LoraSpec(rank=3, targets=targets, dora=dora)
    config = {**make_tiny_model(architecture=architecture).config, **changes}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
        base = sum(parameter.numel() for parameter in model.parameters())
        names = {"all": list(Shape.of_config(config).linear), "query": ["q_proj"], "value": ["v_proj"]}
        chosen = [module for target in targets for module in names.get(target, [target])]
        adapted = get_peft_model(model, LoraConfig(r=3, target_modules=chosen, use_dora=dora))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    shape = Shape.of_config(config)
    assert (shape.parameters, shape.trainable(lora)) == (base, trained)


@pytest.mark.parametrize("architecture", ["gemma3", "llama3"])
def test_keras_counts_alike_in_its_native_layout(make_tiny_model, architecture):
    files = make_tiny_model(architecture=architecture)
    stack = load_stack(ModelSpec(dtype="float32"), files)
    lora = LoraSpec(rank=3, layout="native")
    stack.add_lora(lora, seed=0)
    shape = Shape.of_config(files.config)
    assert (shape.parameters, shape.trainable(lora, "keras")) == (stack.info.parameters, stack.info.trainable)
    assert shape.trainable(lora, "hf") != stack.info.trainable


def test_gemma_2b_in_both_layouts():
    shape = known_shape("google/gemma-2b")
    peft, native = (LoraSpec(rank=4, targets=("query", "value"), layout=name) for name in ("peft", "native"))
    assert shape.trainable(peft, "keras") == 460_800
    assert shape.trainable(native, "keras") == 1_363_968


def test_a_keras_preset_is_the_same_shape():
    preset = {
        "vocabulary_size": 256_000, "num_layers": 18, "num_query_heads": 8, "num_key_value_heads": 1,
        "hidden_dim": 2048, "intermediate_dim": 32_768, "head_dim": 256,
    }  # fmt: skip
    assert Shape.of_config({"class_name": "GemmaBackbone", "config": preset}) == known_shape("gemma_2b_en")
    mixed = preset | {
        "num_layers": 26, "hidden_dim": 2304, "intermediate_dim": 18_432, "num_key_value_heads": 4,
        "use_post_ffw_norm": True,
    }  # fmt: skip
    assert Shape.of_config({"class_name": "GemmaBackbone", "config": mixed}) == known_shape("gemma2_2b_en")


def test_the_text_model_of_one_that_reads_images():
    text = {
        "vocab_size": 262_208, "hidden_size": 2560, "num_hidden_layers": 34, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 256, "intermediate_size": 10_240,
    }  # fmt: skip
    assert Shape.of_config({"model_type": "gemma3", "text_config": text}) == known_shape(
        "google/gemma-3-4b-it"
    )


def test_what_is_not_known_is_refused():
    with pytest.raises(ModelError, match=r"m: expected a model of the types gemma, .* received 'bert'"):
        Shape.of_config({"model_type": "bert"}, "m")
    with pytest.raises(ModelError, match="has no 'hidden_size'"):
        Shape.of_config({"model_type": "llama", "num_attention_heads": 2}, "m")
    with pytest.raises(ModelError, match="unknown model 'nothing-7b'"):
        find_shape("nothing-7b")
    with pytest.raises(ModelError, match="there is no such file"):
        find_shape("nothing.gguf")


@pytest.mark.real_model
def test_the_packaged_model():
    shape, dtype = find_shape("gemma3-270m")
    files = resolve_model("gemma3-270m")
    assert Shape.of_config(files.config) == shape
    with safe_open(files.path / "model.safetensors", framework="np") as tensors:
        count = sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    assert (shape.parameters, dtype) == (count, "float32")
