"""The real packaged Gemma 3 270M, converted once into the user's cache."""

import time

import pytest
import sentencepiece
import torch
import transformers

from kerastune.models import resolve_model
from kerastune.tokenizer import load_tokenizer

pytestmark = pytest.mark.real_model
TEXTS = [
    "국물이 진하고 양이 많아요. 다시 가고 싶네요 ㅋㅋㅋㅋㅋㅋㅋㅋ ㅠㅠ",
    "👨‍👩‍👧‍👦 최고!!! 🇰🇷🏳️‍🌈", "\u1112\u1161\u11ab글 ㅎㅏㄴ뷁쀍",
    "", "   앞뒤  공백   ", "\n\n\t탭\r\n", "<table> <b>굵게</b>", "a" * 50, "한" * 500,
]  # fmt: skip


@pytest.fixture(scope="module")
def gemma():
    return resolve_model("gemma3-270m")


def test_base_and_fingerprint(gemma):
    assert (gemma.base_id, gemma.layout) == ("google/gemma-3-270m", "hf")
    # The same on every machine: an adapter made on one is accepted on another.
    assert gemma.fingerprint == "7cb74880e9f555a38218a9d06ddfb24e790b687920c3200641ea3706688171ac"


def test_second_resolve_is_fast(gemma):
    assert gemma.fingerprint  # the weights are read here, if they never were
    start = time.perf_counter()
    assert resolve_model("gemma3-270m").fingerprint == gemma.fingerprint
    assert time.perf_counter() - start < 0.1


def test_both_tokenizer_files_give_the_same_ids(gemma):
    tokenizer = load_tokenizer(gemma)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(gemma.path / "tokenizer.model"))
    assert tokenizer.encode_batch(TEXTS) == processor.encode(TEXTS)
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(TEXTS)] == TEXTS
    assert (tokenizer.bos_id, tokenizer.end_ids, tokenizer.pad_id) == (2, (1, 106), 0)


def test_transformers_finds_korean_likely(gemma):
    tokenizer = load_tokenizer(gemma)
    model = transformers.AutoModelForCausalLM.from_pretrained(gemma.path)
    words = tokenizer.encode("대한민국의 수도는 서울이고, 일본의 수도는 도쿄이다.")
    losses = []
    for order in (words, words[::-1]):
        ids = torch.tensor([[tokenizer.bos_id, *order]])
        with torch.no_grad():
            losses.append(float(model(ids, labels=ids).loss))
    assert losses[0] < 4 < losses[1]
