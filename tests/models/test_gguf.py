"""A converted GGUF is the model that it was made from."""

import resource
from io import BytesIO

import gguf
import numpy as np
import pytest
import sentencepiece
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from kerastune.errors import ModelError
from kerastune.models import resolve_model
from kerastune.models.gguf_reader import Gguf, read_gguf
from kerastune.models.gguf_tokenizer import write_tokenizer
from kerastune.models.vocabulary import fast_vocabulary, sentencepiece_vocabulary
from kerastune.tokenizer import load_tokenizer
from tests.tiny_gguf import write_gguf

IDS = torch.tensor([[2, *range(270, 290)]])


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "gemma3", "llama", "llama3", "qwen2", "qwen3"])
def test_logits_are_those_of_the_original_model(kind, gguf_model, tmp_path):
    made = gguf_model(kind)
    folder = resolve_model(str(made.path), cache_dir=tmp_path).path
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        expected, received = made.model(IDS).logits, loaded(IDS).logits
    assert type(loaded) is type(made.model)
    assert (expected - received).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("kind", ["gemma3", "llama3"])
def test_keras_hub_computes_the_same_logits(kind, gguf_model, tmp_path):
    import keras
    import keras_hub

    made = gguf_model(kind)
    files = resolve_model(str(made.path), cache_dir=tmp_path)
    # KerasHub's converter does not read rms_norm_eps for Llama.
    backbone = keras_hub.models.Backbone.from_preset(
        str(files.path), dtype="float32", layer_norm_epsilon=files.config["rms_norm_eps"]
    )
    inputs = {"token_ids": IDS.numpy(), "padding_mask": np.ones(IDS.shape, bool)}
    received = keras.ops.convert_to_numpy(backbone.token_embedding(backbone(inputs), reverse=True))
    with torch.no_grad():
        expected = made.model(IDS).logits.numpy()
    assert np.abs(expected - received).max() < 1e-5 * np.abs(expected).max()


def test_quantised_weights_are_the_dequantised_values(gguf_model, tmp_path):
    made = gguf_model("qwen2", "Q8_0")
    tensors = load_file(resolve_model(str(made.path), cache_dir=tmp_path).path / "model.safetensors")
    reader = {tensor.name: tensor for tensor in gguf.GGUFReader(made.path).tensors}
    for ours, theirs in (("mlp.gate_proj", "ffn_gate"), ("self_attn.k_proj", "attn_k")):
        tensor = reader[f"blk.3.{theirs}.weight"]
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0
        np.testing.assert_array_equal(tensors[f"model.layers.3.{ours}.weight"], expected)


def test_rope_is_written_for_both_stacks(gguf_model, tmp_path):
    config = resolve_model(str(gguf_model("llama3").path), cache_dir=tmp_path).config
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 500000.0
    assert config["rope_scaling"]["factor"] == config["rope_parameters"]["factor"] == 8.0


@pytest.fixture(scope="module")
def converted(gguf_model, tmp_path_factory):
    return resolve_model(str(gguf_model("gemma3").path), cache_dir=tmp_path_factory.mktemp("cache"))


TEXTS = st.text(
    st.sampled_from("국물이 진하고 양 많아요.\n  ▁<b>the food ㅋㅠ👨‍👩‍👧\u1100\u1161é"), max_size=40
)


@given(text=TEXTS | st.text(max_size=20))
def test_ids_are_those_of_the_trained_sentencepiece_model(text, converted, trained_sentencepiece):
    expected = trained_sentencepiece.encode(text)
    rebuilt = sentencepiece.SentencePieceProcessor(model_file=str(converted.path / "tokenizer.model"))
    assert load_cached(converted).encode(text) == expected
    assert rebuilt.encode(text) == expected


_TOKENIZERS = {}


def load_cached(files):
    return _TOKENIZERS.setdefault(files.path, load_tokenizer(files))


def test_auto_tokenizer_reads_the_folder(converted):
    auto = transformers.AutoTokenizer.from_pretrained(converted.path)
    text = "국물이  진하고\n<b>최고"
    assert auto(text).input_ids == [2, *load_cached(converted).encode(text)]
    assert (auto.bos_token_id, auto.eos_token_id, auto.unk_token_id, auto.pad_token_id) == (2, 1, 3, 0)


def test_tensorflow_text_reads_the_sentencepiece_model(converted):
    import keras_hub

    tokenizer = keras_hub.tokenizers.SentencePieceTokenizer(proto=str(converted.path / "tokenizer.model"))
    assert list(tokenizer("국물이 최고")) == load_cached(converted).encode("국물이 최고")


def test_not_a_gguf_file(tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ModelError, match=r"expected a GGUF file.*received b'PK"):
        resolve_model(str(path), cache_dir=tmp_path)


@pytest.mark.parametrize("kept", [5, 40, 3000, -1])
def test_truncated_gguf_names_both_sizes(kept, gguf_model, tmp_path):
    whole = gguf_model("qwen3").path.read_bytes()
    path = tmp_path / "x.gguf"
    path.write_bytes(whole[:kept])
    with pytest.raises(ModelError, match=f"truncated.*expected .* received {len(whole[:kept])}"):
        resolve_model(str(path), cache_dir=tmp_path)
    assert not list((tmp_path / "models").glob("x-*[!k]"))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("llama.block_count", 2**32 - 1, "expected between 1 and .* layers .* block_count of 4294967295"),
        ("llama.block_count", 0, "block_count of 0"),
        ("llama.attention.head_count", 0, "expected one positive attention.head_count"),
        ("llama.attention.head_count", 3, "blk.0.attn_q.weight .* multiple of 6 rows, .* received 32"),
        ("llama.embedding_length", 7, "expected an embedding_length of 32"),
    ],
)
def test_absurd_counts_are_refused_before_anything_is_made_for_them(key, value, said, tmp_path):
    path = tmp_path / "x.gguf"
    write_gguf(path)
    content = path.read_bytes()
    place = content.index(key.encode()) + len(key) + 4  # behind the key and its value's type
    path.write_bytes(content[:place] + value.to_bytes(4, "little") + content[place + 4 :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=said):
        resolve_model(str(path), cache_dir=tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_unknown_architecture_is_named(tmp_path):
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match="received 'mamba'"):
        resolve_model(str(path), cache_dir=tmp_path)


def test_reader_agrees_with_the_gguf_package(gguf_model):
    path = gguf_model("gemma2", "Q8_0").path
    ours, theirs = read_gguf(path), gguf.GGUFReader(path)
    assert set(ours.tensors) == {tensor.name for tensor in theirs.tensors}
    for tensor in theirs.tensors:
        found = ours.tensors[tensor.name]
        assert (found.offset, found.size) == (tensor.data_offset, tensor.n_bytes)
    for key, value in ours.metadata.items():
        np.testing.assert_array_equal(value, theirs.fields[key].contents())


CORPUS = ["국물이 진하고 양이 많아요", "가격도 착하고 맛도 최고 ㅋㅋㅋ", "the food was good and cheap"] * 4


def test_vocabulary_with_a_space_before_every_text(tmp_path):
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, model_type="bpe", vocab_size=360,
        byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
        character_coverage=1.0, minloglevel=2,
    )  # fmt: skip
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    numbers = range(trained.get_piece_size())
    types = [6 if trained.is_byte(n) else 2 if n == 0 else 3 if trained.is_control(n) else 1 for n in numbers]
    metadata = {
        "general.architecture": "llama",
        "llama.context_length": 64,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [trained.id_to_piece(n) for n in numbers],
        "tokenizer.ggml.scores": np.array([trained.get_score(n) for n in numbers], np.float32),
        "tokenizer.ggml.token_type": np.array(types),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    assert write_tokenizer(Gguf(path=tmp_path, metadata=metadata, tensors={}), tmp_path) == [2]
    texts = ["", " ", "국물이", "  국물이  최고 ", "the food\n▁ㅋ👨‍👩‍👧", "\u1100\u1161"]
    fast = fast_vocabulary(tmp_path / "tokenizer.json", [], tmp_path)
    assert fast.encode_batch(texts) == trained.encode(texts)
    assert sentencepiece_vocabulary(tmp_path / "tokenizer.model").encode_batch(texts) == trained.encode(texts)
