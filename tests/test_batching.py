"""Batching: none dropped, none doubled, few lengths, and answers where they are predicted."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerastune.batch_shapes import batch_rows, bucket_lengths
from kerastune.batching import make_batch, scoring_batches, training_steps
from kerastune.encoding import Encoded
from kerastune.errors import EncodingError

PAD = 0
sizes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 3)), min_size=1, max_size=60)


def make_examples(sizes):
    """Examples of (prompt, completion) sizes, whose every token is another number."""
    token = iter(range(1, 10**6))
    return [
        Encoded(f"r{row}", tuple(next(token) for _ in range(p)), tuple(next(token) for _ in range(c)))
        for row, (p, c) in enumerate(sizes)
    ]


def epoch(examples, **changes):
    options = {"batch_size": 4, "accumulate": 1, "pad_id": PAD, "seed": 0}
    lengths = bucket_lengths([len(example) for example in examples])
    return list(training_steps(examples, **options | {"lengths": lengths} | changes))


@given(sizes, st.integers(1, 5), st.integers(1, 3), st.integers(0, 9))
def test_every_example_once_an_epoch_and_padding_of_no_weight(sizes, batch_size, accumulate, seed):
    examples = {example.example_id: example for example in make_examples(sizes)}
    steps = epoch(list(examples.values()), batch_size=batch_size, accumulate=accumulate, seed=seed)
    seen = Counter(name for step in steps for batch in step for name in batch.example_ids)
    assert seen == dict.fromkeys(examples, 1)
    for step in steps:
        assert len(step) == accumulate
        assert len({batch.token_ids.shape for batch in step}) == 1
        for batch in step:
            assert len(batch.token_ids) == batch_size
            for row, name in enumerate(batch.example_ids):
                ids = examples[name].prompt_ids + examples[name].completion_ids
                assert batch.token_ids[row, batch.padding_mask[row]].tolist() == list(ids)
                assert (batch.token_ids[row, len(ids) :] == PAD).all()
            rest = slice(len(batch.example_ids), None)
            assert not batch.answer_weights[rest].any()
            assert (batch.token_ids[rest] == PAD).all()
            assert batch.padding_mask.any(axis=1).all()
    trained = sum(len(example.completion_ids) for example in examples.values())
    assert sum(batch.weight for step in steps for batch in step) == trained


@given(sizes, st.booleans())
def test_the_answer_is_the_token_after_its_position(sizes, whole_text):
    examples = {example.example_id: example for example in make_examples(sizes)}
    for (batch,) in epoch(list(examples.values()), whole_text=whole_text):
        assert (batch.token_ids.dtype, batch.answer_ids.dtype) == (np.int32, np.int32)
        for row, name in enumerate(batch.example_ids):
            real = batch.answer_weights[row] == 1
            after = batch.token_ids[row, batch.answer_positions[row, real] + 1]
            example = examples[name]
            whole = example.prompt_ids + example.completion_ids
            assert after.tolist() == batch.answer_ids[row, real].tolist()
            assert after.tolist() == list(whole[1:] if whole_text else example.completion_ids)


@given(sizes, st.integers(0, 9))
def test_accumulated_steps_hold_the_same_examples(sizes, seed):
    examples = make_examples(sizes)

    def members(batch_size, accumulate):
        steps = epoch(examples, batch_size=batch_size, accumulate=accumulate, seed=seed)
        return [[name for batch in step for name in batch.example_ids] for step in steps]

    assert members(1, 8) == members(8, 1) == members(2, 4)


def test_the_order_is_the_seeds():
    examples = make_examples([(3, 2)] * 50)
    orders = [[batch.example_ids for (batch,) in epoch(examples, seed=seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    company = [{frozenset(names) for names in order} for order in orders]
    assert company[0] != company[2]


@given(sizes, st.integers(1, 5))
def test_scoring_takes_each_prompt_once(sizes, batch_size):
    prompts = [Encoded(example.example_id, example.prompt_ids, ()) for example in make_examples(sizes)]
    lengths = bucket_lengths([len(prompt) for prompt in prompts])
    rows_of = batch_rows([len(prompt) for prompt in prompts], lengths, batch_size)
    seen, widths = [], []
    for indices, batch in scoring_batches(prompts, batch_size=batch_size, pad_id=PAD, lengths=lengths):
        assert batch.example_ids == tuple(prompts[index].example_id for index in indices)
        rows, length = batch.token_ids.shape
        assert rows == rows_of[length]
        assert batch.answer_ids.shape == (rows, 0)
        for row, index in enumerate(indices):
            assert batch.token_ids[row, batch.padding_mask[row]].tolist() == list(prompts[index].prompt_ids)
        seen += indices.tolist()
        widths.append(batch.token_ids.shape[1])
    assert sorted(seen) == list(range(len(prompts)))
    assert widths == sorted(widths)
    assert set(widths) <= set(lengths)


def test_scoring_keeps_answers():
    examples = make_examples([(3, 2), (9, 1)])
    ((indices, batch),) = scoring_batches(examples, batch_size=2, pad_id=PAD, lengths=(16,))
    assert indices.tolist() == [0, 1]
    assert batch.answer_weights.tolist() == [[1, 1], [1, 0]]
    assert batch.answer_positions[0].tolist() == [2, 3]
    assert batch.answer_ids[1, 0] == examples[1].completion_ids[0]


@pytest.mark.parametrize("batches", [training_steps, scoring_batches])
def test_longer_than_the_lengths_is_refused_not_dropped(batches):
    options = {"seed": 0} if batches is training_steps else {}
    with pytest.raises(
        EncodingError, match="an example has 22 tokens, the longest of the padded lengths is 16"
    ):
        list(batches(make_examples([(3, 2), (20, 2)]), batch_size=2, pad_id=PAD, lengths=(8, 16), **options))


@pytest.mark.parametrize("whole_text", [False, True])
def test_training_on_a_row_with_no_answer_is_refused(whole_text):
    with pytest.raises(EncodingError, match="row 'r1' has no trained token"):
        epoch(make_examples([(3, 2), (3, 0)]), whole_text=whole_text)


def test_batch_by_hand():
    batch = make_batch(
        [Encoded("a", (2, 7), (8, 1)), Encoded("b", (2,), (9,))], rows=3, length=5, pad_id=PAD, answers=2
    )
    assert batch.token_ids.tolist() == [[2, 7, 8, 1, 0], [2, 9, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert batch.padding_mask.sum(axis=1).tolist() == [4, 2, 1]
    assert batch.answer_positions.tolist() == [[1, 2], [0, 0], [0, 0]]
    assert batch.answer_ids.tolist() == [[8, 1], [9, 0], [0, 0]]
    assert batch.answer_weights.tolist() == [[1, 1], [1, 0], [0, 0]]
    assert (batch.example_ids, batch.weight) == (("a", "b"), 3.0)


def test_rows_of_a_batch_are_of_nearly_one_length():
    draw = np.random.default_rng(0)
    examples = make_examples([(int(size), 1) for size in draw.integers(10, 40, 960)])
    batches = [batch for step in epoch(examples) for batch in step]
    longest = sum(batch.padding_mask.any(axis=0).sum() * len(batch.token_ids) for batch in batches)
    assert longest <= 1.03 * sum(map(len, examples))


def test_an_epoch_puts_other_rows_together_than_the_last():
    examples = make_examples([(size, 1) for size in range(8, 40)])
    together = [
        {
            frozenset(pair)
            for (batch,) in epoch(examples, seed=seed)
            for pair in combinations(batch.example_ids, 2)
        }
        for seed in (0, 1)
    ]
    assert len(together[0] & together[1]) < len(together[0]) / 2
