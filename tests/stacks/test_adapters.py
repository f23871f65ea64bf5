"""Adapters on either stack: plain PEFT reads them, they come back, and wrong ones are refused."""

import numpy as np
import peft
import pytest
import torch
import transformers

from kerastune.adapter import read_adapter, write_adapter
from kerastune.adapter_card import AdapterCard
from kerastune.config import LoraSpec, TrainSpec
from kerastune.errors import AdapterError, ConfigError
from kerastune.lora import Factors


def card(**changes) -> AdapterCard:
    values = {
        "base_id": "tiny", "model": "tiny", "base_fingerprint": "f", "tokenizer_fingerprint": "t",
        "task": "review-sentiment", "template": "x", "prompt": "{comment}", "completion": "{label}",
        "labels": (0, 1), "label_words": ("a", "b"), "max_length": 64, "layout": "peft", "version": "0",
    }  # fmt: skip
    return AdapterCard(**(values | changes))


@pytest.mark.parametrize("layout", ["peft", "native"])
def test_plain_peft_loads_the_adapter_and_computes_the_same(
    make_stack, encodings, batch, tiny_model, tmp_path, layout
):
    stack = make_stack()
    stack.add_lora(LoraSpec(rank=3, alpha=6, targets=("all",), layout=layout), seed=2)
    stack.start_training(TrainSpec())
    for _ in range(4):
        stack.train_step((batch,), 3e-2)
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
