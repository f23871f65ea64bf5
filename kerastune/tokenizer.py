"""The one tokenizer that both stacks use: text in, ids out; nothing added, nothing special read in."""

import re
import reprlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from kerastune.errors import ModelError
from kerastune.models.files import ModelFiles, read_json
from kerastune.models.special_tokens import BEGIN_TOKENS, END_TOKENS, PAD_TOKENS, TURN_END_TOKENS
from kerastune.models.vocabulary import (
    Vocabulary,
    fast_vocabulary,
    keras_byte_level_vocabulary,
    sentencepiece_vocabulary,
)

_MOST_IDS = 2**32
_SPARE = re.compile(r"pad|reserved|unused", re.IGNORECASE)


class Tokenizer:
    """Text to token ids and back.

    Args:
        vocabulary: The library's tokenizer behind this one.
        bos: The token that begins a text, or None.
        ends: The tokens that end a text or a turn, those that do not exist included; the first that
            exists is the one that training teaches.
        pad: The model's own pad token, or None; not used when it is also an end.
        unknown: The token for what has no other, or None.

    Attributes:
        bos_id: The id that begins a text, or None when this model takes none; `encode` does not add it.
        end_ids: The ids that stop a generation.
        eos_id: The end that training teaches.
        pad_id: The id that fills a batch; never an end, so that an end is never masked.
        vocabulary_size: The number of ids.

    Raises:
        ModelError: There is no end token.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        bos: str | None,
        ends: Sequence[str],
        pad: str | None,
        unknown: str | None,
    ) -> None:
        self._vocabulary = vocabulary
        self._special = frozenset(vocabulary.special.values())
        self.vocabulary_size = vocabulary.size
        self.bos_id = None if bos is None else vocabulary.id_of(bos)
        found = [vocabulary.id_of(end) for end in ends]
        self.end_ids = tuple(dict.fromkeys(number for number in found if number is not None))
        if not self.end_ids:
            raise ModelError(
                "the model's tokenizer has no end token; name eos_token in tokenizer_config.json"
            )
        self.eos_id = self.end_ids[0]
        self.pad_id = self._choose_pad(pad, unknown)

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Neither BOS nor EOS is added, and `"<bos>"` in the text stays plain text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of several texts, in their order."""
        return self._vocabulary.encode_batch(texts)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, without the special ones."""
        return self._vocabulary.decode([int(number) for number in ids if number not in self._special])

    def token_text(self, id: int) -> str:
        r"""A token as a preview shows it: a space as "▁", a line end as "\n", a lone byte as "<0xE3>"."""
        text = self._vocabulary.token_text(id).replace(" ", "▁")
        return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")

    @property
    def special_ids(self) -> Mapping[str, int]:
        """Special token -> id, for those who build a chat out of its parts."""
        return self._vocabulary.special

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 of the vocabulary and the normalisation; equal for the same tokenizer."""
        return self._vocabulary.fingerprint()

    def _choose_pad(self, pad: str | None, unknown: str | None) -> int:
        spare = sorted(
            (token for token in self.special_ids if _SPARE.search(token)),
            key=lambda token: ("pad" not in token.lower(), self.special_ids[token]),
        )
        named = [self._vocabulary.id_of(token) for token in (pad, unknown, *spare) if token is not None]
        candidates: list[int] = [
            *(number for number in named if number is not None),
            *range(self.vocabulary_size),
        ]
        return next(number for number in candidates if number not in self.end_ids)


def load_tokenizer(files: ModelFiles) -> Tokenizer:
    """Load a model's tokenizer.

    Args:
        files: What `resolve_model` found.

    Raises:
        ModelError: The folder has no tokenizer of a known kind.
    """
    return _load_keras(files.path) if files.layout == "keras" else _load_hf(files)


def _load_hf(files: ModelFiles) -> Tokenizer:
    settings = _optional_json(files.path / "tokenizer_config.json")
    fast = files.path / "tokenizer.json"
    if fast.is_file():
        named = [_named(settings, role) for role in ("bos", "eos", "pad", "unk")]
        special = [token for token in named if token is not None]
        vocabulary = fast_vocabulary(fast, special, files.cache_dir)
    elif (files.path / "tokenizer.model").is_file():
        vocabulary = sentencepiece_vocabulary(files.path / "tokenizer.model")
    else:
        raise ModelError(f"{files.path}: expected tokenizer.json or tokenizer.model, received neither")
    text_config = files.config.get("text_config")
    configs = (
        text_config if isinstance(text_config, dict) else {},
        files.config,
        _optional_json(files.path / "generation_config.json"),
    )
    stated = [vocabulary.token_of(number) for config in configs for number in _end_ids(config)]
    ends = [token for token in (_named(settings, "eos"), *stated, *TURN_END_TOKENS) if token is not None]
    return Tokenizer(
        vocabulary,
        bos=_bos(vocabulary, settings, is_sentencepiece=not fast.is_file()),
        ends=ends,
        pad=_named(settings, "pad"),
        unknown=_named(settings, "unk"),
    )


def _bos(vocabulary: Vocabulary, settings: Mapping[str, Any], *, is_sentencepiece: bool) -> str | None:
    """The token to begin with, if this model's texts begin with one; not all that name one use it."""
    if vocabulary.begins_with is not None:
        return vocabulary.token_of(vocabulary.begins_with)
    return _named(settings, "bos") if settings.get("add_bos_token", is_sentencepiece) else None


def _load_keras(folder: Path) -> Tokenizer:
    assets = folder / "assets" / "tokenizer"
    if (assets / "vocabulary.spm").is_file():
        vocabulary = sentencepiece_vocabulary(assets / "vocabulary.spm")
    elif (assets / "vocabulary.json").is_file() and (assets / "merges.txt").is_file():
        vocabulary = keras_byte_level_vocabulary(folder)
    else:
        raise ModelError(
            f"{folder}: expected assets/tokenizer/vocabulary.spm, or vocabulary.json and merges.txt, in the "
            "KerasHub preset; its kind of tokenizer is not supported"
        )

    def present(tokens: Sequence[str]) -> str | None:
        return next((token for token in tokens if vocabulary.id_of(token) is not None), None)

    return Tokenizer(
        vocabulary,
        bos=present(BEGIN_TOKENS),
        ends=[*END_TOKENS, *TURN_END_TOKENS],
        pad=present(PAD_TOKENS),
        unknown=present(("<unk>",)),
    )


def _named(settings: Mapping[str, Any], role: str) -> str | None:
    """The token that tokenizer_config.json names for a role, as a text or as an object with one."""
    token = settings.get(f"{role}_token")
    token = token.get("content") if isinstance(token, dict) else token
    if token is not None and not isinstance(token, str):
        raise ModelError(
            f"tokenizer_config.json: {role}_token: expected a text, received {reprlib.repr(token)}; fetch "
            "the model again"
        )
    return token


def _end_ids(config: Mapping[str, Any]) -> list[int]:
    ends = config.get("eos_token_id")
    found = [] if ends is None else ends if isinstance(ends, list) else [ends]
    for number in found:
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < _MOST_IDS:
            raise ModelError(
                f"eos_token_id: expected ids of tokens, received {reprlib.repr(number)}; fetch the model "
                "again"
            )
    return list(found)


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
