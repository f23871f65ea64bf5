import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, processors, trainers

from kerastune.errors import ModelError
from kerastune.models import ModelFiles, resolve_model
from kerastune.models.byte_level import PRE_TOKENIZERS, byte_level_parts
from kerastune.tokenizer import load_tokenizer

CORPUS = [
    "국물이 진하고 양이 많아요 123",
    "the food wasn't good, it's 4567 won",
    "최고 ㅋㅋㅋ\n\n음식이  짜요",
] * 5
SPECIAL = ["<|begin|>", "<|end|>", "<|im_end|>", "<|reserved_0|>"]


def train(pre_tokenizer, normalizer=None):
    """A byte-level BPE built by the library's own objects."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


PLAIN = train(pre_tokenizers.ByteLevel(add_prefix_space=False))


def save(folder: Path, tokenizer=PLAIN, config=None, generation=None, **settings) -> ModelFiles:
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **(config or {})}))
    (folder / "generation_config.json").write_text(json.dumps(generation or {}))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    save_file({"w": np.zeros(1, np.float32)}, folder / "model.safetensors")
    return resolve_model(str(folder), cache_dir=folder / "cache")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(save(tmp_path_factory.mktemp("t") / "m", eos_token="<|end|>", pad_token="<|end|>"))


def test_special_strings_in_a_text_stay_text(tokenizer):
    ids = tokenizer.encode("a<|begin|>b<|im_end|>")
    assert not set(ids) & set(tokenizer.special_ids.values())
    assert tokenizer.decode(ids) == "a<|begin|>b<|im_end|>"


def test_turn_markers_that_a_file_calls_ordinary_stay_text_too(tmp_path):
    made = tokenizers.Tokenizer.from_str(PLAIN.to_str())
    made.add_tokens([AddedToken("<|im_start|>", special=False), AddedToken("<tool>", special=False)])
    loaded = load_tokenizer(save(tmp_path / "m", made, eos_token="<|end|>"))
    assert made.token_to_id("<|im_start|>") not in loaded.encode("<|im_start|>user")
    assert loaded.encode("<tool>") == [made.token_to_id("<tool>")]


@given(texts=st.lists(st.text(), max_size=4))
def test_what_goes_in_comes_out(texts, tokenizer):
    batch = tokenizer.encode_batch(texts)
    assert batch == [tokenizer.encode(text) for text in texts]
    assert [tokenizer.decode([0, *ids, 1]) for ids in batch] == texts


def test_pad_is_never_an_end(tokenizer, tmp_path):
    ids = tokenizer.special_ids
    assert tokenizer.end_ids == (ids["<|end|>"], ids["<|im_end|>"])
    assert tokenizer.pad_id == ids["<|reserved_0|>"]
    named = load_tokenizer(save(tmp_path / "a", eos_token="<|end|>", pad_token="<|begin|>"))
    assert named.pad_id == ids["<|begin|>"]
    unknown = load_tokenizer(
        save(tmp_path / "b", eos_token="<|end|>", pad_token="<|end|>", unk_token="<|begin|>")
    )
    assert unknown.pad_id == ids["<|begin|>"]


def test_ends_of_all_three_files(tmp_path):
    files = save(
        tmp_path / "m",
        config={"eos_token_id": 0},
        generation={"eos_token_id": [3, 1]},
        eos_token={"content": "<|end|>"},
    )
    assert load_tokenizer(files).end_ids == (1, 0, 3, 2)
    assert load_tokenizer(files).pad_id == 4


def test_bos_only_where_the_model_takes_one(tmp_path):
    settings = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}
    assert load_tokenizer(save(tmp_path / "a", **settings)).bos_id is None
    assert load_tokenizer(save(tmp_path / "b", **settings, add_bos_token=True)).bos_id == 0
    made = tokenizers.Tokenizer.from_str(PLAIN.to_str())
    made.post_processor = processors.TemplateProcessing("<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    loaded = load_tokenizer(save(tmp_path / "c", made, **settings))
    assert loaded.bos_id == 0
    assert 0 not in loaded.encode("text")


def test_nothing_is_cut_or_padded_unasked(tmp_path):
    made = tokenizers.Tokenizer.from_str(PLAIN.to_str())
    made.enable_truncation(3)
    made.enable_padding(length=5)
    loaded = load_tokenizer(save(tmp_path / "m", made, eos_token="<|end|>"))
    assert loaded.encode_batch(["ab", "국물이 진하고"]) == [
        PLAIN.encode(text).ids for text in ("ab", "국물이 진하고")
    ]


def test_pieces_as_a_preview_shows_them(tokenizer):
    shown = [tokenizer.token_text(number) for number in tokenizer.encode("음식 it's\n")]
    assert "".join(shown) == "".join(f"<0x{byte:02X}>" for byte in "음식".encode()) + "▁it's\\n"
    assert tokenizer.token_text(1) == "<|end|>"


def test_fingerprint_is_of_the_meaning(tokenizer, tmp_path):
    files = save(tmp_path / "a", eos_token="<|end|>")
    path = files.path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    content["padding"] = None
    path.write_text(json.dumps(content, indent=1))
    assert load_tokenizer(files).fingerprint == tokenizer.fingerprint
    content["model"]["merges"] = content["model"]["merges"][:-1]
    path.write_text(json.dumps(content))
    assert load_tokenizer(files).fingerprint != tokenizer.fingerprint


def test_no_tokenizer_and_no_end(tmp_path):
    files = save(tmp_path / "a", train(pre_tokenizers.ByteLevel()), eos_token="absent")
    assert load_tokenizer(files).end_ids == (2,)
    (files.path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer.json: is damaged"):
        load_tokenizer(files)
    # One that can be read, and cannot encode.
    unknown = {"type": "WordLevel", "vocab": {"b": 0}, "unk_token": "<unk>"}
    (files.path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": unknown}))
    with pytest.raises(ModelError, match=r"tokenizer.json: is damaged .*UNK"):
        load_tokenizer(files)
    # One that lets the library panic, which is no Exception.
    pieces = [{"SpecialToken": {"id": "<x>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    panics = {"type": "TemplateProcessing", "single": pieces, "pair": pieces, "special_tokens": {}}
    known = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    whole = {"version": "1.0", "model": known, "post_processor": panics}
    (files.path / "tokenizer.json").write_text(json.dumps(whole))
    with pytest.raises(ModelError, match=r"tokenizer.json: is damaged .*no entry found"):
        load_tokenizer(files)
    (files.path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"expected tokenizer.json or tokenizer.model"):
        load_tokenizer(files)
    (files.path / "tokenizer.model").write_bytes(b"\xff not a model")
    with pytest.raises(ModelError, match="no SentencePiece model"):
        load_tokenizer(files)


LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
RAW = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
REFERENCES = {
    "gpt-2": (GPT2, None),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]), None),
    "llama-bpe": (pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), RAW]), None),
    "qwen2": (
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated"), RAW]),
        normalizers.NFC(),
    ),
}
REFERENCES = {name: train(*parts) for name, parts in REFERENCES.items()}


@given(
    text=st.text(st.sampled_from("국물이 진 하고\n12345 it's IT'S  e\u0301.!ㅋ\t"), max_size=40) | st.text()
)
@pytest.mark.parametrize("pre", REFERENCES)
def test_byte_level_pre_tokenizers(pre, text):
    reference = REFERENCES[pre]
    content = json.loads(reference.to_str())["model"]
    merges = [" ".join(pair) for pair in content["merges"]]
    parts = {"version": "1.0", **byte_level_parts(pre, content["vocab"], merges)}
    parts["model"]["ignore_merges"] = False  # what Llama 3 adds to it, the trained reference has not
    rebuilt = tokenizers.Tokenizer.from_str(json.dumps(parts))
    assert rebuilt.encode(text).ids == reference.encode(text, add_special_tokens=False).ids
    assert pre in PRE_TOKENIZERS


def keras_preset(folder: Path, class_name: str) -> ModelFiles:
    assets = folder / "assets" / "tokenizer"
    assets.mkdir(parents=True)
    (folder / "config.json").write_text('{"class_name": "Backbone", "registered_name": "x"}')
    (folder / "tokenizer.json").write_text(json.dumps({"class_name": class_name}))
    (folder / "model.weights.h5").touch()
    return resolve_model(str(folder), cache_dir=folder / "cache")


def test_keras_preset_with_byte_level_vocabulary(tmp_path):
    files = keras_preset(tmp_path, "Llama3Tokenizer")
    with pytest.raises(ModelError, match=r"vocabulary.spm, or vocabulary.json"):
        load_tokenizer(files)
    made = json.loads(REFERENCES["llama-bpe"].to_str())["model"]
    renamed = {"<|begin|>": "<|begin_of_text|>", "<|end|>": "<|end_of_text|>"}
    vocabulary = {renamed.get(token, token): number for token, number in made["vocab"].items()}
    assets = tmp_path / "assets" / "tokenizer"
    (assets / "vocabulary.json").write_text(json.dumps(vocabulary))
    (assets / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in made["merges"])
    )
    loaded = load_tokenizer(files)
    assert (loaded.bos_id, loaded.end_ids, loaded.pad_id) == (0, (1, 2), 3)
    assert loaded.encode("국물이 123") == REFERENCES["llama-bpe"].encode("국물이 123").ids
    assert loaded.decode([0, *loaded.encode("a<|end_of_text|>"), 1]) == "a<|end_of_text|>"
    (tmp_path / "tokenizer.json").write_text('{"class_name": "WhisperTokenizer"}')
    with pytest.raises(ModelError, match="received WhisperTokenizer"):
        load_tokenizer(files)
