"""Runs that were never trained: folders as training leaves them, with scores as `evaluate` leaves them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kerastune.adapter import CONFIG, WEIGHTS
from kerastune.adapter_card import CARD
from kerastune.config import RunConfig
from kerastune.config_file import write_config
from kerastune.dataset import Dataset, read_dataset
from kerastune.evaluating import EvaluatedTable, assess, write_evaluation
from kerastune.report.content import ReportContent
from kerastune.report.gathering import gather
from kerastune.run import ADAPTER, CONFIG_TOML, MANIFEST, Run
from kerastune.scoring import Scores
from kerastune.training_state import HISTORY

TRICKY = """<script>alert("x")</script> & 'single' </td> {{ rows }} 맛은 "최고"라더니"""
TEXTS = [
    "국물이 진하고 양이 많아요", "직원이 불친절하고 늦게 나와요", "가격도 착하고 맛도 최고 ㅋㅋㅋ",
    "다시는 안 가요 ㅠㅠ", "사장님이 친절하세요", "음식이 짜고 양이 적어요!!", "국물이 맛있어요. 또 올게요",
    "그냥 별로 맛이 없어요", TRICKY, "기다린 보람이 없고 비싸기만 해요",
]  # fmt: skip


@pytest.fixture(scope="session")
def table(tmp_path_factory) -> Path:
    """120 labelled reviews, every tenth of which is text that a page must not take for its own."""
    rows = [f"r{n:03d}\t{TEXTS[n % 10]} {n}번\t{1 - n % 2}" for n in range(120)]
    return write_rows(tmp_path_factory.mktemp("reviews") / "held_out.tsv", rows)


@pytest.fixture(scope="session")
def make_run(table, tmp_path_factory) -> Callable[..., Path]:
    """Write a run's folder; `skill` is how far the right label's logit stands out."""

    def make(name: str = "mine", skill: float = 1.2, seed: int = 0, epochs: int = 2) -> Path:
        folder = tmp_path_factory.mktemp("runs") / name
        adapter = folder / ADAPTER
        adapter.mkdir(parents=True)
        train = write_rows(
            tmp_path_factory.mktemp("train") / "train.tsv",
            [f"t{n}\t{TEXTS[n]} 정말\t{1 - n % 2}" for n in range(10)],
        )
        config = RunConfig().with_options(
            {"train_file": str(train), "model": str(folder / "no_such_model"), "seed": seed}
        )
        write_config(config, folder / CONFIG_TOML)
        card = {
            "model": "gemma3-270m", "base_id": "google/gemma-3-270m", "base_fingerprint": "ba5e" * 16,
            "template": "restaurant-cloze", "prompt": "음식점 리뷰: {comment}\n한마디로 말해 이 가게는",
            "completion": " {label}", "labels": [0, 1], "label_words": ["별로", "최고"], "max_length": 256,
        }  # fmt: skip
        (adapter / CARD).write_text(json.dumps(card, ensure_ascii=False), encoding="utf-8")
        (adapter / CONFIG).write_text("{}", encoding="utf-8")
        (adapter / WEIGHTS).write_bytes(name.encode())
        manifest = {
            "versions": {"python": "3.11.0", "keras": "3.15.1"},
            "train": {"source": str(train), "sha256": read_dataset(train).sha256, "rows": 10},
            "stack": {"stack": "keras", "backend": "jax", "device": "cpu", "dtype": "float32",
                      "parameters": 268098176, "trainable": 3796992},
            "training": {"steps": 20 * epochs, "seconds": 12.5, "best_epoch": epochs},
            "peak_memory_gb": 1.25,
        }  # fmt: skip
        (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        write_history(folder / HISTORY, epochs)
        run, rows = Run.load(folder), read_dataset(table)
        scores = make_scores(rows, skill, seed)
        assessed = assess(scores, rows, read_dataset(train))
        write_evaluation(run, {table.stem: EvaluatedTable(rows, scores, assessed)})
        return folder

    return make


@pytest.fixture(scope="session")
def one(make_run, table) -> ReportContent:
    return gather(make_run(), table)


@pytest.fixture(scope="session")
def two(make_run, table) -> ReportContent:
    return gather(make_run("keras_jax"), table, make_run("hf_torch", skill=0.5, seed=3, epochs=1))


def make_scores(rows: Dataset, skill: float, seed: int) -> Scores:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(len(rows), 2)) + skill * np.eye(2)[rows.labels]
    if len(rows) > 8:  # the first tricky text is an error of every run
        logits[8] = 4.0 - 8.0 * np.eye(2)[rows.labels[8]]
    return Scores(rows.ids, rows.task.labels, logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def write_rows(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["id\tcomment\tlabel", *rows]) + "\n", encoding="utf-8")
    return path


def write_history(path: Path, epochs: int) -> None:
    lines = []
    for epoch in range(1, epochs + 1):
        for step in range(20 * (epoch - 1) + 1, 20 * epoch + 1):
            lines.append({"step": step, "epoch": epoch, "loss": 3.0 / step, "learning_rate": 1e-3 / step})
        lines.append({"epoch": epoch, "mean_loss": 1.0 / epoch, "validation_loss": 0.7 / epoch})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
