"""Encoding: one BOS, a trained end, a prompt that is a prefix, and truncation that cuts only the text."""

import re
import time
import unicodedata
from dataclasses import replace

import pandas as pd
import pytest
import regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerastune.dataset import read_dataset
from kerastune.encoding import Encoder
from kerastune.errors import EncodingError
from kerastune.task import get_task
from kerastune.template import Template, get_template

HEAD, CUE = "음식점 리뷰: ", "\n한마디로 말해 이 가게는"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
OLD_HANGUL = "\u1100\u119e\u11ab"  # a syllable of three jamo, which NFC has no one character for
BARE = Template(name="bare", prompt="{comment}", completion="{label}")

comments = st.lists(
    st.sampled_from(
        [FAMILY, OLD_HANGUL, "🇰🇷", "e\u0301", "국물", "ㅋ", "ㅠㅠ", " ", "\n", "<bos>", "{x}", "🍜"]
    ),
    max_size=80,
).map(lambda parts: unicodedata.normalize("NFC", "맛" + "".join(parts)))
with_fixtures = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)


def make_encoder(tokenizer, **changes):
    values = {"task": get_task("review-sentiment"), "template": get_template("restaurant-cloze")}
    return Encoder(**values | {"tokenizer": tokenizer} | changes)


def rows(*comments, labels=None):
    labels = [0] * len(comments) if labels is None else labels
    return read_dataset(pd.DataFrame({"comment": list(comments), "label": labels}))


def smallest_length(encoder, data):
    with pytest.raises(EncodingError, match="has no room for template") as refused:
        replace(encoder, max_length=4).encode(data)
    return int(re.search(r"at least (\d+)$", str(refused.value))[1])


def test_one_bos_and_a_trained_end(tiny_tokenizer, reviews):
    encodings = make_encoder(tiny_tokenizer).encode(reviews)
    assert [example.example_id for example in encodings.examples] == [f"r{n}" for n in range(10)]
    for example, text, label in zip(encodings.examples, reviews.texts, reviews.labels, strict=True):
        ids = example.prompt_ids + example.completion_ids
        assert ids.index(tiny_tokenizer.bos_id) == 0
        assert ids.count(tiny_tokenizer.bos_id) == 1
        assert example.completion_ids == (*encodings.label_ids[label], tiny_tokenizer.eos_id)
        assert tiny_tokenizer.decode(example.prompt_ids) == HEAD + text + CUE
        assert tiny_tokenizer.decode(example.completion_ids) == (" 별로", " 최고")[label]
        assert len(example) == len(ids)
    assert ([len(ids) for ids in encodings.label_ids], encodings.truncated) == ([1, 1], 0)


def test_unlabelled_rows_have_the_same_prompts_and_no_completion(tiny_tokenizer, reviews):
    encoder = make_encoder(tiny_tokenizer)
    labelled, unlabelled = encoder.encode(reviews), encoder.encode(replace(reviews, labels=None))
    assert [e.prompt_ids for e in unlabelled.examples] == [e.prompt_ids for e in labelled.examples]
    assert {e.completion_ids for e in unlabelled.examples} == {()}
    assert unlabelled.label_ids == labelled.label_ids


@with_fixtures
@given(comment=comments)
def test_ids_are_those_of_the_whole_text(tiny_tokenizer, comment):
    (example,) = make_encoder(tiny_tokenizer, max_length=2000).encode(rows(comment, labels=[1])).examples
    whole = tiny_tokenizer.encode(HEAD + comment + CUE + " 최고")
    assert [*example.prompt_ids[1:], *example.completion_ids[:-1]] == whole


@with_fixtures
@given(comment=comments, room=st.integers(20, 60))
def test_truncation_cuts_whole_graphemes_off_the_text_alone(tiny_tokenizer, comment, room):
    data = rows(comment)
    encoder = make_encoder(tiny_tokenizer)
    encoder = replace(encoder, max_length=smallest_length(encoder, rows("맛" * 99)) + room)
    (example,), (prompt,) = encoder.encode(data).examples, encoder.prompts(data)
    assert prompt.startswith(HEAD)
    assert prompt.endswith(CUE)
    kept = prompt.removeprefix(HEAD).removesuffix(CUE)
    graphemes = regex.findall(r"\X", comment)
    count = len(regex.findall(r"\X", kept))
    assert kept == "".join(graphemes[:count])
    assert example.characters_lost == len(comment) - len(kept)
    assert tiny_tokenizer.decode(example.prompt_ids) == prompt
    assert tiny_tokenizer.decode(example.completion_ids) == " 별로"
    assert len(example) <= encoder.max_length
    if count < len(graphemes):
        longer = tiny_tokenizer.encode(HEAD + "".join(graphemes[: count + 1]) + CUE + " 별로")
        assert len(longer) + 2 > encoder.max_length


@pytest.mark.parametrize("grapheme", [FAMILY, OLD_HANGUL, "🇰🇷"])
def test_truncation_keeps_signs_of_several_characters_whole(tiny_tokenizer, grapheme):
    data = rows(grapheme * 60)
    for max_length in range(60, 90):
        (prompt,) = make_encoder(tiny_tokenizer, max_length=max_length).prompts(data)
        kept = prompt.removeprefix(HEAD).removesuffix(CUE)
        assert kept == grapheme * (len(kept) // len(grapheme))
        assert 0 < len(kept) < 60 * len(grapheme)


def test_truncation_takes_from_the_longest_field(tiny_tokenizer):
    task = replace(get_task("review-sentiment"), slots={"menu": "menu", "comment": "comment"})
    template = Template(name="two", prompt="{menu}\n{comment}\n음식점", completion=" {label}")
    frame = pd.DataFrame({"menu": ["국물"], "comment": ["가요 " * 200], "label": [1]})
    encoder = make_encoder(tiny_tokenizer, task=task, template=template, max_length=40)
    (prompt,) = encoder.prompts(read_dataset(frame, task))
    assert re.fullmatch("국물\n(가요 ){5,}(가요?)?\n음식점", prompt)


def test_prompt_never_depends_on_the_label(tiny_tokenizer):
    task = replace(
        get_task("review-sentiment"), verbalizers={"v": ("별로", "최고 국물 분위기")}, verbalizer="v"
    )
    texts = ["국물이 진하고 " * count for count in range(1, 12)]
    encoder = make_encoder(tiny_tokenizer, task=task, max_length=30)
    short, long = (encoder.encode(rows(*texts, labels=[label] * len(texts))).examples for label in (0, 1))
    assert [example.prompt_ids for example in short] == [example.prompt_ids for example in long]
    assert max(map(len, short)) < max(map(len, long)) <= encoder.max_length
    assert 0 < encoder.encode(rows(*texts)).truncated < len(texts)


@pytest.mark.parametrize("word", ["국물이 진하고 ", "국", FAMILY])
def test_a_comment_of_a_megabyte_is_cheap(tiny_tokenizer, monkeypatch, word):
    data = rows(word * (1_000_000 // len(word.encode())))
    encode_batch, longest = tiny_tokenizer.encode_batch, []

    def spy(texts):
        longest.append(max(map(len, texts)))
        return encode_batch(texts)

    monkeypatch.setattr(tiny_tokenizer, "encode_batch", spy)
    start = time.perf_counter()
    (example,) = make_encoder(tiny_tokenizer).encode(data).examples
    assert time.perf_counter() - start < 3
    assert max(longest) < 40_000
    assert 200 < len(example) <= 256
    assert example.characters_lost > len(data.texts[0]) - 256 * 10


def test_max_length_too_small_says_what_is_enough(tiny_tokenizer):
    encoder, data = make_encoder(tiny_tokenizer), rows("맛" * 50)
    smallest = smallest_length(encoder, data)
    assert re.fullmatch(f"{HEAD}맛+{CUE}", *replace(encoder, max_length=smallest).prompts(data))
    with pytest.raises(EncodingError, match=f"at least {smallest}$"):
        replace(encoder, max_length=smallest - 1).encode(data)


def test_a_row_is_never_cut_down_to_nothing(tiny_tokenizer):
    encoder, data = make_encoder(tiny_tokenizer), rows("맛" * 50, FAMILY * 9)
    with pytest.raises(EncodingError, match="row '2' cannot be shortened to max_length"):
        replace(encoder, max_length=smallest_length(encoder, data)).encode(data)


def test_no_rows(tiny_tokenizer, reviews):
    with pytest.raises(EncodingError, match="expected one row at least"):
        make_encoder(tiny_tokenizer).encode(reviews.take([]))


def test_answer_that_merges_with_the_prompt(train_tokenizer, reviews):
    tokenizer = train_tokenizer(["이 가게는 별로", "이 가게는 최고"], words_apart=False)
    with pytest.raises(
        EncodingError, match=r"row 'r0': the answer ' 별로' merges with the end of the prompt"
    ):
        make_encoder(tokenizer).encode(reviews)


def test_answer_whose_ids_depend_on_the_row():
    class AfterExclamation:
        """A character an id, another one after an exclamation mark."""

        bos_id, eos_id = None, 1

        def encode(self, text):
            return [ord(this) + 2**21 * (last == "!") for last, this in zip(" " + text, text, strict=False)]

        def encode_batch(self, texts):
            return [self.encode(text) for text in texts]

    with pytest.raises(EncodingError, match="'별로' has other ids in some rows than in others"):
        make_encoder(AfterExclamation(), template=BARE).encode(rows("맛", "맛!"))
    encodings = make_encoder(AfterExclamation(), template=BARE).encode(rows("맛", "양"))
    assert encodings.examples[0].prompt_ids == (ord("맛"),)  # no BOS where the model has none
    assert encodings.label_ids == ((ord("별"), ord("로")), (ord("최"), ord("고")))


def test_label_that_begins_with_another(tiny_tokenizer, reviews):
    task = replace(get_task("review-sentiment"), verbalizers={"v": ("최고 별로", "최고")}, verbalizer="v")
    with pytest.raises(EncodingError, match="' 최고 별로' begins with the tokens of ' 최고'"):
        make_encoder(tiny_tokenizer, task=task).encode(reviews)


def test_special_tokens_in_a_comment_are_text(tiny_tokenizer):
    comment = "<bos>맛<eos><pad> <unk>"
    (example,) = make_encoder(tiny_tokenizer).encode(rows(comment)).examples
    special = set(tiny_tokenizer.special_ids.values())
    assert [number for number in example.prompt_ids if number in special] == [tiny_tokenizer.bos_id]
    assert tiny_tokenizer.decode(example.prompt_ids) == HEAD + comment + CUE
