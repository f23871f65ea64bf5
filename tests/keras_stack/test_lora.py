"""LoRA on the Keras stack: geometry, counts, and the same numbers as Keras' own enable_lora."""

import keras
import keras_hub
import numpy as np
import pytest

from kerastune.config import LoraSpec, ModelSpec
from kerastune.keras_stack import KerasStack
from kerastune.keras_stack.geometry import Geometry
from kerastune.keras_stack.lora import adaptable_layers, add_lora

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


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


def test_every_target_name_of_either_stack_is_found(tiny_model):
    backbone = KerasStack(ModelSpec(), tiny_model)._backbone
    modules = adaptable_layers(backbone)
    assert len(modules) == 2 * len(ALL)
    assert {module.rsplit(".", 1)[1] for module in modules} == set(ALL)
    geometry = Geometry.of(modules["model.layers.0.self_attn.q_proj"])
    assert (geometry.contracted, geometry.produced, geometry.heads) == ("d", "nh", 4)
