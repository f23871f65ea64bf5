"""The card of an adapter: which base, prompt and labels it is for, so that it is refused for others."""

import dataclasses
import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastune.atomic import atomic_folder
from kerastune.errors import AdapterError
from kerastune.json_files import json_text, read_object

CARD = "kerastune.json"
#: The adapter's folder in a run's.
ADAPTER = "adapter"


@dataclass(frozen=True)
class Link:
    """An adapter that another was trained on top of.

    Args:
        run: The folder of its run.
        sha256: Hash of its files.
    """

    run: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class AdapterCard:
    """What an adapter was trained for.

    Args:
        base_id: Where plain PEFT finds the base: a hub id where it has one.
        model: The base as the user named it.
        base_fingerprint: Hash of the base's weights.
        tokenizer_fingerprint: Hash of its tokenizer.
        task: The task's name.
        template: The template's name.
        prompt: The template's prompt text.
        completion: The template's completion text.
        labels: The labels, in the order of every array of label scores.
        label_words: The words that say them.
        max_length: The most tokens of an example.
        layout: The factorisation it was trained in, `"peft"` or `"native"`.
        chat_template: The chat template's Jinja source, where dialogues are said with one.
        beneath: The adapters that it was trained on top of, in the order of their training.
        version: The kerastune that wrote it.
    """

    base_id: str
    model: str
    base_fingerprint: str
    tokenizer_fingerprint: str
    task: str
    template: str
    prompt: str
    completion: str
    labels: tuple[int | str, ...]
    label_words: tuple[str, ...]
    max_length: int
    layout: str
    chat_template: str = ""
    beneath: tuple[Link, ...] = ()
    version: str = dataclasses.field(default_factory=lambda: importlib.metadata.version("kerastune"))

    def require_same(self, other: "AdapterCard", where: Path) -> None:
        """Refuse to use an adapter for something else than it was trained for.

        Raises:
            AdapterError: The base, the tokenizer, the template or the labels differ.
        """
        for name, what in (
            ("base_fingerprint", "base model"),
            ("tokenizer_fingerprint", "tokenizer"),
            ("prompt", "prompt"),
            ("completion", "completion"),
            ("chat_template", "chat template"),
            ("labels", "labels"),
            ("label_words", "label words"),
            ("beneath", "chain of adapters beneath it"),
        ):
            mine, theirs = getattr(self, name), getattr(other, name)
            if name == "beneath":
                mine, theirs = ([link.sha256[:12] for link in links] for links in (mine, theirs))
            if mine != theirs:
                if name.endswith("fingerprint"):
                    mine, theirs = f"{self.model} ({mine[:12]})", f"{other.model} ({theirs[:12]})"
                elif name == "chat_template":  # named, since the sources are long
                    mine, theirs = (
                        f"{one.template} ({_short_hash(one.chat_template)})" for one in (self, other)
                    )
                raise AdapterError(
                    f"{where}: the adapter was trained with another {what}: expected {mine!r}, "
                    f"received {theirs!r}; use what it was trained with, or train a new one"
                )


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def write_card(folder: Path, card: AdapterCard) -> None:
    """Write the folder of a run that trains nothing: what its answers are for, and no adapter.

    Raises:
        OutputError: The folder cannot be written.
    """
    with atomic_folder(folder) as temporary:
        write_json(temporary / CARD, dataclasses.asdict(card))


def read_card(folder: Path) -> AdapterCard:
    """Read what an adapter was trained for.

    Raises:
        AdapterError: The card is missing, damaged or incomplete.
    """
    table = read_json(folder / CARD)
    try:
        table |= {key: tuple(table[key]) for key in ("labels", "label_words")}
        table["beneath"] = tuple(Link(**link) for link in table.get("beneath", ()))
        return AdapterCard(**table)
    except (KeyError, TypeError) as error:
        raise AdapterError(f"{folder / CARD}: lacks or misstates a key: {error}") from error


def write_json(path: Path, table: Mapping[str, Any]) -> None:
    """Write a file of an adapter's folder."""
    path.write_text(json_text(table), encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of an adapter's folder.

    Raises:
        AdapterError: It is missing, or no JSON object.
    """
    return read_object(
        path, AdapterError, "copy the adapter again", missing="is the folder an adapter of kerastune?"
    )
