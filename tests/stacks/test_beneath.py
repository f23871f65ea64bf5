"""An adapter that is part of the base, and another on top of it."""

from dataclasses import replace

import numpy as np
import pytest

from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.errors import AdapterError, ConfigError
from kerastune.lora import Factors
from kerastune.merging import open_plainly
from kerastune.stack import load_stack
from tests.tiny_models import PRESET_GEMMA3

BELOW = LoraSpec(rank=2, alpha=6, targets=("query", "ffw_linear"))
ABOVE = LoraSpec(rank=3, targets=("query", "value"))


def test_the_base_with_an_adapter_is_what_the_next_one_goes_on(make_stack, trained_factors, batch):
    stack = make_stack()
    bare = stack.token_losses(batch)
    stack.add_lora(BELOW, seed=1)
    below = trained_factors(stack)
    stack.load_adapter(below)
    with_one = stack.token_losses(batch)
    assert np.abs(with_one - bare).max() > 0.01

    stack.add_to_base(below)
    np.testing.assert_allclose(stack.token_losses(batch), with_one, atol=1e-5)
    stack.add_lora(ABOVE, seed=2)
    np.testing.assert_allclose(stack.token_losses(batch), with_one, atol=1e-5)
    assert {name.rsplit(".", 1)[1] for name in stack.get_adapter()} == {"q_proj", "v_proj"}
    assert stack.info.trainable == sum(one.a.size + one.b.size for one in stack.get_adapter().values())

    stack.start_training(TrainSpec())
    for _ in range(3):
        stack.train_step((batch,), 3e-2)
    with_both = stack.token_losses(batch)
    above = stack.get_adapter()
    assert with_both.sum() < with_one.sum()
    stack.remove_adapter()
    np.testing.assert_allclose(stack.token_losses(batch), with_one, atol=1e-5)
    stack.load_adapter(above)
    np.testing.assert_allclose(stack.token_losses(batch), with_both, atol=1e-5)


def test_saving_merges_both(trained_factors, batch, tmp_path, stack_name, make_tiny_model):
    spec = ModelSpec(stack=stack_name, dtype="float32")
    files = make_tiny_model(**PRESET_GEMMA3)
    stack = load_stack(spec, files)
    stack.add_lora(BELOW, seed=1)
    stack.add_to_base(trained_factors(stack))
    stack.add_lora(ABOVE, seed=2)
    stack.load_adapter(trained_factors(stack))
    expected = stack.logits(batch)
    stack.save_merged(tmp_path, "float32")
    found = open_plainly(spec, replace(files, name="merged"), tmp_path).logits(batch)
    real = batch.padding_mask
    assert np.abs(found[real] - expected[real]).max() < 1e-4 * np.abs(expected[real]).max()


def test_dora_goes_neither_beneath_nor_on_top(make_stack, trained_factors, stack_name):
    stack = make_stack()
    stack.add_lora(BELOW, seed=1)
    below = trained_factors(stack)
    scaled = {
        name: Factors(a=one.a, b=one.b, alpha=one.alpha, magnitude=np.ones(len(one.b), np.float32))
        for name, one in below.items()
    }
    with pytest.raises(AdapterError, match="DoRA"):
        stack.add_to_base(scaled)
    if stack_name == "hf":
        stack.add_to_base(below)
        with pytest.raises(ConfigError, match="merge what is beneath first"):
            stack.add_lora(LoraSpec(dora=True), seed=0)
        with pytest.raises(AdapterError, match="merge what is beneath first"):
            stack.load_adapter(scaled)
