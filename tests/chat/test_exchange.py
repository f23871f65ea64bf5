"""One exchange by a plain template: the same bytes in training and generation, the end trained."""

from dataclasses import replace

import pytest

from kerastune.chat import Dialogue
from kerastune.chat.encoders import make_dialogue_encoder
from kerastune.chat.encoding import ChatEncoder
from kerastune.errors import EncodingError, TemplateError


def exchange(user="오늘 날씨가 어때요", answer="맑고 따뜻해요", **more):
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    return Dialogue.of([*more.get("before", []), *messages])


@pytest.fixture
def encoder(chat_files):
    return make_dialogue_encoder(chat_files("gemma"), template="context-question", max_length=256)


def test_prompt_answer_and_end(encoder):
    encoded = encoder.encode(exchange(), "q1")
    text = "### context: 오늘 날씨가 어때요\n### question:"
    tokenizer = encoder.tokenizer
    assert encoded.prompt_ids == (tokenizer.bos_id, *tokenizer.encode(text))
    assert encoded.ids[1:-1] == tuple(tokenizer.encode(f"{text} 맑고 따뜻해요"))
    assert encoded.ids[-1] == tokenizer.eos_id
    assert encoded.trained == tuple(range(len(encoded.prompt_ids), len(encoded)))
    assert encoder.prompt_ids(exchange().before_answer) == encoded.prompt_ids
    assert encoder.marked(exchange()) == [(text, False), (" 맑고 따뜻해요", True)]


def test_the_system_message_stands_before_the_users(encoder):
    whole = exchange(before=[{"role": "system", "content": "짧게."}])
    assert encoder.encode(whole) == encoder.encode(exchange("짧게.\n\n오늘 날씨가 어때요"))


def test_several_turns_are_refused(encoder):
    with pytest.raises(EncodingError, match="says one exchange, the dialogue has 2; choose a chat template"):
        encoder.encode(exchange(before=exchange_messages()))


def exchange_messages():
    return [{"role": one.role, "content": one.content} for one in exchange().messages]


def test_a_long_message_loses_its_end_and_never_the_answer(encoder):
    short = replace(encoder, max_length=60)
    encoded = short.encode(exchange("오늘은 맑아요 " * 200))
    assert len(encoded) <= 60
    assert encoder.tokenizer.decode(encoded.completion_ids) == " 맑고 따뜻해요"
    text = encoder.tokenizer.decode(encoded.prompt_ids)
    assert text.startswith("### context: 오늘은 맑아요 오늘은")
    assert text.endswith("\n### question:")
    kept = text.removeprefix("### context: ").removesuffix("\n### question:")
    assert encoded.characters_lost == len("오늘은 맑아요 " * 200) - len(kept)
    with pytest.raises(EncodingError, match="'q9': max_length 20 has no room for the answer and some text"):
        replace(encoder, max_length=20).encode(exchange("오늘은 맑아요 " * 200), "q9")


def test_an_answer_that_merges_with_its_prompt_is_refused(chat_files):
    merging = make_dialogue_encoder(chat_files("gemma"), template="{context}\n안", max_length=64)
    object.__setattr__(merging, "template", replace(merging.template, completion="{label}"))
    with pytest.raises(EncodingError, match="row 'm': the answer merges with the end of the prompt"):
        merging.encode(exchange("오늘", "녕하세요?"), "m")


def test_which_encoder_is_made(chat_files):
    def made(name):
        return make_dialogue_encoder(chat_files("gemma"), template=name, max_length=9999)

    assert isinstance(made(None), ChatEncoder)
    assert isinstance(made("zephyr"), ChatEncoder)
    assert made("instruction").name == "instruction"
    assert made("instruction").max_length == 512
    assert made(r"{text}\n요약:").template.prompt == "{text}\n요약:"
    with pytest.raises(
        TemplateError, match=r"there are chat templates: own, gemma, .* and plain ones: restaurant"
    ):
        made("alpaca")
    with pytest.raises(EncodingError, match="expected one slot for the user's message, received a, b"):
        made("{a}{b}")
