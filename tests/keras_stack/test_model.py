"""The Keras stack's numbers, against transformers on the same checkpoint."""

import numpy as np
import pytest
import torch
import transformers

from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.encoding import Encodings
from kerastune.errors import ConfigError, ModelError
from kerastune.keras_stack import KerasStack
from kerastune.models import resolve_model
from kerastune.scoring import label_log_probabilities
from kerastune.stack import GenerationSpec


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
    written = make_stack().generate(prompts, spec)
    for prompt, ids in zip(prompts, written, strict=True):
        expected: list[int] = []
        for _ in range(5):
            token = int(reference_logits(reference, [*prompt, *expected])[-1].argmax())
            if token == 1:
                break
            expected.append(token)
        assert ids == expected


@pytest.mark.parametrize("choice", [{"temperature": 0.8, "top_k": 2}, {"temperature": 1.0, "top_p": 0.6}])
def test_sampling_draws_likely_tokens_and_repeats_with_its_seed(make_stack, reference, encodings, choice):
    prompts = [encodings.examples[0].prompt_ids] * 4
    spec = GenerationSpec(max_new_tokens=1, stop_ids=(), pad_id=0, **choice)
    first, again = (make_stack().generate(prompts, spec) for _ in range(2))
    assert first == again
    logits = reference_logits(reference, prompts[0])[-1]
    if spec.top_k:
        allowed = set(np.argsort(logits)[-2:].tolist())
    else:
        order = np.argsort(-logits)
        mass = np.cumsum(np.exp(logits[order] - np.logaddexp.reduce(logits)))
        allowed = set(order[: int(np.searchsorted(mass, 0.6)) + 1].tolist())
    assert {ids[0] for ids in first} <= allowed


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
    stack.add_lora(LoraSpec(rank=2, targets=("all",)), seed=1)
    base = {v.path: np.asarray(v) for v in stack._backbone.variables if "lora" not in v.path}
    stack.start_training(TrainSpec())
    first, *_, last = [stack.train_step((batch,), 1e-2) for _ in range(8)]
    assert last < first
    assert all(np.abs(update.b).max() > 0 for update in stack.get_adapter().values())
    assert all(
        np.array_equal(np.asarray(v), base[v.path]) for v in stack._backbone.variables if v.path in base
    )


def test_a_bfloat16_base_has_a_float32_adapter_and_optimizer(make_stack, batch):
    stack = make_stack(dtype="bfloat16")
    stack.add_lora(LoraSpec(rank=2), seed=1)
    stack.start_training(TrainSpec())
    stack.train_step((batch,), 1e-3)
    kinds = {str(value.dtype) for name, value in stack.training_state().items()}
    assert kinds == {"float32", "int32"}  # int32 counts the steps
    assert str(stack._backbone.token_embedding.embeddings.dtype) == "bfloat16"


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


def test_another_backend_in_one_process_is_refused(tiny_model):
    with pytest.raises(ConfigError, match="expected 'torch', but Keras already runs on 'jax'"):
        KerasStack(ModelSpec(backend="torch"), tiny_model)


def test_a_model_that_kerashub_does_not_know_is_one_line(tiny_model, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_model.path.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    config = (folder / "config.json").read_text().replace("gemma3_text", "unheard_of")
    (folder / "config.json").write_text(config)
    with pytest.raises(ModelError, match="KerasHub cannot load") as caught:
        KerasStack(ModelSpec(), resolve_model(str(folder), cache_dir=tmp_path))
    assert "\n" not in str(caught.value)
