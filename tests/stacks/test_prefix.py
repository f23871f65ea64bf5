"""What a stack computes once of a shared beginning gives the numbers of the whole prompts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kerastune.batching import Batch, make_batch
from kerastune.config import LoraSpec, ModelSpec, RunConfig
from kerastune.dataset import Dataset, read_dataset
from kerastune.encoding import Encoded
from kerastune.few_shot import choose_shots
from kerastune.scoring import label_log_probabilities
from kerastune.session import Session, open_session
from kerastune.stack import Stack, load_stack
from tests.conftest import COMMENTS
from tests.tiny_models import ARCHITECTURES

_DRAW = np.random.default_rng(5)
BEGINNING = (2, *map(int, _DRAW.integers(3, 300, 10)))  # beyond the sliding windows, of 3 tokens
ROWS = [tuple(map(int, _DRAW.integers(3, 300, length))) for length in (9, 4, 1)]
ANSWER = (17, 203)
LABELS = [7, 299, 41]


def batch_of(beginning: tuple[int, ...], answer: tuple[int, ...] = ()) -> Batch:
    """The rows behind a beginning, and a row of padding."""
    examples = [Encoded(str(row), beginning + ids, answer) for row, ids in enumerate(ROWS)]
    return make_batch(examples, rows=4, length=max(map(len, examples)) + 3, pad_id=0, answers=2)


def require_same_logits(stack: Stack) -> None:
    whole = stack.label_logits(batch_of(BEGINNING), LABELS)[:3]
    prefix = stack.prefill(BEGINNING)
    assert prefix is not None
    for _ in range(2):  # a batch leaves the prefix as it was
        np.testing.assert_allclose(stack.label_logits(batch_of(()), LABELS, prefix)[:3], whole, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_prefix_gives_the_numbers_of_whole_prompts(
    make_tiny_model, stack_name, architecture, trained_factors
):
    files = make_tiny_model(architecture=architecture)
    stack = load_stack(ModelSpec(stack=stack_name, dtype="float32"), files)
    stack.add_lora(LoraSpec(rank=2), seed=1)
    stack.load_adapter(trained_factors(stack))
    require_same_logits(stack)


def test_an_adapter_put_on_later_is_in_the_next_prefix(make_stack, trained_factors):
    stack = make_stack()
    require_same_logits(stack)
    bare = stack.label_logits(batch_of(()), LABELS, stack.prefill(BEGINNING))
    stack.add_lora(LoraSpec(rank=2, targets=("value",)), seed=1)
    stack.load_adapter(trained_factors(stack))
    require_same_logits(stack)
    assert np.abs(stack.label_logits(batch_of(()), LABELS, stack.prefill(BEGINNING)) - bare).max() > 1e-3


def test_losses_behind_a_prefix_are_those_of_whole_texts(make_stack):
    stack = make_stack()
    whole = stack.token_losses(batch_of(BEGINNING, ANSWER))
    found = stack.token_losses(batch_of((), ANSWER), stack.prefill(BEGINNING))
    np.testing.assert_allclose(found, whole, atol=1e-5)
    assert (whole[:3] > 0).all()


def test_a_prefix_in_bfloat16_is_near(make_stack):
    stack = make_stack(dtype="bfloat16")
    whole = stack.label_logits(batch_of(BEGINNING), LABELS)[:3]
    found = stack.label_logits(batch_of(()), LABELS, stack.prefill(BEGINNING))[:3]
    np.testing.assert_allclose(found, whole, atol=0.05 * np.abs(whole).max())


@pytest.fixture
def sessions(tiny_model) -> list[Session]:
    """A session of each stack with nothing trained."""
    options = {"model": str(tiny_model.path), "dtype": "float32", "max_length": 96}
    return [open_session(RunConfig().with_options(options | {"stack": name})) for name in ("keras", "hf")]


@pytest.fixture
def rows() -> Dataset:
    """The reviews twice, unlabelled."""
    return read_dataset(pd.DataFrame({"comment": COMMENTS * 2}), labelled=False)


def test_zero_shot_needs_no_adapter(sessions, rows):
    scores = [session.score(rows, show=False).log_probabilities for session in sessions]
    np.testing.assert_allclose(np.exp(scores[0]).sum(axis=1), 1)
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)
    assert np.ptp(scores[0][:, 0]) > 1e-3
    assert [session.stack.info.trainable for session in sessions] == [0, 0]


def test_few_shot_scores_are_the_same_with_and_without_the_cache_on_both_stacks(sessions, rows):
    pool = pd.DataFrame({"comment": [f"국물이 {n}" for n in range(40)], "label": [0, 1] * 20})
    shots = choose_shots(read_dataset(pool), k=10, seed=0, scored=[rows])
    encodings = [replace(session.encoder, shots=shots).encode(rows) for session in sessions]
    assert encodings[0] == encodings[1]
    found = []
    for session in sessions:
        asked = []
        prefill = session.stack.prefill
        session.stack.prefill = lambda ids, prefill=prefill, asked=asked: asked.append(ids) or prefill(ids)
        cached, whole = (
            label_log_probabilities(session.stack, encodings[0], pad_id=0, show=False, reuse_prefix=reuse)
            for reuse in (True, False)
        )
        np.testing.assert_allclose(cached, whole, atol=1e-5)
        assert len(asked) == 1
        assert all(example.prompt_ids[: len(asked[0])] == asked[0] for example in encodings[0].examples)
        found.append(cached)
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_a_stack_that_cannot_go_on_scores_whole_prompts(sessions, rows):
    pool = pd.DataFrame({"comment": [f"국물이 {n}" for n in range(40)], "label": [0, 1] * 20})
    encoder = replace(sessions[1].encoder, shots=choose_shots(read_dataset(pool), k=10))
    stack, encodings = sessions[1].stack, encoder.encode(rows)
    cached = label_log_probabilities(stack, encodings, pad_id=0, show=False)
    stack._model._is_stateful = True  # as transformers says of Mamba
    assert stack.prefill(encodings.examples[0].prompt_ids) is None
    np.testing.assert_allclose(
        label_log_probabilities(stack, encodings, pad_id=0, show=False), cached, atol=1e-5
    )
