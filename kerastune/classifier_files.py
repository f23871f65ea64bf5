"""A fitted estimator as a folder: `estimator.json`, and `adapter/` where something was trained."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastune.adapter import read_adapter, write_adapter
from kerastune.atomic import atomic_folder, write_text
from kerastune.calibration import Fit, Quality
from kerastune.classification import Classification
from kerastune.config import RunConfig
from kerastune.errors import AdapterError, KerastuneError
from kerastune.few_shot import shots_of
from kerastune.json_files import json_text
from kerastune.session import Session
from kerastune.shared_models import shared_model
from kerastune.strict import build
from kerastune.task import SubmissionSchema, Task
from kerastune.template import Template

if TYPE_CHECKING:
    from kerastune.classifier import LLMClassifier

ESTIMATOR, ADAPTER = "estimator.json", "adapter"
_VERSION = 1


def save_classifier(classifier: "LLMClassifier", folder: Path) -> Path:
    """Write a fitted estimator; see `LLMClassifier.save`."""
    config = classifier.config_
    params = classifier.get_params(deep=False)
    table = {
        "version": _VERSION,
        "params": {name: _plain(value) for name, value in params.items()},
        "config": _plain(config),
        "classification": _plain(classifier.classification_),
        "shots": _plain(classifier.shots_),
        "calibration": _plain(classifier.calibration_),
        "history": classifier.history_,
        "adapter_id": classifier._adapter_id,
    }
    with atomic_folder(folder) as temporary:
        write_text(temporary / ESTIMATOR, json_text(table))
        if classifier.adapter_:
            files = shared_model(config.model).files
            card = Session(config, files, classifier._encoder(config)).card
            write_adapter(temporary / ADAPTER, classifier.adapter_, card)
    return folder


def load_classifier(kind: "type[LLMClassifier]", folder: Path) -> "LLMClassifier":
    """Read what `save_classifier` wrote; see `LLMClassifier.load`."""
    path = folder / ESTIMATOR
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["version"] != _VERSION:
            raise AdapterError(f"{path}: expected version {_VERSION}, received {table['version']!r}")
        classifier = kind(**_params(table))
        classifier.classification_ = _classification(table["classification"])
        classifier.classes_ = classifier.classification_.classes
        classifier.config_ = build(RunConfig, table["config"], str(path))
        classifier.shots_ = None if table["shots"] is None else shots_of(table["shots"])
        classifier.calibration_ = _fit(table["calibration"])
        classifier.history_, classifier._adapter_id = table["history"], table["adapter_id"]
    except FileNotFoundError as error:
        raise AdapterError(f"{folder}: no {ESTIMATOR}; give the folder that save wrote") from error
    except KerastuneError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdapterError(f"{path}: damaged: {type(error).__name__}: {error}; save it again") from error
    classifier.adapter_ = {}
    if classifier._adapter_id is not None:
        classifier.adapter_, card = read_adapter(folder / ADAPTER)
        config = classifier.config_
        files = shared_model(config.model).files
        card.require_same(Session(config, files, classifier._encoder(config)).card, folder / ADAPTER)
    return classifier


def _plain(value: Any) -> Any:
    """A value in the types of JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _params(table: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments; a task, a template and words of the user's own as they were given."""
    params = dict(table["params"])
    if isinstance(params["task"], dict):
        params["task"] = _task(params["task"])
    if isinstance(params["template"], dict):
        params["template"] = Template(**params["template"])
    asked = table["classification"]
    if asked["numbered"] and params["verbalizer"] is not None:
        # Keys of a JSON object are texts, whatever the classes were.
        words = _task(asked["task"]).words()
        params["verbalizer"] = dict(zip(asked["classes"], words, strict=True))
    return params


def _task(table: Mapping[str, Any]) -> Task:
    verbalizers = {name: tuple(words) for name, words in table["verbalizers"].items()}
    submission = table["submission"]
    schema = SubmissionSchema(**{**submission, "columns": tuple(submission["columns"])})
    changed = {"labels": tuple(table["labels"]), "verbalizers": verbalizers, "submission": schema}
    return Task(**{**table, **changed})


def _classification(table: Mapping[str, Any]) -> Classification:
    return Classification(
        task=_task(table["task"]),
        template=Template(**table["template"]),
        verbalizer=table["verbalizer"],
        classes=np.array(table["classes"]),
        order=np.array(table["order"]),
        numbered=table["numbered"],
    )


def _fit(table: Mapping[str, Any] | None) -> Fit | None:
    if table is None:
        return None
    arrays = {name: np.array(table[name]) for name in ("bias", "decision_offsets")}
    qualities = {name: table[name] and Quality(**table[name]) for name in ("before", "after")}
    return Fit(**{**table, **arrays, **qualities, "methods": tuple(table["methods"])})
