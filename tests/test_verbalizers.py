"""Ranking prompts and label words with the small Gemma 3."""

import numpy as np
import pytest

import kerastune as kt
from kerastune.config import RunConfig
from kerastune.errors import ConfigError, DataError, TemplateError
from kerastune.session import open_session
from kerastune.template import Template, get_template
from kerastune.verbalizers import default_templates, default_words, rank_verbalizers


@pytest.fixture(scope="module")
def session(tiny_model):
    options = {"model": str(tiny_model.path), "stack": "hf", "dtype": "float32", "max_length": 128}
    return open_session(RunConfig().with_options(options))


def test_a_candidates_numbers_are_those_of_scoring_it(session, reviews):
    prompt, words = "음식점 리뷰: {comment}\n한마디로 말해 이 가게는", ("별로", "최고")
    ranked = rank_verbalizers(session, reviews, words=[words, ("최고", "별로"), ("부정", "긍정")], show=False)
    (found,) = (one for one in ranked if one.template.prompt == prompt and one.words == words)
    options = {"template": r"음식점 리뷰: {comment}\n한마디로 말해 이 가게는", "verbalizer": "별로/최고"}
    literal = open_session(session.config.with_options(options))
    scores = literal.score(reviews, show=False)
    assert found.metrics.accuracy == np.mean(scores.predicted == reviews.labels)
    truth = scores.log_probabilities[np.arange(10), reviews.labels]
    assert found.metrics.log_loss == pytest.approx(-truth.mean(), abs=1e-5)
    odds = scores.log_probabilities[:, 1] - scores.log_probabilities[:, 0]
    assert found.balanced.accuracy == np.mean((odds > odds.mean()) == reviews.labels)
    (turned,) = (one for one in ranked if one.template.prompt == prompt and one.words == words[::-1])
    assert turned.metrics.accuracy == 1 - found.metrics.accuracy


def test_the_best_comes_first_and_none_twice(session, reviews):
    ranked = rank_verbalizers(session, reviews, show=False)
    keys = [(one.template.prompt, one.template.completion, one.words) for one in ranked]
    assert len(set(keys)) == len(keys) > 9
    accuracies = [one.balanced.accuracy for one in ranked]
    assert accuracies == sorted(accuracies, reverse=True)
    templates = default_templates(reviews.task)
    assert {"restaurant-cloze", "movie-cloze", "instruction"} <= {one.name for one in templates}
    assert default_words(reviews.task)[0] == ("별로", "최고")


def test_words_that_begin_alike_are_left_out(session, reviews):
    template = Template(name="x", prompt="음식점 리뷰: {comment}\n한마디로 말해", completion=" {label}")
    both = [("별로", "최고"), ("최고", "최고다")]
    ranked = rank_verbalizers(session, reviews, templates=[template], words=both, show=False)
    assert [one.words for one in ranked] == [("별로", "최고")]
    with pytest.raises(ConfigError, match="words: expected some whose first tokens differ"):
        rank_verbalizers(session, reviews, templates=[template], words=both[1:], show=False)


def test_what_does_not_fit_is_refused(session, reviews):
    with pytest.raises(ConfigError, match="words: expected 2, one for each of the labels 0, 1, received"):
        rank_verbalizers(session, reviews, words=[("별로",)], show=False)
    with pytest.raises(DataError, match="all 5 rows have the label 1"):
        rank_verbalizers(session, reviews.take([0, 2, 4, 6, 8]), show=False)
    with pytest.raises(TemplateError, match="no verbalizer '별로/별로'"):
        reviews.task.words("별로/별로")
    assert get_template("{comment}:").completion == " {label}"
    assert get_template("{comment}\n").completion == "{label}"


def test_the_command_prints_how_to_use_the_best(tiny_model, reviews_file, capsys):
    from kerastune.cli import main

    prompt = r"음식점 리뷰: {comment}\n한마디로 말해 이 가게는"
    words = ["verbalizers", "--input", str(reviews_file), "--model", str(tiny_model.path), "--stack", "hf"]
    words += ["--try-template", prompt, "--try-words", "별로/최고"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert f"--template '{prompt}' --verbalizer 별로/최고" in out
    assert "untrained, 10 rows" in out
    assert kt.get_template(prompt).prompt.count("\n") == 1
