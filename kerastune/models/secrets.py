"""Find the user's tokens where they are kept, and never show one."""

import importlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Service = Literal["hf", "kaggle"]

# Each line is a set of variables that suffices by itself.
_VARIABLES: Mapping[Service, tuple[tuple[str, ...], ...]] = {
    "hf": (("HF_TOKEN",), ("HUGGING_FACE_HUB_TOKEN",)),
    "kaggle": (("KAGGLE_USERNAME", "KAGGLE_KEY"), ("KAGGLE_API_TOKEN",)),
}


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A token; its text and its representation do not show it.

    Args:
        source: Where it was found, in words.
        values: The environment variables that a client would read.
    """

    source: str
    values: Mapping[str, str] = field(repr=False)

    @property
    def token(self) -> str:
        """The token itself, to be handed to a client and to nobody else."""
        return list(self.values.values())[-1]

    @contextmanager
    def in_environment(self) -> Iterator[None]:
        """Set the variables for the length of a call, for a client that takes them from nowhere else."""
        before = {name: os.environ.get(name) for name in self.values}
        os.environ.update(self.values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def find_token(service: Service) -> Secret | None:
    """Look for a token in the environment, in Colab's secrets and in Kaggle's, in this order.

    Args:
        service: `"hf"` or `"kaggle"`.

    Returns:
        The token, or None when there is none.
    """
    lookups = (
        ("the environment", os.environ.get),
        ("kaggle.json", _kaggle_file().get if service == "kaggle" else _nothing),
        ("Colab secrets", _colab),
        ("Kaggle secrets", _kaggle_notebook),
    )
    for source, lookup in lookups:
        for names in _VARIABLES[service]:
            values = {name: value.strip() for name in names if (value := lookup(name))}
            if len(values) == len(names) and all(values.values()):
                return Secret(source=source, values=values)
    return None


def _nothing(_name: str) -> None:
    return None


def _kaggle_file() -> dict[str, str]:
    folder = Path(os.environ.get("KAGGLE_CONFIG_DIR") or "~/.kaggle").expanduser()
    try:
        content: Any = json.loads((folder / "kaggle.json").read_text(encoding="utf-8"))
        return {"KAGGLE_USERNAME": str(content["username"]), "KAGGLE_KEY": str(content["key"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _colab(name: str) -> str | None:
    try:
        return _text(importlib.import_module("google.colab.userdata").get(name))
    except Exception:  # absent, access not granted, or not in a notebook: each has its own class
        return None


def _kaggle_notebook(name: str) -> str | None:
    try:
        return _text(importlib.import_module("kaggle_secrets").UserSecretsClient().get_secret(name))
    except Exception:  # absent, or not attached to this notebook
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
