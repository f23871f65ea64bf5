"""Chat encoding: transformers' ids, the assistant's turns alone trained, no control token out of a text."""

import json
from dataclasses import replace

import pytest

from kerastune.batching import make_batch
from kerastune.chat import Dialogue, load_chat_template, make_chat_encoder
from kerastune.chat.named_templates import NAMED_TEMPLATES
from kerastune.errors import EncodingError, TemplateError
from kerastune.models import ModelFiles
from kerastune.tokenizer import load_tokenizer
from tests.chat.conftest import SPECIAL, TURN_END

FAMILIES = list(SPECIAL)
NAMED = {"gemma": "gemma", "tinyllama": "zephyr", "llama3": "llama3", "chatml": "chatml"}
TALK = [
    ("user", "안녕하세요? 오늘 날씨가 어때요"), ("assistant", "네, 오늘은 맑고 따뜻해요"),
    ("user", "그럼 산책을 갈까요?"), ("assistant", "좋은 생각이에요 ㅋㅋ"),
]  # fmt: skip
# As the vendors' own templates write them: BOS first, and here and there a trim.
OWN = {
    "llama3": "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + "
    "'<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + "
    "m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
}


def dialogue(*turns, system=None):
    head = [] if system is None else [("system", system)]
    return Dialogue.of([{"role": role, "content": text} for role, text in [*head, *turns]])


def spans(encoded):
    """The trained runs, as ids."""
    runs, ids = [[]], encoded.ids
    for before, place in zip([None, *encoded.trained], encoded.trained, strict=False):
        if before is not None and place != before + 1:
            runs.append([])
        runs[-1].append(ids[place])
    return runs


@pytest.fixture
def encoder(chat_files):
    return lambda family, template=None, **options: make_chat_encoder(chat_files(family, template), **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_named_templates_say_what_the_vendors_say(encoder, family):
    found = encoder(family).template
    assert found.name == NAMED[family]
    text = found.render(dialogue(*TALK[:3], system="짧게 답하세요."), add_generation_prompt=True)
    u1, a1, u2 = (text for _, text in TALK[:3])
    assert (
        text
        == {
            "gemma": f"<start_of_turn>user\n짧게 답하세요.\n\n{u1}<end_of_turn>\n<start_of_turn>model\n{a1}"
            f"<end_of_turn>\n<start_of_turn>user\n{u2}<end_of_turn>\n<start_of_turn>model\n",
            "tinyllama": f"<|system|>\n짧게 답하세요.</s>\n<|user|>\n{u1}</s>\n<|assistant|>\n{a1}</s>\n"
            f"<|user|>\n{u2}</s>\n<|assistant|>\n",
            "llama3": "<|start_header_id|>system<|end_header_id|>\n\n짧게 답하세요.<|eot_id|>"
            f"<|start_header_id|>user<|end_header_id|>\n\n{u1}<|eot_id|>"
            f"<|start_header_id|>assistant<|end_header_id|>\n\n{a1}<|eot_id|>"
            f"<|start_header_id|>user<|end_header_id|>\n\n{u2}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "chatml": f"<|im_start|>system\n짧게 답하세요.<|im_end|>\n<|im_start|>user\n{u1}<|im_end|>\n"
            f"<|im_start|>assistant\n{a1}<|im_end|>\n<|im_start|>user\n{u2}<|im_end|>\n<|im_start|>assistant\n",
        }[family]
    )


@pytest.mark.parametrize(
    ("family", "template"),
    [*((family, None) for family in FAMILIES), *((family, source) for family, source in OWN.items())],
    ids=lambda value: value if value in FAMILIES else "own" if value else "named",
)
def test_ids_are_those_of_transformers(encoder, chat_files, family, template):
    transformers = pytest.importorskip("transformers", reason="transformers is the reference")
    ours, files = encoder(family, template), chat_files(family, template)
    settings = json.loads((files.path / "tokenizer_config.json").read_text())
    reference = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(files.path / "tokenizer.json"),
        **{role: settings[role] for role in ("bos_token", "eos_token", "pad_token")},
    )
    for turns, generation in ((TALK[:1], True), (TALK[:3], True), (TALK, False)):
        text = reference.apply_chat_template(
            [{"role": role, "content": content} for role, content in turns],
            chat_template=template or NAMED_TEMPLATES[NAMED[family]].source,
            add_generation_prompt=generation,
            tokenize=False,
        )
        bos = settings["bos_token"]
        expected = reference(text.removeprefix(bos or ""), add_special_tokens=False)["input_ids"]
        expected = [*([] if bos is None else [reference.convert_tokens_to_ids(bos)]), *expected]
        if generation:
            assert list(ours.prompt_ids(dialogue(*turns))) == expected
        else:  # what follows the last end token is not read
            ids = ours.encode(dialogue(*turns)).ids
            assert list(ids) == expected[: len(ids)]
            assert len(expected) - len(ids) <= 2


@pytest.mark.parametrize("family", FAMILIES)
def test_trained_are_the_answers_and_their_ends(encoder, family):
    ours = encoder(family)
    encoded = ours.encode(dialogue(*TALK, system="질문에 짧게 답하세요."))
    end = ours.tokenizer.special_ids[TURN_END[family]]
    runs = spans(encoded)
    assert [run[-1] for run in runs] == [end, end]
    assert [run.count(end) for run in runs] == [1, 1]
    assert [ours.tokenizer.decode(run).strip() for run in runs] == [TALK[1][1], TALK[3][1]]
    assert encoded.ids.count(ours.tokenizer.bos_id) == (ours.tokenizer.bos_id is not None)
    assert encoded.ids[: len(encoded.prompt_ids)] == ours.prompt_ids(
        dialogue(TALK[0], system="질문에 짧게 답하세요.")
    )
    # The second answer too stands behind the very ids that generation puts in front of it.
    second = ours.prompt_ids(dialogue(*TALK[:3], system="질문에 짧게 답하세요."))
    assert encoded.ids[: len(second)] == second
    assert encoded.trained[len(runs[0])] == len(second)
    assert end in ours.stop_ids
    assert ours.tokenizer.eos_id in ours.stop_ids


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_have_every_span(encoder, family):
    encoded = encoder(family).encode(dialogue(*TALK))
    batch = make_batch([encoded], rows=2, length=len(encoded) + 3, pad_id=0, answers=len(encoded.trained) + 2)
    weight = batch.answer_weights[0] > 0
    assert batch.weight == len(encoded.trained) == weight.sum()
    assert batch.answer_ids[0][weight].tolist() == [id_ for run in spans(encoded) for id_ in run]
    assert (batch.answer_positions[0][weight] + 1).tolist() == list(encoded.trained)
    assert batch.token_ids[0, : len(encoded)].tolist() == list(encoded.ids)


@pytest.mark.parametrize("last", ["user", "assistant", "system"])
@pytest.mark.parametrize("family", FAMILIES)
def test_control_tokens_that_somebody_typed_stay_text(encoder, family, last):
    """The family's own tokens, typed, are ordinary ids; only the template's are control tokens."""
    ours = encoder(family)
    typed = " ".join(token for token in SPECIAL[family] if token) + " 끝"
    turns = {"user": [(last, typed), TALK[1]], "assistant": [TALK[0], (last, typed)]}
    whole = dialogue(*turns.get(last, TALK[:2]), system=typed if last == "system" else "s")
    plain = dialogue(*TALK[:2], system="s")
    special = set(ours.tokenizer.special_ids.values())
    assert [i for i in ours.encode(whole).ids if i in special] == [
        i for i in ours.encode(plain).ids if i in special
    ]
    assert typed in ours.template.render(whole)
    assert typed in ours.tokenizer.decode(ours.encode(whole).ids)


def test_typed_control_tokens_have_the_ids_of_their_text(encoder):
    ours = encoder("gemma")
    ids = ours.prompt_ids(dialogue(("user", "<end_of_turn>")))
    typed = ours.tokenizer.encode("user\n<end_of_turn>")
    start, end = (ours.tokenizer.special_ids[token] for token in ("<start_of_turn>", "<end_of_turn>"))
    after = ours.tokenizer.encode("\n")
    assert list(ids) == [2, start, *typed, end, *after, start, *ours.tokenizer.encode("model\n")]


def test_one_bos_where_the_template_writes_one_too(encoder):
    ours = encoder("llama3", OWN["llama3"])
    assert ours.template.name == "own"
    ids = ours.encode(dialogue(*TALK)).ids
    assert ids == encoder("llama3").encode(dialogue(*TALK)).ids
    assert ids.count(ours.tokenizer.bos_id) == 1


def test_a_template_that_refuses_a_system_message_has_it_in_the_first_turn(encoder):
    ours = encoder("gemma", OWN["gemma"])
    assert not ours.template.has_system_role
    with_system = ours.encode(dialogue(*TALK, system="짧게 답하세요."))
    assert with_system == encoder("gemma").encode(dialogue(*TALK, system="짧게 답하세요."))
    assert ours.encode(dialogue(*TALK)) == encoder("gemma").encode(dialogue(*TALK))


def test_a_template_that_forgets_the_system_message_has_it_in_the_first_turn(encoder):
    forgetful = (
        "{% for m in messages if m.role != 'system' %}<start_of_turn>{{ m.content }}<end_of_turn>{% endfor %}"
    )
    found = encoder("gemma", forgetful).template
    assert (
        found.render(dialogue(TALK[0], system="짧게."))
        == f"<start_of_turn>짧게.\n\n{TALK[0][1]}<end_of_turn>"
    )


def test_long_dialogues_lose_their_oldest_turns(encoder):
    last = [("user", "그럼 오늘은?"), ("assistant", "맑아요")]
    whole = dialogue(*TALK, *last, system="짧게.")
    shorter = encoder("gemma").encode(dialogue(*TALK[2:], *last, system="짧게."))
    shortest = encoder("gemma").encode(dialogue(*last, system="짧게."))
    for room, expected, lost in ((len(shorter) + 5, shorter, TALK[:2]), (len(shortest) + 5, shortest, TALK)):
        found = encoder("gemma", max_length=room).encode(whole)
        assert found == replace(expected, characters_lost=sum(len(text) for _, text in lost))
    with pytest.raises(EncodingError, match="row 'r7', the last exchange and the system message alone take"):
        encoder("gemma", max_length=len(shortest) - 1).encode(whole, "r7")


def test_what_is_left_of_a_dialogue_that_waits_for_an_answer(encoder):
    ours = encoder("chatml")
    waiting = dialogue(*TALK, ("user", "그럼 오늘은?"), system="짧게.")
    room = len(ours.prompt_ids(dialogue(*TALK[2:], ("user", "그럼 오늘은?"), system="짧게.")))
    kept = ours.fit(waiting, room=room)
    assert kept == dialogue(*TALK[2:], ("user", "그럼 오늘은?"), system="짧게.")
    assert len(ours.prompt_ids(kept)) == room
    assert ours.fit(waiting) == waiting


def test_no_dialogue_is_longer_than_the_model_reads(encoder):
    assert encoder("gemma", max_length=9999).max_length == 512


def test_the_last_turn_alone(encoder):
    every, last = encoder("llama3").encode(dialogue(*TALK)), encoder("llama3", last_turn_alone=True)
    found = last.encode(dialogue(*TALK))
    assert (found.ids, found.untrained) == (every.ids, ())
    assert spans(found) == spans(every)[1:]


def test_an_answer_that_merges_with_its_head_is_refused(encoder):
    merging = "{% for m in messages %}<start_of_turn>{{ m.content }}<end_of_turn>{% endfor %}"
    merging += "{% if add_generation_prompt %}<start_of_turn>{% endif %}"
    ours = encoder("gemma", merging)
    assert ours.encode(dialogue(*TALK)).trained
    merging = merging.replace("{{ m.content }}", "안{{ m.content }}").replace(
        "_turn>{% endif", "_turn>안{% endif"
    )
    with pytest.raises(
        EncodingError, match="row 'a', message 2: its first characters merge with what stands"
    ):
        encoder("gemma", merging).encode(dialogue(TALK[0], ("assistant", "녕하세요?")), "a")


def test_a_template_that_changes_what_was_said_is_refused(encoder):
    forgetting = "{% for m in messages %}{% if loop.last or m.role == 'user' %}<start_of_turn>{{ m.content }}"
    forgetting += "<end_of_turn>{% endif %}{% endfor %}"
    with pytest.raises(EncodingError, match="message 2: chat template 'own' renders what stands before it"):
        encoder("gemma", forgetting).encode(dialogue(*TALK))


def test_a_template_without_an_end_is_refused(encoder):
    endless = "{% for m in messages %}<start_of_turn>{{ m.content }}{% endfor %}"
    with pytest.raises(TemplateError, match="ends the assistant's turn with no control token"):
        encoder("gemma", endless).encode(dialogue(*TALK))


def test_a_template_that_ends_the_last_turn_alone_is_refused(encoder):
    source = "{% for m in messages %}<start_of_turn>{{ m.content }}"
    source += "{% if loop.last %}<end_of_turn>{% endif %}{% endfor %}"
    with pytest.raises(EncodingError, match="renders what stands before it in another way"):
        encoder("gemma", source).encode(dialogue(*TALK))


def test_which_template_is_taken(chat_files):
    def load(family, name=None, source=None):
        files = chat_files(family, source)
        return load_chat_template(files, load_tokenizer(files), name)

    assert load("gemma", source="x").name == "own"
    assert load("gemma", "zephyr", source="x").name == "zephyr"
    assert load("tinyllama", "tinyllama").source == NAMED_TEMPLATES["zephyr"].source
    with pytest.raises(TemplateError, match=r"'llama3': needs the token <\|start_header_id\|>, which gemma"):
        load("gemma", "llama3")
    with pytest.raises(TemplateError, match="unknown chat template 'alpaca'; there are: own, gemma"):
        load("gemma", "alpaca")
    with pytest.raises(TemplateError, match="gemma: has no chat template of its own"):
        load("gemma", "own")


def test_a_template_beside_the_tokenizer(chat_folder, tmp_path):
    folder = chat_folder("gemma", [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}])
    files = ModelFiles(name="m", base_id="m", path=folder, layout="hf", cache_dir=tmp_path)
    assert load_chat_template(files, load_tokenizer(files)).source == "d"
    (folder / "chat_template.jinja").write_text("새 틀", encoding="utf-8")
    assert load_chat_template(files, load_tokenizer(files)).source == "새 틀"


def rendered(encoder, source):
    return encoder("gemma", source).template.render(dialogue(TALK[0]))


def test_templates_run_in_a_sandbox(encoder):
    for attack in (
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
    ):
        with pytest.raises(TemplateError, match="'own': does not render these messages"):
            rendered(encoder, attack)
    with pytest.raises(TemplateError, match="cannot be read as Jinja"):
        rendered(encoder, "{% for %}")
    with pytest.raises(TemplateError, match="does not render these messages: only two turns"):
        rendered(encoder, "{{ raise_exception('only two turns') }}")


def test_what_vendors_templates_use(encoder):
    assert rendered(encoder, "{% generation %}{{ eos_token }}{% endgeneration %}") == "<eos>"
    assert rendered(encoder, "{{ {'말': '<'} | tojson }}") == '{"말": "<"}'
    assert (
        rendered(encoder, "{% for m in [1, 2] %}{% if m == 2 %}{% break %}{% endif %}{{ m }}{% endfor %}")
        == "1"
    )
    # A date of today's would differ between training and inference.
    assert rendered(encoder, "{{ strftime_now is defined }}") == "False"
    assert rendered(encoder, "{% if True %}\n  a\n  {% endif %}\nb") == "  a\nb"
