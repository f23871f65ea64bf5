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

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")

# How far a quantised base's logits may be from the plain one's, relative to the largest.
FAR = {("hf", "nf4"): 0.3, ("hf", "int8"): 0.05, ("keras", "int8"): 0.05, ("keras", "int4"): 0.5}


def stack_of(files, stack, quantize=None):
    return load_stack(
        kt.ModelSpec(model=str(files.path), stack=stack, dtype="float32", quantize=quantize), files
    )


@pytest.fixture(scope="module")
def plain_logits(chat_model):
    files = chat_model("tinyllama")
    example = Encoded("a", tuple(range(2, 10)), tuple(range(40, 56)))
    batch = make_batch([example], rows=1, length=24, pad_id=0, answers=24, whole_text=True)
    return {stack: stack_of(files, stack).logits(batch) for stack in ("keras", "hf")}, batch


@pytest.mark.parametrize(("stack", "quantize"), FAR)
def test_a_quantised_base_is_near_the_plain_one_and_learns(chat_model, plain_logits, stack, quantize):
    files, (plain, batch) = chat_model("tinyllama"), plain_logits
    quantised = stack_of(files, stack, quantize)
    assert quantised.info.dtype == f"{quantize}, float32"
    difference = np.abs(quantised.logits(batch) - plain[stack]).max() / np.abs(plain[stack]).max()
    assert 1e-6 < difference < FAR[stack, quantize]
    quantised.add_lora(kt.LoraSpec(rank=4), seed=0)
    quantised.start_training(kt.TrainSpec())
    losses = [quantised.train_step([batch], 0.01) for _ in range(4)]
    assert losses[-1] < losses[0]
    adapter = quantised.get_adapter()
    assert len(adapter) == 2 * 7
    assert {one.b.dtype for one in adapter.values()} == {np.dtype("float32")}
    assert all(np.abs(one.b).max() > 0 for one in adapter.values())


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
        stack_of(chat_model("tinyllama"), "hf", "nf4")


def test_the_qlora_row_of_the_tables(chat_model, chat_file, tmp_path):
    """Rank 64, alpha 128, all linear layers, accumulation 4, cosine, length 512, on an NF4 base."""
    options = {"rank": 64, "alpha": 128.0, "accumulate": 4, "max_length": 512, "batch_size": 1, "epochs": 2}
    run = train(
        read_dialogues(chat_file),
        out=tmp_path / "run",
        show=False,
        task="chat",
        model=str(chat_model("tinyllama").path),
        stack="hf",
        quantize="nf4",
        **options,
    )
    loaded = Run.load(run.folder)
    assert loaded.config.model.quantize == "nf4"
    adapter = loaded.text_session.stack.get_adapter()
    assert {one.rank for one in adapter.values()} == {64}
    assert {one.alpha for one in adapter.values()} == {128.0}
