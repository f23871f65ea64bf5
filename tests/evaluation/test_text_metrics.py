"""Measures of texts, held against numbers worked out by hand and against properties."""

import math

import pytest
import sacrebleu

from kerastune.errors import DataError
from kerastune.evaluation.text_metrics import Answers, definitions, measure_texts, repetition_rate, rouge_l


def answers(texts, references, ids=None, stopped=None):
    ids = [tuple(range(len(text))) for text in texts] if ids is None else ids
    return Answers(
        texts=tuple(texts),
        ids=tuple(ids),
        stopped=(True,) * len(texts) if stopped is None else tuple(stopped),
        references=tuple(references),
    )


def test_perfect_answers():
    texts = ["오늘은 날씨가 맑고 따뜻해요", "네, 산책을 갈까요?"]
    found = measure_texts(answers(texts, texts), loss=math.log(3))
    assert found.perplexity == pytest.approx(3)
    for value in (found.rouge_l, found.bleu, found.chrf):
        assert value == pytest.approx(100)
    assert (found.rows, found.exact_match, found.never_stopped, found.repetition) == (2, 1.0, 0.0, 0.0)
    assert found.characters == sum(map(len, texts)) / 2


def test_rouge_l_keeps_hangul():
    # LCS of 2 words: precision 2/3, recall 2/4, F1 = 4/7.
    assert rouge_l(["오늘은 아주 맑다"], ["오늘은 하늘이 참 맑다"]) == pytest.approx(100 * 4 / 7)
    assert rouge_l(["가나"], ["다라"]) == 0
    assert rouge_l(["맑다, 오늘은!"], ["맑다 오늘은"]) == pytest.approx(100)
    assert rouge_l(["\u1106\u1161\u11b0\u1103\u1161"], ["맑다"]) == pytest.approx(100)  # NFD


def test_bleu_and_chrf_are_sacrebleus_over_the_whole():
    texts, references = ["가나다라 마바", "사아자차"], ["가나다 라마바", "사아자카"]
    found = measure_texts(answers(texts, references), loss=0.0)
    assert found.bleu == pytest.approx(sacrebleu.corpus_bleu(texts, [references], tokenize="char").score)
    assert found.chrf == pytest.approx(sacrebleu.corpus_chrf(texts, [references]).score)
    assert 0 < found.bleu < 100
    assert found.exact_match == 0


def test_stops_lengths_and_repetition():
    ids = [(1, 2, 1, 2, 1, 2, 1, 2), (5,)]
    found = measure_texts(answers(["가", "나 "], ["다", "나"], ids, [False, True]), loss=0.0)
    assert (found.never_stopped, found.tokens, found.exact_match) == (0.5, 4.5, 0.5)
    # Five 4-grams of the first, two of them different: 3 of 5 are repetitions.
    assert found.repetition == pytest.approx(0.6 / 2)
    assert [repetition_rate(one) for one in ((), (1,) * 4, (1,) * 5)] == [0.0, 0.0, 0.5]


def test_nothing_to_measure():
    with pytest.raises(DataError, match="expected one answer at least"):
        measure_texts(answers([], []), loss=0.0)


def test_definitions_state_the_tokenisation():
    said = definitions()
    assert "tok:char" in said["bleu"]
    assert "any script" in said["rouge_l"]
    assert "1908.04319" in said["repetition"]


def test_a_loss_beyond_floats():
    assert measure_texts(answers(["가"], ["가"]), loss=1e6).perplexity == math.exp(700)
