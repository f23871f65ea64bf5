"""LoRA on the Keras stack: geometry, counts, and the same numbers as PEFT and as Keras' own enable_lora."""

import keras
import keras_hub
import numpy as np
import peft
import pytest
import torch
import transformers

from kerastune.adapter import AdapterCard, read_adapter, write_adapter
from kerastune.config import LoraSpec
from kerastune.errors import AdapterError, ConfigError
from kerastune.keras_stack.lora import Geometry, adaptable_layers, add_lora
from kerastune.lora import Factors

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def card(**changes) -> AdapterCard:
    values = {
        "base_id": "tiny", "model": "tiny", "base_fingerprint": "f", "tokenizer_fingerprint": "t",
        "task": "review-sentiment", "template": "x", "prompt": "{comment}", "completion": "{label}",
        "labels": (0, 1), "label_words": ("a", "b"), "max_length": 64, "layout": "peft", "version": "0",
    }  # fmt: skip
    return AdapterCard(**(values | changes))


@pytest.mark.parametrize(("layout", "count"), [("native", 1_363_968), ("peft", 460_800)])
def test_gemma_2b_at_rank_4_has_the_known_number_of_trainable_parameters(layout, count):
    # Gemma 2B's attention; what no adapter touches (vocabulary, feed-forward) is small.
    backbone = keras_hub.models.GemmaBackbone(
        vocabulary_size=8, num_layers=18, num_query_heads=8, num_key_value_heads=1, hidden_dim=2048,
        intermediate_dim=8, head_dim=256, dtype="bfloat16",
    )  # fmt: skip
    backbone.trainable = False
    add_lora(backbone, LoraSpec(rank=4, targets=("query", "value"), layout=layout), seed=0)
    assert sum(int(np.prod(variable.shape)) for variable in backbone.trainable_variables) == 0
    backbone._trainable = True  # the flag of the whole alone, not of its parts
    assert sum(int(np.prod(variable.shape)) for variable in backbone.trainable_variables) == count


@pytest.mark.parametrize("layout", ["peft", "native"])
def test_plain_peft_loads_the_adapter_and_computes_the_same(
    make_stack, trained_factors, encodings, batch, tiny_model, tmp_path, layout
):
    stack = make_stack()
    stack.add_lora(LoraSpec(rank=3, alpha=6, targets=("all",), layout=layout), seed=2)
    if layout == "native":
        draw = np.random.default_rng(1)
        for lora in stack._adapters.values():
            lora.b.assign(0.2 * draw.standard_normal(lora.b.shape))
    else:
        stack.load_adapter(trained_factors(stack))
    write_adapter(tmp_path / "adapter", stack.get_adapter(), card())
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    losses = stack.token_losses(batch)
    for row, example in enumerate(encodings.examples):
        ids = torch.tensor([example.prompt_ids + example.completion_ids])
        with torch.no_grad():
            logits = model(ids).logits[0, len(example.prompt_ids) - 1 : -1]
        expected = torch.nn.functional.cross_entropy(
            logits, torch.tensor(example.completion_ids), reduction="none"
        )
        np.testing.assert_allclose(losses[row, : len(expected)], expected, rtol=5e-5, atol=5e-5)


def test_native_is_what_enable_lora_computes():
    inputs = np.random.default_rng(0).standard_normal((2, 5, 16)).astype(np.float32)
    ours, theirs = (keras.layers.EinsumDense("btd,ndh->btnh", (None, 3, 4), name="query") for _ in range(2))
    for layer in (ours, theirs):
        layer.build((None, None, 16))
    theirs.set_weights(ours.get_weights())
    from kerastune.keras_stack.lora import LoraLayer

    lora = LoraLayer(ours, "model.layers.0.self_attn.q_proj", LoraSpec(rank=2, alpha=5, layout="native"), 0)
    lora.b.assign(np.random.default_rng(1).standard_normal((2, 4)))
    theirs.enable_lora(2, lora_alpha=5)
    theirs.lora_kernel_a.assign(lora.a)
    theirs.lora_kernel_b.assign(lora.b)
    np.testing.assert_allclose(np.asarray(ours(inputs)), np.asarray(theirs(inputs)), atol=1e-5)


def test_small_updates_survive_a_bfloat16_base():
    layer = keras.layers.Dense(4, use_bias=False, dtype="bfloat16", name="query")
    layer.build((None, 8))
    layer.kernel.assign(np.ones((8, 4)))
    from kerastune.keras_stack.lora import LoraLayer

    lora = LoraLayer(layer, "m", LoraSpec(rank=1), 0)
    inputs = np.array([[1.0, -1.0, 0, 0, 0, 0, 0, 0]])
    lora.a.assign([[1.0]] + [[0.0]] * 7)
    lora.b.assign(np.full((1, 4), 2e-3))
    # On the kernel the update would round away: bfloat16 has no number between 1 and 1.0078.
    np.testing.assert_allclose(np.asarray(layer(inputs)).astype(np.float32), 2e-3, rtol=1e-2)


def test_every_target_name_of_either_stack_is_found(make_stack):
    backbone = make_stack()._backbone
    modules = adaptable_layers(backbone)
    assert len(modules) == 2 * len(ALL)
    assert {module.rsplit(".", 1)[1] for module in modules} == set(ALL)
    geometry = Geometry.of(modules["model.layers.0.self_attn.q_proj"])
    assert (geometry.contracted, geometry.produced, geometry.heads) == ("d", "nh", 4)


@pytest.mark.parametrize(
    ("targets", "message"),
    [(("q_prog",), "did you mean 'q_proj'"), (("quary",), "did you mean 'query'"), (("embed",), "there are")],
)
def test_an_unknown_target_is_refused_with_the_near_name(make_stack, targets, message):
    with pytest.raises(ConfigError, match=message):
        make_stack().add_lora(LoraSpec(targets=targets), seed=0)


@pytest.mark.parametrize("layout", ["peft", "native"])
def test_an_adapter_comes_back_with_the_same_scores(make_stack, batch, tmp_path, layout):
    spec = LoraSpec(rank=2, targets=("all",), layout=layout)
    first, second = make_stack(), make_stack()
    first.add_lora(spec, seed=2)
    from kerastune.config import TrainSpec

    first.start_training(TrainSpec())
    for _ in range(3):
        first.train_step((batch,), 3e-2)
    write_adapter(tmp_path / "adapter", first.get_adapter(), card(layout=layout))
    factors, read = read_adapter(tmp_path / "adapter")
    assert read == card(layout=layout)
    second.add_lora(spec, seed=99)  # another adapter, which makes room
    before = second.label_logits(batch, [4, 5])
    second.load_adapter(factors)
    after = second.label_logits(batch, [4, 5])
    np.testing.assert_allclose(after, first.label_logits(batch, [4, 5]), atol=1e-6)
    assert np.abs(after - before).max() > 1e-3


def test_an_adapter_of_other_modules_or_rank_is_refused(make_stack):
    stack = make_stack()
    stack.add_lora(LoraSpec(rank=2), seed=2)
    factors = stack.get_adapter()
    with pytest.raises(AdapterError, match=r"missing \['model.layers.0"):
        stack.load_adapter(dict(list(factors.items())[1:]))
    with pytest.raises(AdapterError, match=r"unexpected \['model.layers.9"):
        stack.load_adapter({**factors, "model.layers.9.self_attn.q_proj": next(iter(factors.values()))})
    wide = {
        module: Factors(np.hstack([update.a] * 2), update.b, update.alpha)
        for module, update in factors.items()
    }
    with pytest.raises(AdapterError, match="expected A of shape"):
        stack.load_adapter(wide)


def test_a_base_without_its_adapter_is_the_base_again(make_stack, batch, trained_factors):
    stack = make_stack()
    before = stack.label_logits(batch, [4, 5])
    stack.add_lora(LoraSpec(rank=2, targets=("all",), dropout=0.1), seed=2)
    stack.load_adapter(trained_factors(stack))
    assert np.abs(stack.label_logits(batch, [4, 5]) - before).max() > 1e-3
    stack.add_lora(LoraSpec(rank=3), seed=2)  # B is zero
    np.testing.assert_array_equal(stack.label_logits(batch, [4, 5]), before)
