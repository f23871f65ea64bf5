"""Which token follows: penalty, temperature, top-k, top-p, draws, and where an answer ends."""

import numpy as np
import pytest

from kerastune.decoding import Answer, GenerationSpec, answers, choose, decode
from kerastune.errors import ConfigError
from tests.talking import PAD, SIZE, STOP, TableStack

PROMPTS = [[1, 2, 3], [9], [4, 5, 6, 7, 8], [9], [200, 201]]


def spec(**changes) -> GenerationSpec:
    return GenerationSpec(**{"max_new_tokens": 12, "stop_ids": (STOP,), "pad_id": PAD} | changes)


def draw(logits, seen=(), count=4000, **changes) -> np.ndarray:
    """How often each token is chosen."""
    draws = np.random.default_rng(0)
    chosen = [choose(np.float32(logits), set(seen), spec(**changes), draws) for _ in range(count)]
    return np.bincount(chosen, minlength=len(logits)) / count


def test_greedy_takes_the_likeliest_and_the_table_says_which():
    stack = TableStack()
    (written,) = answers(stack, [[7]], spec(stop_ids=()))
    last, expected = 7, []
    for _ in range(12):
        last = int(stack.table[last].argmax())
        expected.append(last)
    assert written == Answer(tuple(expected), False)


def test_the_first_stop_token_of_several_ends_an_answer():
    stack = TableStack()
    (free,) = answers(stack, [[7]], spec(stop_ids=()))
    stops = (free.token_ids[3], STOP)
    (stopped,) = answers(stack, [[7]], spec(stop_ids=stops))
    assert stopped == Answer(free.token_ids[: free.token_ids.index(stops[0])], True)
    assert [token for _, token in decode(stack, [[7]], spec(stop_ids=stops))][-1] == stops[0]


@pytest.mark.parametrize(
    "changes", [{}, {"temperature": 1.3}, {"temperature": 0.7, "repetition_penalty": 1.4}]
)
def test_a_row_is_written_alike_in_any_batch(changes):
    """By its name, not by its place: also where other rows are longer, shorter, or end earlier."""
    stack, names = TableStack(), [11, 12, 13, 14, 15]
    together = answers(stack, PROMPTS, spec(**changes), names)
    alone = [answers(stack, [p], spec(**changes), [n])[0] for p, n in zip(PROMPTS, names, strict=True)]
    assert together == alone
    order = [3, 0, 4, 1, 2]
    shuffled = answers(stack, [PROMPTS[n] for n in order], spec(**changes), [names[n] for n in order])
    assert shuffled == [together[n] for n in order]
    if changes:  # the same prompt under two names is drawn twice
        assert together[1] != together[3]
        assert together != answers(stack, PROMPTS, spec(**changes, seed=1), names)


def test_draws_follow_the_probabilities():
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    np.testing.assert_allclose(draw(logits, temperature=1.0), [0.5, 0.3, 0.15, 0.05], atol=0.03)
    flat = np.array([0.5, 0.3, 0.15, 0.05]) ** 0.5
    np.testing.assert_allclose(draw(logits, temperature=2.0), flat / flat.sum(), atol=0.03)
    np.testing.assert_allclose(draw(logits, temperature=1.0, top_k=2), [0.625, 0.375, 0, 0], atol=0.03)
    # 0.5 and 0.3 pass 0.6 together; 0.5 alone does not.
    np.testing.assert_allclose(draw(logits, temperature=1.0, top_p=0.6), [0.625, 0.375, 0, 0], atol=0.03)
    np.testing.assert_allclose(draw(logits, temperature=1.0, top_p=0.4), [1, 0, 0, 0])


def test_the_penalty_divides_what_is_above_zero_and_multiplies_what_is_below():
    assert choose(np.float32([2.0, 1.5, -1.0]), {0}, spec(repetition_penalty=1.4), None) == 1
    assert choose(np.float32([2.0, 1.5, -1.0]), {0}, spec(repetition_penalty=1.3), None) == 0
    assert choose(np.float32([-2.0, -2.5]), {0}, spec(repetition_penalty=1.3), None) == 1
    assert choose(np.float32([-2.0, -2.5]), {0}, spec(repetition_penalty=1.2), None) == 0


def test_choices_are_those_of_transformers():
    """Its processors leave the same tokens with the same probabilities, in this order."""
    import torch
    from transformers.generation import logits_process as theirs

    logits = np.random.default_rng(3).standard_normal(SIZE).astype(np.float32) * 3
    seen = [5, 17, 200]
    scores, ids = torch.tensor(logits)[None], torch.tensor([seen])
    for process in (
        theirs.RepetitionPenaltyLogitsProcessor(1.3),
        theirs.TemperatureLogitsWarper(0.8),
        theirs.TopKLogitsWarper(12),
        theirs.TopPLogitsWarper(0.7),
    ):
        scores = process(ids, scores)
    expected = torch.softmax(scores[0], dim=-1).numpy()
    options = {"repetition_penalty": 1.3, "temperature": 0.8, "top_k": 12, "top_p": 0.7}
    found = draw(logits, seen, **options)
    assert set(np.flatnonzero(found)) == set(np.flatnonzero(expected))
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_a_stop_token_in_the_prompt_is_not_penalised():
    stack = TableStack()
    likeliest = int(stack.table[7].argmax())
    harsh = {"repetition_penalty": 1e9}
    assert answers(stack, [[likeliest, 7]], spec(stop_ids=(likeliest,), **harsh)) == [Answer((), True)]
    (otherwise,) = answers(stack, [[likeliest, 7]], spec(stop_ids=(), **harsh))
    assert likeliest not in otherwise.token_ids


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_new_tokens", 0), ("temperature", -1.0), ("top_k", -1), ("top_p", 0.0), ("top_p", 1.1),
     ("repetition_penalty", 0.0), ("seed", -1), ("temperature", float("nan"))],
)  # fmt: skip
def test_what_is_out_of_range_is_named(name, value):
    with pytest.raises(ConfigError, match=f"{name}: expected .*, received {value}"):
        spec(**{name: value})
