"""A quantised base under a float32 adapter: near the plain base, trained, saved and loaded again."""

import sys

import numpy as np
import pytest

import kerastune as kt
from kerastune.batching import make_batch
from kerastune.chat.reading import read_dialogues
from kerastune.encoding import Encoded
from kerastune.errors import ConfigError, MissingExtraError
from kerastune.fine_tuning import train
from kerastune.run import Run
from kerastune.stack import load_stack

bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")

# NF4's scales are of 64 weights each, and on CPUs with AVX-512 no block may span two rows.
WIDE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
# How alike a quantised base's logits are to the plain one's at least: the cosine between them. Random weights
# of so narrow a model lose more by rounding than a trained model's.
ALIKE = {("hf", "nf4"): 0.9, ("hf", "int8"): 0.999, ("keras", "int8"): 0.999, ("keras", "int4"): 0.7}


def stack_of(files, stack, quantize=None):
    return load_stack(
        kt.ModelSpec(model=str(files.path), stack=stack, dtype="float32", quantize=quantize), files
    )


@pytest.fixture(scope="module")
def plain_logits(chat_model):
    files = chat_model("tinyllama", **WIDE)
    example = Encoded("a", tuple(range(2, 10)), tuple(range(40, 56)))
    batch = make_batch([example], rows=1, length=24, pad_id=0, answers=24, whole_text=True)
    return {stack: stack_of(files, stack).logits(batch) for stack in ("keras", "hf")}, batch


@pytest.mark.parametrize(("stack", "quantize"), ALIKE)
def test_a_quantised_base_is_near_the_plain_one_and_learns(chat_model, plain_logits, stack, quantize):
    files, (plain, batch) = chat_model("tinyllama", **WIDE), plain_logits
    quantised = stack_of(files, stack, quantize)
    assert quantised.info.dtype == f"{quantize}, float32"
    found, expected = quantised.logits(batch), plain[stack]
    cosine = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
    assert ALIKE[stack, quantize] < cosine < 1 - 1e-7, cosine
    quantised.add_lora(kt.LoraSpec(rank=4), seed=0)
    quantised.start_training(kt.TrainSpec())
    losses = [quantised.train_step([batch], 0.01) for _ in range(4)]
    assert losses[-1] < losses[0]
    adapter = quantised.get_adapter()
    assert len(adapter) == 2 * 7
    assert {one.b.dtype for one in adapter.values()} == {np.dtype("float32")}
    assert all(np.abs(one.b).max() > 0 for one in adapter.values())


def test_an_nf4_base_computes_what_its_numbers_say(chat_model, plain_logits):
    """Losses and gradients are a plain base's with the same rounded weights, after an evaluation too."""
    files, (_, batch) = chat_model("tinyllama", **WIDE), plain_logits
    quantised, plain = stack_of(files, "hf", "nf4"), stack_of(files, "hf")
    rounded = 0
    for name, layer in plain._model.named_modules():
        weight = getattr(quantised._model.get_submodule(name), "weight", None)
        if hasattr(weight, "quant_state"):
            layer.weight.data = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
            rounded += 1
    assert rounded == 2 * 7
    found = []
    for stack in (quantised, plain):
        losses = stack.token_losses(batch)
        stack.add_lora(kt.LoraSpec(rank=4, targets=("query",)), seed=0)
        found.append((losses, stack.adapter_gradients(batch)))
    (losses, gradients), (expected_losses, expected) = found
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-3, atol=1e-4)
    for module, one in expected.items():
        assert np.abs(gradients[module].b - one.b).max() < 1e-3 * np.abs(one.b).max(), module


def test_each_stack_names_what_it_has():
    with pytest.raises(
        ConfigError, match="quantize: expected 'int8' or 'int4' on the keras stack, received 'nf4'"
    ):
        kt.ModelSpec(stack="keras", quantize="nf4")
    with pytest.raises(
        ConfigError, match="quantize: expected 'nf4' or 'int8' on the hf stack, received 'int4'"
    ):
        kt.ModelSpec(stack="hf", quantize="int4")


def test_bitsandbytes_missing(chat_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'kerastune\[qlora\]'"):
        stack_of(chat_model("tinyllama", **WIDE), "hf", "nf4")


def test_the_qlora_row_of_the_tables(chat_model, chat_file, tmp_path):
    """Rank 64, alpha 128, all linear layers, accumulation 4, cosine, length 512, on an NF4 base."""
    options = {"rank": 64, "alpha": 128.0, "accumulate": 4, "max_length": 512, "batch_size": 1, "epochs": 2}
    run = train(
        read_dialogues(chat_file),
        out=tmp_path / "run",
        show=False,
        task="chat",
        model=str(chat_model("tinyllama", **WIDE).path),
        stack="hf",
        quantize="nf4",
        **options,
    )
    loaded = Run.load(run.folder)
    assert loaded.config.model.quantize == "nf4"
    adapter = loaded.text_session.stack.get_adapter()
    assert {one.rank for one in adapter.values()} == {64}
    assert {one.alpha for one in adapter.values()} == {128.0}
