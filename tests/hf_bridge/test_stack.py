"""What is the Hugging Face stack's own: DoRA, dropout's draws, left padding, and what it refuses."""

import numpy as np
import peft
import pytest
import torch
import transformers

from hf_bridge import HfStack
from kerastune.adapter import read_peft, write_adapter
from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.decoding import Answer, GenerationSpec, answers
from kerastune.errors import AdapterError, ConfigError, ModelError
from kerastune.models import ModelFiles, resolve_model
from tests.stacks.test_adapters import card


@pytest.fixture
def stack(tiny_model):
    return HfStack(ModelSpec(stack="hf", dtype="float32"), tiny_model)


def test_dora_trains_and_plain_peft_computes_the_same(stack, batch, tiny_model, tmp_path):
    stack.add_lora(LoraSpec(rank=2, dora=True), seed=1)
    counts = stack.info.trainable
    stack.start_training(TrainSpec())
    losses = [stack.train_step((batch,), 2e-2) for _ in range(5)]
    assert losses[-1] < losses[0]
    adapter = stack.get_adapter()
    assert counts == sum(u.a.size + u.b.size + u.magnitude.size for u in adapter.values())
    write_adapter(tmp_path / "adapter", adapter, card())
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    plain = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    ids = torch.from_numpy(batch.token_ids).long()
    mask = torch.from_numpy(batch.padding_mask).long()
    with torch.no_grad():
        expected = plain(ids, attention_mask=mask).logits.numpy()
    real = batch.padding_mask
    np.testing.assert_allclose(stack.logits(batch)[real], expected[real], rtol=1e-4, atol=1e-5)
    again = HfStack(ModelSpec(stack="hf", dtype="float32"), tiny_model)
    again.load_adapter(read_peft(tmp_path / "adapter"))
    np.testing.assert_allclose(again.logits(batch)[real], expected[real], rtol=1e-4, atol=1e-5)


def test_dropout_draws_from_the_run_and_from_nothing_else(stack, batch):
    losses = []
    for caller_seed in (1, 2):
        stack.add_lora(LoraSpec(rank=2, dropout=0.5), seed=3)
        stack.start_training(TrainSpec(seed=3))
        torch.manual_seed(caller_seed)
        drawn = torch.random.get_rng_state()
        losses.append([stack.train_step((batch,), 1e-1) for _ in range(3)])
        assert torch.equal(torch.random.get_rng_state(), drawn)
    assert losses[0] == losses[1]
    stack.add_lora(LoraSpec(rank=2), seed=3)
    stack.start_training(TrainSpec(seed=3))
    assert [stack.train_step((batch,), 1e-1) for _ in range(3)] != losses[0]


def test_prompts_of_all_lengths_are_continued_as_alone(stack, encodings):
    prompts = [example.prompt_ids for example in encodings.examples]
    spec = GenerationSpec(max_new_tokens=6, stop_ids=(1,), pad_id=0)
    assert answers(stack, prompts, spec) == [answers(stack, [prompt], spec)[0] for prompt in prompts]


def test_the_stop_token_ends_an_answer(stack, encodings):
    prompts = [encodings.examples[0].prompt_ids]
    (free,) = answers(stack, prompts, GenerationSpec(max_new_tokens=6, stop_ids=(), pad_id=0))
    assert len(free.token_ids) == 6
    assert not free.stopped
    stop = free.token_ids[3]
    (stopped,) = answers(stack, prompts, GenerationSpec(max_new_tokens=6, stop_ids=(stop,), pad_id=0))
    assert stopped == Answer(free.token_ids[: free.token_ids.index(stop)], True)


def test_another_backend_than_torch_is_refused():
    with pytest.raises(ConfigError, match="backend: expected 'torch' on the hf stack, received 'jax'"):
        ModelSpec(stack="hf", backend="jax")


def test_float16_is_refused_where_it_overflows(tiny_model):
    with pytest.raises(ConfigError, match="float16 overflows in gemma3_text; choose bfloat16"):
        HfStack(ModelSpec(stack="hf", dtype="float16"), tiny_model)


def test_a_keras_preset_is_refused(tiny_model):
    files = ModelFiles(name="preset", base_id="preset", path=tiny_model.path, layout="keras")
    with pytest.raises(ModelError, match="preset: is a KerasHub preset, which the hf stack cannot load"):
        HfStack(ModelSpec(stack="hf"), files)


def test_a_corrupt_shard_is_one_line(make_tiny_model):
    files = make_tiny_model(seed=3)
    weights = files.path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[8:20] = b"x" * 12
    weights.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="transformers cannot load") as caught:
        HfStack(ModelSpec(stack="hf"), ModelFiles(name="m", base_id="m", path=files.path, layout="hf"))
    assert "\n" not in str(caught.value)


def test_an_unknown_architecture_is_one_line(make_tiny_model, tmp_path):
    files = make_tiny_model(seed=4)
    config = files.path / "config.json"
    config.write_text(config.read_text().replace("gemma3_text", "unheard_of"))
    with pytest.raises(ModelError, match="transformers cannot load") as caught:
        HfStack(ModelSpec(stack="hf"), resolve_model(str(files.path), cache_dir=tmp_path))
    assert "\n" not in str(caught.value)


def test_a_step_before_training_is_begun_is_refused(stack, batch):
    with pytest.raises(AdapterError, match="call start_training first"):
        stack.train_step((batch,), 1e-3)
