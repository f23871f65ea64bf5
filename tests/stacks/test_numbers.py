"""Either stack's numbers, against transformers on the same checkpoint."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from kerastune.batching import make_batch
from kerastune.config import LoraSpec, TrainSpec
from kerastune.decoding import GenerationSpec, answers
from kerastune.encoding import Encodings
from kerastune.errors import AdapterError
from kerastune.objective import Objective
from kerastune.scoring import label_log_probabilities
from kerastune.validation import validate


@pytest.fixture(scope="module")
def reference(tiny_model):
    return transformers.AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32).eval()


def reference_logits(model, ids) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([list(ids)])).logits[0].numpy()


def test_token_losses_are_the_cross_entropy_of_transformers(make_stack, reference, encodings, batch):
    losses = make_stack().token_losses(batch)
    for row, example in enumerate(encodings.examples):
        logits = reference_logits(reference, example.prompt_ids + example.completion_ids)
        start = len(example.prompt_ids) - 1
        expected = torch.nn.functional.cross_entropy(
            torch.tensor(logits[start : start + len(example.completion_ids)]),
            torch.tensor(example.completion_ids),
            reduction="none",
        )
        np.testing.assert_allclose(losses[row, : len(expected)], expected, rtol=2e-5, atol=2e-5)
        assert not losses[row, len(expected) :].any()


def test_label_logits_are_the_full_logits_at_the_last_token(make_stack, reference, encodings, batch):
    logits = make_stack().label_logits(batch, [7, 300, 41])
    for row, example in enumerate(encodings.examples):
        whole = reference_logits(reference, example.prompt_ids + example.completion_ids)
        np.testing.assert_allclose(logits[row], whole[-1, [7, 300, 41]], rtol=1e-4, atol=1e-5)


def test_padding_to_another_length_or_batch_changes_no_score(make_stack, encodings):
    stack = make_stack()
    whole = label_log_probabilities(stack, encodings, pad_id=0, batch_size=10, show=False)
    single = label_log_probabilities(stack, encodings, pad_id=0, batch_size=1, show=False)
    np.testing.assert_allclose(whole, single, atol=1e-5)
    np.testing.assert_allclose(np.exp(whole).sum(axis=1), 1)


def test_labels_of_one_first_token_are_scored_as_whole_sequences(make_stack, reference, encodings):
    answers = ((5, 6, 7), (5, 9))
    scores = label_log_probabilities(
        make_stack(), Encodings(encodings.examples, answers), pad_id=0, batch_size=4, show=False
    )
    for row, example in enumerate(encodings.examples):
        sums = []
        for answer in answers:
            logits = reference_logits(reference, example.prompt_ids + answer)
            log_probabilities = torch.log_softmax(torch.tensor(logits), dim=-1)
            start = len(example.prompt_ids) - 1
            sums.append(sum(log_probabilities[start + place, token] for place, token in enumerate(answer)))
        expected = torch.log_softmax(torch.stack(sums), dim=0)
        np.testing.assert_allclose(scores[row], expected, atol=2e-4)


def test_greedy_generation_is_that_of_transformers(make_stack, reference, encodings):
    prompts = [example.prompt_ids for example in encodings.examples[:3]]
    spec = GenerationSpec(max_new_tokens=5, stop_ids=(1,), pad_id=0)
    written = answers(make_stack(), prompts, spec)
    for prompt, answer in zip(prompts, written, strict=True):
        expected: list[int] = []
        for _ in range(5):
            token = int(reference_logits(reference, [*prompt, *expected])[-1].argmax())
            if token == 1:
                break
            expected.append(token)
        assert list(answer.token_ids) == expected
        assert answer.stopped == (len(expected) < 5)


@pytest.mark.parametrize("choice", [{"temperature": 0.8, "top_k": 2}, {"temperature": 1.0, "top_p": 0.6}])
def test_sampling_draws_likely_tokens_and_repeats_with_its_seed(make_stack, reference, encodings, choice):
    prompts = [encodings.examples[0].prompt_ids] * 4
    spec = GenerationSpec(max_new_tokens=1, stop_ids=(), pad_id=0, **choice)
    first, again = (answers(make_stack(), prompts, spec) for _ in range(2))
    assert first == again
    logits = reference_logits(reference, prompts[0])[-1]
    if spec.top_k:
        allowed = set(np.argsort(logits)[-2:].tolist())
    else:
        order = np.argsort(-logits)
        mass = np.cumsum(np.exp(logits[order] - np.logaddexp.reduce(logits)))
        allowed = set(order[: int(np.searchsorted(mass, 0.6)) + 1].tolist())
    assert {answer.token_ids[0] for answer in first} <= allowed


def test_accumulated_steps_equal_one_large_step(make_stack, encodings):
    from kerastune.batching import training_steps

    lengths = [max(map(len, encodings.examples))]
    results = []
    for batch_size, accumulate in ((8, 1), (2, 4), (1, 8)):
        stack = make_stack()
        stack.add_lora(LoraSpec(rank=2), seed=1)
        stack.start_training(TrainSpec(batch_size=batch_size, accumulate=accumulate))
        losses = [
            stack.train_step(step, 1e-2)
            for step in training_steps(
                encodings.examples,
                batch_size=batch_size,
                accumulate=accumulate,
                pad_id=0,
                lengths=lengths,
                seed=5,
            )
        ]
        results.append((losses, stack.get_adapter()))
    for losses, adapter in results[1:]:
        np.testing.assert_allclose(losses, results[0][0], rtol=1e-5)
        for module, update in adapter.items():
            np.testing.assert_allclose(update.b, results[0][1][module].b, rtol=1e-3, atol=1e-6)


def test_the_first_loss_is_the_mean_over_answer_tokens(make_stack, batch):
    stack = make_stack()
    stack.add_lora(LoraSpec(rank=2), seed=1)
    expected = stack.token_losses(batch).sum() / batch.weight
    stack.start_training(TrainSpec())
    assert stack.train_step((batch,), 1e-3) == pytest.approx(float(expected), rel=1e-5)


def test_training_moves_the_adapter_and_nothing_else(make_stack, batch):
    stack = make_stack()
    base = stack.logits(batch)[batch.padding_mask]
    stack.add_lora(LoraSpec(rank=2, targets=("all",)), seed=1)
    np.testing.assert_array_equal(stack.logits(batch)[batch.padding_mask], base)  # B is zero
    stack.start_training(TrainSpec())
    first, *_, last = [stack.train_step((batch,), 1e-2) for _ in range(8)]
    assert last < first
    assert all(np.abs(update.b).max() > 0 for update in stack.get_adapter().values())
    assert np.abs(stack.logits(batch)[batch.padding_mask] - base).max() > 1e-2
    stack.add_lora(LoraSpec(rank=2), seed=1)  # takes the trained one off
    np.testing.assert_array_equal(stack.logits(batch)[batch.padding_mask], base)


def test_the_loss_on_the_label_is_its_cross_entropy_among_the_labels(make_stack, encodings, batch):
    objective = Objective.of("label", "completion", encodings.label_ids)
    examples = objective.examples(encodings.examples)
    (on_labels,) = objective.batches(
        [make_batch(examples, rows=12, length=batch.token_ids.shape[1], pad_id=0, answers=1)]
    )
    stack = make_stack()
    log_probabilities = label_log_probabilities(stack, encodings, pad_id=0, show=False)
    labels = [encodings.label_ids.index(example.completion_ids[:-1]) for example in encodings.examples]
    losses = stack.token_losses(on_labels)
    assert losses.shape == (12, 1)
    np.testing.assert_allclose(losses[:10, 0], -log_probabilities[np.arange(10), labels], rtol=1e-4)
    assert not losses[10:].any()
    watched = validate(stack, examples, objective, batch_size=4, pad_id=0)
    assert watched.loss == pytest.approx(float(losses.sum()) / 10, rel=1e-4)
    assert watched.accuracy == np.mean(log_probabilities.argmax(axis=1) == labels)
    whole = validate(stack, encodings.examples, Objective("completion"), batch_size=4, pad_id=0)
    assert whole.loss == pytest.approx(float(stack.token_losses(batch).sum()) / batch.weight, rel=1e-4)
    assert whole.accuracy is None
    stack.add_lora(LoraSpec(rank=2), seed=1)
    stack.start_training(TrainSpec())
    assert stack.train_step((on_labels,), 1e-2) == pytest.approx(float(losses.sum()) / 10, rel=1e-5)
    assert stack.token_losses(on_labels).sum() < losses.sum()


def test_logits_are_those_of_transformers(make_stack, reference, encodings, batch):
    logits = make_stack().logits(batch)
    for row, example in enumerate(encodings.examples):
        expected = reference_logits(reference, example.prompt_ids + example.completion_ids)
        np.testing.assert_allclose(logits[row, : len(expected)], expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_the_slope_of_the_loss(make_stack, batch, trained_factors):
    stack = make_stack()
    stack.add_lora(LoraSpec(rank=2), seed=1)
    factors = trained_factors(stack)
    stack.load_adapter(factors)
    found = stack.adapter_gradients(batch)
    module, draws, step = "model.layers.1.self_attn.v_proj", np.random.default_rng(0), 1e-2
    for side in ("a", "b"):
        value, gradient = getattr(factors[module], side), getattr(found[module], side)
        direction = draws.standard_normal(value.shape).astype(np.float32)
        losses = []
        for sign in (1, -1):
            moved = replace(factors[module], **{side: value + sign * step * direction})
            stack.load_adapter({**factors, module: moved})
            losses.append(stack.token_losses(batch).astype(np.float64).sum() / batch.weight)
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=2e-2, abs=1e-5)


def test_a_bfloat16_base_has_a_float32_adapter_and_optimizer(make_stack, batch):
    stack = make_stack(dtype="bfloat16")
    stack.add_lora(LoraSpec(rank=2), seed=1)
    stack.start_training(TrainSpec())
    stack.train_step((batch,), 1e-3)
    assert stack.info.dtype == "bfloat16"
    kinds = {value.dtype for value in stack.training_state().values() if value.ndim}
    assert kinds == {np.dtype("float32")}  # what has no axis counts the steps


def test_two_runs_of_one_seed_write_the_same_bytes(make_stack, batch):
    states = []
    for _ in range(2):
        stack = make_stack()
        stack.add_lora(LoraSpec(rank=2, dropout=0.1), seed=4)
        stack.start_training(TrainSpec())
        for _ in range(3):
            stack.train_step((batch,), 1e-2)
        states.append({name: value.tobytes() for name, value in stack.training_state().items()})
    assert states[0] == states[1]


def test_training_goes_on_from_a_state_as_if_it_had_not_stopped(make_stack, batch):
    spec = LoraSpec(rank=2, dropout=0.1)
    whole, first, second = (make_stack() for _ in range(3))
    for stack in (whole, first, second):
        stack.add_lora(spec, seed=4)
        stack.start_training(TrainSpec())
    expected = [whole.train_step((batch,), 1e-2) for _ in range(4)]
    found = [first.train_step((batch,), 1e-2) for _ in range(2)]
    second.load_training_state(first.training_state())
    found += [second.train_step((batch,), 1e-2) for _ in range(2)]
    assert found == expected
    with pytest.raises(AdapterError, match="it is of another configuration"):
        second.load_training_state({})
