"""A run's folder that was never trained, with a real adapter's files and scores as `evaluate` leaves them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kerastune.adapter import write_adapter
from kerastune.adapter_card import AdapterCard
from kerastune.config import RunConfig
from kerastune.config_file import write_config
from kerastune.dataset import read_dataset
from kerastune.evaluating import EvaluatedTable, assess, write_evaluation
from kerastune.lora import Factors
from kerastune.run import ADAPTER, CONFIG_TOML, MANIFEST, Run
from kerastune.scoring import Scores

PROMPT = "음식점 리뷰: {comment}\n```한마디로``` 말해 이 가게는"


@pytest.fixture
def make_run(reviews_file, tmp_path) -> Callable[..., Path]:
    """Write a run's folder; its base is the packaged model's unless told."""

    def make(name: str = "mine", base_id: str = "google/gemma-3-270m", measured: bool = True) -> Path:
        folder, rows = tmp_path / "runs" / name, read_dataset(reviews_file)
        config = RunConfig().with_options({"rank": 2, "train_file": str(reviews_file), "targets": ("query",)})
        write_config(config, folder / CONFIG_TOML)
        card = AdapterCard(
            base_id=base_id, model=base_id, base_fingerprint="ba5e" * 16, tokenizer_fingerprint="70ce" * 16,
            task="review-sentiment", template="restaurant-cloze", prompt=PROMPT, completion=" {label}",
            labels=(0, 1), label_words=("별로|", "최고"), max_length=256, layout="peft",
        )  # fmt: skip
        factors = {"model.layers.0.self_attn.q_proj": Factors(*map(_ones, [(2, 3), (4, 2)]), alpha=2.0)}
        write_adapter(folder / ADAPTER, factors, card)
        manifest = {
            "train": {"source": f"/home/secret/{reviews_file.name}", "sha256": rows.sha256, "rows": 10},
            "stack": {"stack": "keras", "backend": "jax", "dtype": "float32", "trainable": 3796992,
                      "parameters": 268098176},
            "training": {"steps": 4, "seconds": 12.5},
        }  # fmt: skip
        (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        if measured:
            right = np.eye(2)[rows.labels] * 0.8 + 0.1
            right[0] = right[0, ::-1]  # one of the ten is wrong
            scores = Scores(rows.ids, rows.task.labels, np.log(right))
            evaluated = assess(scores, rows, rows)
            write_evaluation(Run.load(folder), {"held_out": EvaluatedTable(rows, scores, evaluated)})
        return folder

    return make


def _ones(shape: tuple[int, ...]) -> np.ndarray:
    return np.ones(shape, np.float32)
