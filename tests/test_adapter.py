"""The adapter's files: PEFT's own, and a card that keeps it from being used for something else."""

import dataclasses
import json

import numpy as np
import peft
import pytest

from kerastune.adapter import read_adapter, write_adapter
from kerastune.adapter_card import AdapterCard
from kerastune.errors import AdapterError
from kerastune.lora import Factors, native_to_peft

CARD = AdapterCard(
    base_id="google/gemma-3-270m", model="gemma3-270m", base_fingerprint="a" * 64,
    tokenizer_fingerprint="b" * 64, task="review-sentiment", template="restaurant-cloze",
    prompt="음식점 리뷰: {comment}\n이 가게는", completion=" {answer}", labels=(0, 1),
    label_words=("별로", "최고"), max_length=256, layout="peft",
)  # fmt: skip
QUERY, VALUE = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"


def some_factors():
    """A query in the native layout's geometry, of a rank of its own, and two plain ones."""
    draw = np.random.default_rng(0)

    def normal(*shape):
        return draw.standard_normal(shape).astype(np.float32)

    plain = {
        module: Factors(a=normal(2, 6), b=normal(4, 2), alpha=3.0)
        for module in (VALUE, VALUE.replace("1", "0"))
    }
    return {QUERY: native_to_peft(normal(4, 6, 2), normal(2, 3), alpha=3.0), **plain}


@pytest.fixture
def folder(tmp_path):
    write_adapter(tmp_path / "adapter", some_factors(), CARD)
    return tmp_path / "adapter"


def test_what_is_written_is_read(folder):
    factors, card = read_adapter(folder)
    assert card == CARD
    assert list(factors) == sorted(some_factors())
    for module, expected in some_factors().items():
        np.testing.assert_array_equal(factors[module].a, expected.a)
        np.testing.assert_array_equal(factors[module].b, expected.b)
        assert factors[module].alpha == expected.alpha


def test_writing_twice_gives_the_same_bytes(folder):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    write_adapter(folder, dict(reversed(some_factors().items())), CARD)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [entry.name for entry in folder.parent.iterdir()] == ["adapter"]


def test_peft_reads_the_config_and_the_pattern_of_what_differs(folder):
    config = peft.LoraConfig.from_pretrained(folder)
    assert (config.r, config.lora_alpha, config.base_model_name_or_path) == (2, 3.0, CARD.base_id)
    assert (config.rank_pattern, config.alpha_pattern) == ({QUERY: 8}, {QUERY: 12.0})
    assert config.target_modules == {"q_proj", "v_proj"}
    weights = peft.utils.load_peft_weights(str(folder), device="cpu")
    assert weights[f"base_model.model.{QUERY}.lora_B.weight"].shape == (12, 8)


@pytest.mark.parametrize("name", ["adapter_config.json", "kerastune.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(AdapterError, match=rf"no {name}; is the folder an adapter"):
        read_adapter(folder)


@pytest.mark.parametrize(
    ("name", "key"),
    [("adapter_config.json", "r"), ("adapter_config.json", "lora_alpha"), ("kerastune.json", "labels"),
     ("kerastune.json", "prompt")],
)  # fmt: skip
def test_a_missing_key_is_named(folder, name, key):
    table = json.loads((folder / name).read_text())
    del table[key]
    (folder / name).write_text(json.dumps(table))
    with pytest.raises(AdapterError, match=rf"lacks or misstates a key: .*'{key}'"):
        read_adapter(folder)


@pytest.mark.parametrize("content", ["{", "[]", "\0"])
def test_json_that_is_none(folder, content):
    (folder / "kerastune.json").write_text(content)
    with pytest.raises(AdapterError, match=r"kerastune\.json: (cannot be|expected a) .*JSON"):
        read_adapter(folder)


@pytest.mark.parametrize("kept", [0, 5, 300, -1])
def test_a_truncated_file_is_refused(folder, kept):
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(AdapterError) as caught:
        read_adapter(folder)
    assert str(caught.value).startswith(f"{weights}: damaged or cut short (")
    assert "\n" not in str(caught.value)


def test_ranks_that_do_not_fit_the_config(folder):
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"r": 5}))
    with pytest.raises(AdapterError, match=r"v_proj: expected A and B of rank 5, received shapes \(2, 6\)"):
        read_adapter(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base_fingerprint": "c" * 64, "model": "other"},
         "base model: expected 'gemma3-270m (aaaaaaaaaaaa)', received 'other (cccccccccccc)'"),
        ({"tokenizer_fingerprint": "c" * 64}, "tokenizer: expected"),
        ({"prompt": "리뷰: {comment}"}, "prompt: expected '음식점 리뷰"),
        ({"completion": "{answer}"}, "completion: expected ' {answer}', received '{answer}'"),
        ({"labels": (1, 0)}, "labels: expected (0, 1), received (1, 0)"),
        ({"label_words": ("부정", "긍정")},
         "label words: expected ('별로', '최고'), received ('부정', '긍정')"),
    ],
)  # fmt: skip
def test_use_for_something_else_is_refused(tmp_path, change, said):
    with pytest.raises(AdapterError) as caught:
        CARD.require_same(dataclasses.replace(CARD, **change), tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: the adapter was trained with another {said}")
    assert message.endswith("; use what it was trained with, or train a new one")
    assert "\n" not in message


def test_another_name_for_the_same_base_is_no_difference(tmp_path):
    CARD.require_same(dataclasses.replace(CARD, model="/a/copy", version="9"), tmp_path)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ({"q_proj": ""}, "invalid literal for int"),
        ({"q_proj": None}, "int"),
        ({"q_proj": 0}, "expected a rank of 1 or more and a finite lora_alpha, received 0 and "),
        ({"(": 2}, "unterminated subpattern"),
        ({"(a+)+": 2}, "repeats too much"),
        ({".*.*.*x": 2}, "repeats too much"),
    ],
)
def test_a_rank_pattern_that_is_none_is_refused(folder, pattern, said):
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    (folder / "adapter_config.json").write_text(json.dumps(config | {"rank_pattern": pattern}))
    with pytest.raises(AdapterError) as caught:
        read_adapter(folder)
    assert said in str(caught.value)
    assert str(caught.value).endswith("copy the adapter again")
