"""A tokenizer of Gemma's kind, small enough to train in the fixture, and a few reviews."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import settings
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Trained

from kerastune.batching import make_batch
from kerastune.dataset import Dataset, read_dataset
from kerastune.encoding import Encoder, Encodings
from kerastune.fine_tuning import train
from kerastune.models import ModelFiles, resolve_model
from kerastune.run import Run
from kerastune.task import get_task
from kerastune.template import get_template
from kerastune.tokenizer import Tokenizer, load_tokenizer
from tests.tiny_models import write_model

# Before anything imports Keras; other backends are tested in processes of their own.
os.environ["KERAS_BACKEND"] = "jax"
# How long an example takes says what else the machine does.
settings.register_profile("kerastune", deadline=None)
settings.load_profile("kerastune")

COMMENTS = [
    "국물이 진하고 양이 많아요", "직원이 불친절하고 음식이 늦게 나와요", "가격도 착하고 맛도 최고 ㅋㅋㅋ",
    "다시는 안 가요 ㅠㅠ", "사장님이 친절하세요", "음식이 짜고 양이 적어요!!", "국물이 맛있어요. 또 올게요",
    "그냥 별로 맛이 없어요", "분위기가 좋고 고기가 최고", "기다린 보람이 없고 비싸기만 해요",
]  # fmt: skip
LABELS = [1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
CORPUS = [
    f"음식점 리뷰: {text}\n한마디로 말해 이 가게는 {word}" for text in COMMENTS for word in ("별로", "최고")
]


@pytest.fixture(scope="session")
def train_tokenizer_folder(tmp_path_factory) -> Callable[..., Path]:
    """Train byte-fallback BPE on texts; pieces may hold several words unless words are kept apart."""

    def train(corpus: list[str], words_apart: bool = True) -> Path:
        folder: Path = tmp_path_factory.mktemp("tokenizer")
        write_tokenizer_folder(folder, corpus, words_apart)
        return folder

    return train


@pytest.fixture(scope="session")
def train_tokenizer(train_tokenizer_folder) -> Callable[..., Tokenizer]:
    """Train a tokenizer of Gemma's kind; see `train_tokenizer_folder`."""

    def train(corpus: list[str], words_apart: bool = True) -> Tokenizer:
        folder = train_tokenizer_folder(corpus, words_apart)
        return load_tokenizer(
            ModelFiles(name="tiny", base_id="tiny", path=folder, layout="hf", cache_dir=folder / "cache")
        )

    return train


def write_tokenizer_folder(folder: Path, corpus: list[str], words_apart: bool = True) -> None:
    """Train a tokenizer into a folder; see `train_tokenizer_folder`."""
    trained = Trained(models.BPE(unk_token="<unk>", byte_fallback=True))
    trained.normalizer = normalizers.Replace(" ", "▁")
    if words_apart:
        trained.pre_tokenizer = pre_tokenizers.Split(Regex("\n|▁?[^▁\n]+|▁"), "isolated")
    trained.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trained.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL + BYTES, show_progress=False)
    )
    trained.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", SPECIAL.index("<bos>"))]
    )
    content = json.loads(trained.to_str())
    # The trainer takes the bytes for special tokens; in a model's file they are ordinary pieces.
    content["added_tokens"] = content["added_tokens"][: len(SPECIAL)]
    write_model_folder(folder, content)


def write_model_folder(folder: Path, tokenizer: dict) -> None:
    settings = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    files = {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": settings | {"add_bos_token": True},
        "config.json": {"eos_token_id": SPECIAL.index("<eos>")},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_tokenizer(train_tokenizer) -> Tokenizer:
    """<pad> 0, <eos> 1, <bos> 2; " 별로" and " 최고" are a token each."""
    return train_tokenizer(CORPUS)


@pytest.fixture(scope="session")
def make_tiny_model(train_tokenizer_folder, tiny_tokenizer) -> Callable[..., ModelFiles]:
    """Make a small model with random weights, a Gemma 3 unless told; see `write_model`."""

    def make(seed: int = 7, architecture: str = "gemma3", **changes) -> ModelFiles:
        folder: Path = train_tokenizer_folder(CORPUS)
        write_model(folder, architecture, tiny_tokenizer.vocabulary_size, seed, **changes)
        return resolve_model(str(folder), cache_dir=folder / "cache")

    return make


@pytest.fixture(scope="session")
def tiny_model(make_tiny_model) -> ModelFiles:
    return make_tiny_model()


@pytest.fixture(scope="session")
def reviews_file(tmp_path_factory) -> Path:
    """The ten reviews as a TSV file."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.tsv"
    rows = [f"r{n}\t{text}\t{label}" for n, (text, label) in enumerate(zip(COMMENTS, LABELS, strict=True))]
    path.write_text("\n".join(["id\tcomment\tlabel", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def train_tiny(tiny_model, reviews_file, tmp_path_factory) -> Callable[..., Run]:
    """Train the tiny model on the ten reviews, for two epochs of two steps."""

    def make(folder: Path | None = None, **options) -> Run:
        short = {
            "epochs": 2,
            "batch_size": 5,
            "accumulate": 1,
            "max_length": 96,
            "learning_rate": 0.01,
            "rank": 4,
        }
        return train(
            read_dataset(reviews_file),
            out=folder or tmp_path_factory.mktemp("runs") / "run",
            show=False,
            **({"model": str(tiny_model.path)} | short | options),
        )

    return make


@pytest.fixture(scope="session")
def tiny_run(train_tiny) -> Run:
    """A finished run; copy its folder to change it."""
    return train_tiny()


@pytest.fixture
def reviews() -> Dataset:
    """Ten reviews with the ids r0 to r9, labels in turn."""
    ids = [f"r{number}" for number in range(len(COMMENTS))]
    return read_dataset(pd.DataFrame({"id": ids, "comment": COMMENTS, "label": LABELS}))


@pytest.fixture
def encodings(tiny_tokenizer, reviews) -> Encodings:
    task = get_task("review-sentiment")
    encoder = Encoder(
        task=task, template=get_template(task.template), tokenizer=tiny_tokenizer, max_length=96
    )
    return encoder.encode(reviews)


@pytest.fixture
def batch(encodings):
    """The ten reviews as one batch."""
    length = max(map(len, encodings.examples))
    answers = max(len(example.completion_ids) for example in encodings.examples)
    return make_batch(encodings.examples, rows=10, length=length, pad_id=0, answers=answers)
