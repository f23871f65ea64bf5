"""An adapter's folder to the Hugging Face hub: private unless said otherwise, and nothing replaced unseen."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastune.adapter import CONFIG, WEIGHTS
from kerastune.adapter_card import CARD
from kerastune.calibration import CALIBRATION
from kerastune.errors import HubError
from kerastune.extras import require
from kerastune.models.secrets import find_token
from kerastune.publishing.cards import MODEL_CARD, require_adapter, write_cards
from kerastune.run import Run

# Only what belongs to an adapter: whatever else lies in the folder stays at home.
_FILES = (WEIGHTS, CONFIG, CARD, CALIBRATION, MODEL_CARD)


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What was uploaded.

    Args:
        page: The repository's address.
        revision: The commit.
        private: Whether only its owner sees it.
        files: The names of the files.
        token_from: Where the token was found, in words.
    """

    page: str
    revision: str
    private: bool
    files: tuple[str, ...]
    token_from: str


def push(
    folder: str | Path,
    to: str,
    *,
    public: bool = False,
    overwrite: bool = False,
    endpoint: str | None = None,
) -> Pushed:
    """Upload a run's adapter to a repository of the hub, which is made where it is not there.

    A model card is written first where the adapter has none; see `write_cards`.

    Args:
        folder: The run's folder.
        to: The repository, `"owner/name"`.
        public: Whether everybody may see it.
        overwrite: Whether a card that is there and says something else is replaced.
        endpoint: The hub's address; that of the Hugging Face hub, or of `HF_ENDPOINT`, when None.

    Raises:
        AdapterError: The run trained nothing.
        ConfigError: The folder is no run.
        HubError: There is no token, the hub refuses or cannot be reached, the repository is public and that
            was not asked for, or it has a card that says something else.
    """
    run = Run.load(folder)
    adapter = require_adapter(run)
    hub = require("huggingface_hub", "hf")
    secret = find_token("hf")
    if secret is None:
        raise HubError(
            f"{to}: no token to upload with; make one that may write at https://huggingface.co/settings/tokens"
            " and set HF_TOKEN, or keep it among Colab's or Kaggle's secrets"
        )
    with _explained(to, secret.source):
        api = hub.HfApi(endpoint=endpoint, token=secret.token)
        _require_name(hub, to)
        if not (adapter / MODEL_CARD).exists():
            write_cards(run.folder, overwrite=True)
        api.create_repo(to, private=not public, exist_ok=True)
        private = bool(api.model_info(to).private)
        if not (private or public):
            raise HubError(
                f"{to}: this repository is public and would show the adapter to everybody; say --public if "
                "that is meant, or name another one"
            )
        if not overwrite:
            _refuse_another_card(hub, api, to, adapter / MODEL_CARD)
        commit = api.upload_folder(
            repo_id=to,
            folder_path=adapter,
            allow_patterns=list(_FILES),
            commit_message="An adapter of kerastune",
        )
    return Pushed(
        page=f"{api.endpoint}/{to}",
        revision=str(commit.oid),
        private=private,
        files=tuple(name for name in _FILES if (adapter / name).is_file()),
        token_from=secret.source,
    )


def _require_name(hub: Any, to: str) -> None:
    hub.utils.validate_repo_id(to)
    if "/" not in to:
        raise HubError(f"{to}: expected a repository such as owner/name")


def _refuse_another_card(hub: Any, api: Any, to: str, mine: Path) -> None:
    missing = (hub.errors.EntryNotFoundError, hub.errors.RevisionNotFoundError)  # nothing there yet
    with tempfile.TemporaryDirectory() as folder:
        try:
            theirs = Path(api.hf_hub_download(to, MODEL_CARD, local_dir=folder))
        except missing:
            return
        if theirs.read_bytes() == mine.read_bytes():
            return
    raise HubError(
        f"{to}: has a {MODEL_CARD} already that says something else than {mine}; look at both, and replace "
        "it with --overwrite"
    )


@contextmanager
def _explained(to: str, token_from: str) -> Iterator[None]:
    """Turn the hub client's errors into one line; only a status is quoted, since texts may hold a header."""
    errors = require("huggingface_hub.errors", "hf")
    try:
        yield
    except errors.HFValidationError as error:
        raise HubError(f"{to}: expected a repository such as owner/name") from error
    except errors.OfflineModeIsEnabled as error:
        raise HubError(f"{to}: HF_HUB_OFFLINE is set; unset it to upload") from error
    except errors.HfHubHTTPError as error:
        raise HubError(f"{to}: {_refusal(error.response.status_code, token_from)}") from error
    except Exception as error:
        # The client's transport has error classes of its own, which change from version to version.
        if not isinstance(error, OSError) and not type(error).__module__.startswith(
            ("http", "requests", "urllib3")
        ):
            raise
        raise HubError(
            f"{to}: the hub cannot be reached ({type(error).__name__}); connect to the network and push "
            "again: what was uploaded is not uploaded twice"
        ) from error


def _refusal(status: int, token_from: str) -> str:
    if status == 401:
        return f"the hub does not accept the token from {token_from}; make a new one and set HF_TOKEN"
    if status in (403, 404):
        return (
            f"the token from {token_from} may not write there; check the owner's name, and give the token "
            "the right to write"
        )
    return f"the hub answered with status {status}; push again later"
