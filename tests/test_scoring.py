"""Scores as arrays and as a file; whole scoring is tested on a real stack in tests/keras_stack."""

import numpy as np
import pandas as pd
import pytest

from kerastune.encoding import Encoder
from kerastune.errors import ModelError
from kerastune.scoring import Scores, generate_labels, label_log_probabilities, parse_label
from kerastune.task import get_task
from kerastune.template import get_template

LOG_PROBABILITIES = np.log([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])


def scores(generated=None):
    return Scores(("a", "b", "c"), (0, 1), LOG_PROBABILITIES, generated)


def test_likelihood_takes_the_likeliest():
    assert scores().predicted_labels == (0, 1, 0)
    assert scores().invalid_rate is None
    np.testing.assert_allclose(scores().probabilities.sum(axis=1), 1)


def test_generated_labels_count_and_where_there_is_none_the_likeliest_does():
    generated = scores(np.array([1, -1, -1]))
    assert generated.predicted_labels == (1, 1, 0)
    assert generated.invalid_rate == pytest.approx(2 / 3)


def test_saved_scores_read_back_exactly(tmp_path):
    scores().save(tmp_path / "scores.tsv")
    table = pd.read_csv(tmp_path / "scores.tsv", sep="\t", dtype=str)
    assert list(table.columns) == ["id", "log_probability_0", "log_probability_1"]
    assert list(table["id"]) == ["a", "b", "c"]
    np.testing.assert_array_equal(table.iloc[:, 1:].map(float), LOG_PROBABILITIES)


@pytest.mark.parametrize(
    ("text", "label"),
    [("별로", 0), (" 최고예요", 1), ("\n최고", 1), ("정말 최고", -1), ("", -1), ("최", -1)],
)
def test_labels_are_read_at_the_beginning(text, label):
    assert parse_label(text, ("별로", "최고")) == label


def test_the_longest_word_wins():
    assert parse_label("좋아요", ("좋아", "좋아요")) == 1


class Dictated:
    """Writes planned tokens, then whatever."""

    def __init__(self, texts):
        self.texts = [[*text, 0, 0, 0] for text in texts]

    def step(self, _tokens):
        return {row: np.eye(1, 1000, text.pop(0), np.float32)[0] for row, text in enumerate(self.texts)}


class Echo:
    """Logits of a label are its number times the prompt's length; what it writes is planned by length."""

    def __init__(self, answers=()):
        self.answers = dict(answers)

    def label_logits(self, batch, label_ids, prefix=None):  # noqa: ARG002
        lengths = batch.padding_mask.sum(axis=1)
        return np.outer(lengths, np.arange(len(label_ids))).astype(np.float32) / 100

    def start_decoding(self, prompts, _spec):
        return Dictated([self.answers[tuple(prompt)] for prompt in prompts])


@pytest.fixture
def encoder(tiny_tokenizer):
    task = get_task("review-sentiment")
    return Encoder(task=task, template=get_template(task.template), tokenizer=tiny_tokenizer, max_length=96)


def test_rows_come_back_in_their_order(encoder, reviews):
    encodings = encoder.encode(reviews)
    found = label_log_probabilities(Echo(), encodings, pad_id=0, batch_size=3, show=False)
    lengths = np.array([len(example.prompt_ids) for example in encodings.examples])
    np.testing.assert_allclose(found[:, 1] - found[:, 0], lengths / 100, rtol=1e-6)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)


def test_generated_text_is_read_in_the_rows_order(encoder, reviews):
    encodings = encoder.encode(reviews)
    words = [" 최고", " 별로", " 모름"]
    answers = {
        example.prompt_ids: encoder.tokenizer.encode(words[row % 3])
        for row, example in enumerate(encodings.examples)
    }
    found = generate_labels(Echo(answers), encodings, encoder, batch_size=4, show=False)
    assert found.tolist() == [1, 0, -1, 1, 0, -1, 1, 0, -1, 1]


def test_out_of_memory_names_the_option(encoder, reviews):
    def full(*_, **__):
        raise RuntimeError("RESOURCE_EXHAUSTED")

    stack = Echo()
    stack.label_logits = stack.start_decoding = full
    encodings = encoder.encode(reviews)
    with pytest.raises(ModelError, match=r"out of memory at 32 rows of \d+ tokens; lower score_batch_size"):
        label_log_probabilities(stack, encodings, pad_id=0, show=False)
    with pytest.raises(ModelError, match="lower score_batch_size"):
        generate_labels(stack, encodings, encoder, show=False)
