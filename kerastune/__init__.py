"""kerastune: fine-tune an open language model on your own labels, and get a submission you can trust.

The whole public API is here, and each name is imported when it is first used.

    import kerastune as kt

    train = kt.read_dataset("data/reviews/train.tsv", task="review-sentiment")
    test = kt.read_dataset("data/reviews/test.tsv", task="review-sentiment", labelled=False)
    run = kt.train(train, model="gemma3-270m", out="runs/mine")
    scores = run.score(test)
    run.write_submission(scores, test, "submission.tsv")
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerastune.calibrating import calibrate
    from kerastune.calibration import Calibration
    from kerastune.chat.reading import read_dialogues
    from kerastune.classifier import LLMClassifier
    from kerastune.config import (
        LoraSpec,
        ModelSpec,
        RunConfig,
        ScoreSpec,
        TrainSpec,
    )
    from kerastune.config_file import read_config, write_config
    from kerastune.dataset import Dataset, read_dataset, report_data
    from kerastune.encoding import Encoder
    from kerastune.errors import KerastuneError
    from kerastune.evaluation import Metrics, evaluate
    from kerastune.fine_tuning import train
    from kerastune.launching import processes
    from kerastune.models import resolve_model
    from kerastune.report import write_report
    from kerastune.row_preview import preview
    from kerastune.run import Run
    from kerastune.scoring import Scores
    from kerastune.session import make_encoder
    from kerastune.shared_models import release_models
    from kerastune.submission import check_submission, write_submission
    from kerastune.task import Task, get_task
    from kerastune.template import Template, get_template
    from kerastune.tokenizer import Tokenizer, load_tokenizer

_HOME = {
    "Calibration": "calibration",
    "LLMClassifier": "classifier",
    "calibrate": "calibrating",
    "release_models": "shared_models",
    "Dataset": "dataset",
    "Encoder": "encoding",
    "KerastuneError": "errors",
    "LoraSpec": "config",
    "Metrics": "evaluation",
    "ModelSpec": "config",
    "Run": "run",
    "RunConfig": "config",
    "ScoreSpec": "config",
    "Scores": "scoring",
    "Task": "task",
    "Template": "template",
    "Tokenizer": "tokenizer",
    "TrainSpec": "config",
    "check_submission": "submission",
    "evaluate": "evaluation",
    "get_task": "task",
    "get_template": "template",
    "load_tokenizer": "tokenizer",
    "make_encoder": "session",
    "preview": "row_preview",
    "processes": "launching",
    "read_config": "config_file",
    "read_dataset": "dataset",
    "read_dialogues": "chat.reading",
    "report_data": "dataset",
    "resolve_model": "models",
    "train": "fine_tuning",
    "write_config": "config_file",
    "write_report": "report",
    "write_submission": "submission",
}

__all__ = [
    "Calibration",
    "Dataset",
    "Encoder",
    "KerastuneError",
    "LLMClassifier",
    "LoraSpec",
    "Metrics",
    "ModelSpec",
    "Run",
    "RunConfig",
    "ScoreSpec",
    "Scores",
    "Task",
    "Template",
    "Tokenizer",
    "TrainSpec",
    "calibrate",
    "check_submission",
    "evaluate",
    "get_task",
    "get_template",
    "load_tokenizer",
    "make_encoder",
    "preview",
    "processes",
    "read_config",
    "read_dataset",
    "read_dialogues",
    "release_models",
    "report_data",
    "resolve_model",
    "train",
    "write_config",
    "write_report",
    "write_submission",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'kerastune' has no attribute {name!r}")
    return getattr(importlib.import_module(f"kerastune.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
