"""Pairs on either stack: the loss beside TRL's and plain transformers', the stacks beside each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from kerastune.batching import Batch
from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.preference.loss import PreferenceLoss, Rewards
from kerastune.stack import Stack, load_stack

DPO = PreferenceLoss(beta=0.2, label_smoothing=0.1)
ORPO = PreferenceLoss(method="orpo", beta=0.3)
LORA = LoraSpec(rank=3, targets=("query", "value", "ffw_gating"))


@pytest.fixture(scope="module", params=["gemma3", "tinyllama"])
def stacks(request, make_tiny_model) -> dict[str, Stack]:
    files = make_tiny_model(architecture=request.param)
    return {name: load_stack(ModelSpec(stack=name, dtype="float32"), files) for name in ("keras", "hf")}


def put_on_both(stacks: dict[str, Stack], lora: LoraSpec = LORA) -> None:
    """The same adapter on both, one that does something."""
    draw = np.random.default_rng(5)
    stacks["hf"].add_lora(lora, seed=1)
    factors = {
        module: replace(update, b=draw.normal(0, 0.1, update.b.shape).astype(np.float32))
        for module, update in stacks["hf"].get_adapter().items()
    }
    for stack in stacks.values():
        stack.load_adapter(factors)


def log_probabilities(model, batch: Batch) -> torch.Tensor:
    """Each row's answer by plain transformers and torch, summed."""
    logits = model(
        input_ids=torch.from_numpy(batch.token_ids).long(),
        attention_mask=torch.from_numpy(batch.padding_mask).long(),
    ).logits
    logps = logits.log_softmax(-1)
    found = []
    for row in range(len(batch.token_ids)):
        here = batch.answer_weights[row] > 0
        positions, ids = batch.answer_positions[row][here], batch.answer_ids[row][here]
        found.append(logps[row, positions.tolist(), ids.tolist()].sum())
    return torch.stack(found)


def test_the_loss_is_that_of_plain_transformers(stacks, pair_batch):
    batch = pair_batch(DPO)
    for stack in stacks.values():
        stack.add_lora(LORA, seed=0)
        stack.start_training(TrainSpec())
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        stacks["hf"].files.path, dtype=torch.float32
    ).eval()
    with torch.no_grad():
        scores = (log_probabilities(reference, batch).numpy() - batch.reference).reshape(2, 4)[:, :3]
    expected = DPO.losses(*scores.astype(np.float64)).mean()
    for stack in stacks.values():
        assert stack.train_step((batch,), 0.001) == pytest.approx(float(expected), rel=1e-5)
        rewards = stack.step_rewards()
        assert rewards.as_dict() == pytest.approx(Rewards.of(scores.reshape(-1), 0.2).as_dict(), rel=1e-4)
        assert rewards.pairs == 3


@pytest.mark.parametrize("preference", [DPO, ORPO], ids=["dpo", "orpo"])
def test_first_losses_and_gradients_agree(stacks, pair_batch, preference):
    batch = pair_batch(preference)
    put_on_both(stacks)
    ours, theirs = (stack.adapter_gradients(batch) for stack in stacks.values())
    assert ours.keys() == theirs.keys()
    for module, update in ours.items():
        for side in ("a", "b"):
            mine, other = getattr(update, side), getattr(theirs[module], side)
            assert np.abs(other).max() > 0
            assert np.abs(mine - other).max() <= 1e-4 * np.abs(other).max(), f"{module} {side}"
    losses = []
    for stack in stacks.values():
        stack.start_training(TrainSpec())
        losses.append(stack.train_step((batch,), 0.001))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("preference", [DPO, ORPO], ids=["dpo", "orpo"])
def test_padding_changes_nothing_and_accumulation_neither(stacks, make_pairs, preference):
    from kerastune.preference.pairs import make_pair_batch

    pairs = [replace(pair, reference=(-20.0, -22.0)) for pair in make_pairs(4)]

    def lay_out(part, rows):
        batch = make_pair_batch(part, rows=rows, length=16, pad_id=0, answers=6)
        return replace(batch, preference=preference)

    steps = [
        ((lay_out(pairs[:3], 3),), 1),
        ((lay_out(pairs[:3], 4),), 1),
        ((lay_out(pairs[:2], 2), lay_out(pairs[2:3], 2)), 2),
    ]
    for stack in stacks.values():
        found = []
        for step, accumulate in steps:
            stack.add_lora(LORA, seed=0)
            stack.start_training(TrainSpec(accumulate=accumulate, clip_norm=0))
            first = stack.train_step(step, 0.01)
            found.append((first, stack.train_step(step, 0.01)))
            assert stack.step_rewards().pairs == 3
        assert found[1] == pytest.approx(found[0], rel=1e-4)
        assert found[2] == pytest.approx(found[0], rel=1e-4)
        assert found[0][1] != found[0][0]


def test_training_prefers_the_chosen_answers(stacks, pair_batch):
    batch = pair_batch(PreferenceLoss(beta=0.1))
    for stack in stacks.values():
        stack.add_lora(LORA, seed=0)
        stack.start_training(TrainSpec())
        stack.train_step((batch,), 0.01)
        first = stack.step_rewards().margin
        for _ in range(6):
            stack.train_step((batch,), 0.01)
        assert stack.step_rewards().margin > first + 0.05


@pytest.mark.parametrize("stacks", ["gemma3"], indirect=True)
def test_loss_and_gradients_are_those_of_trl(stacks, pair_batch, tmp_path):
    """TRL's DPOTrainer computes the loss of the same rows, with the reference's log-probabilities given."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    preference = PreferenceLoss(beta=0.2)
    batch = pair_batch(preference, rows=3)
    stack = stacks["hf"]
    put_on_both(stacks)
    ours = stack.adapter_gradients(batch)
    stack.start_training(TrainSpec())
    loss = stack.train_step((batch,), 1e-9)

    put_on_both(stacks)
    tokenizer = transformers.AutoTokenizer.from_pretrained(stack.files.path)
    rows = Dataset.from_list([{"prompt": "가", "chosen": "나", "rejected": "다"}])
    trainer = DPOTrainer(
        stack._adapted,
        args=DPOConfig(
            output_dir=str(tmp_path),
            beta=preference.beta,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            use_cpu=True,
        ),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    trainer.precompute_ref_logps = True
    completion = np.zeros(batch.token_ids.shape, np.int64)
    for row, (positions, weights) in enumerate(
        zip(batch.answer_positions, batch.answer_weights, strict=True)
    ):
        completion[row, positions[weights > 0] + 1] = 1
    inputs = {
        "input_ids": torch.from_numpy(batch.token_ids).long(),
        "attention_mask": torch.from_numpy(batch.padding_mask).long(),
        "completion_mask": torch.from_numpy(completion),
        "ref_chosen_logps": torch.from_numpy(batch.reference[:3]),
        "ref_rejected_logps": torch.from_numpy(batch.reference[3:]),
    }
    parameters = dict(zip(stack._trained(), stack._trained().values(), strict=True))
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    theirs = trainer._compute_loss(trainer.model, inputs, return_outputs=False)
    assert loss == pytest.approx(float(theirs), rel=1e-5)
    theirs.backward()
    for (module, side), parameter in parameters.items():
        expected = parameter.grad.numpy()
        assert np.abs(getattr(ours[module], side) - expected).max() <= 1e-4 * np.abs(expected).max()
