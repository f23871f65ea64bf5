"""The one tokenizer that both stacks use: text in, ids out, with nothing added and nothing special read in."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from kerastune.errors import ModelError
from kerastune.extras import require
from kerastune.models.byte_level import byte_alphabet, byte_level_parts
from kerastune.models.files import ModelFiles, read_json
from kerastune.models.special_tokens import (
    BEGIN_TOKENS,
    END_TOKENS,
    PAD_TOKENS,
    TURN_END_TOKENS,
    TURN_START_TOKENS,
)

# A KerasHub tokenizer's class -> llama.cpp's name of its pre-tokenizer.
_KERAS_BYTE_LEVEL = {
    "Llama3Tokenizer": "llama-bpe",
    "QwenTokenizer": "qwen2",
    "Qwen3Tokenizer": "qwen2",
    "GPT2Tokenizer": "gpt-2",
}
_SPARE = re.compile(r"pad|reserved|unused", re.IGNORECASE)
_CONTROL, _USER_DEFINED = 3, 4


class _Vocabulary(Protocol):
    """What a tokenizer library has to offer."""

    ids: Mapping[str, int]
    special: frozenset[int]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def token_text(self, number: int) -> str: ...
    def fingerprint(self) -> str: ...


class Tokenizer:
    """Text to token ids and back.

    Args:
        vocabulary: The library's tokenizer behind this one.
        bos: The token that begins a text, or None.
        ends: The tokens that end a text or a turn; the first is the one that training teaches.
        pad: The model's own pad token, or None; not used when it is also an end.
        unknown: The token for what has no other, or None.

    Attributes:
        bos_id: The id that begins a text, or None; `encode` does not add it.
        end_ids: The ids that stop a generation.
        eos_id: The end that training teaches.
        pad_id: The id that fills a batch; never an end, so that an end is never masked.
        vocabulary_size: The number of ids.

    Raises:
        ModelError: There is no end token.
    """

    def __init__(
        self,
        vocabulary: _Vocabulary,
        *,
        bos: str | None,
        ends: Sequence[str],
        pad: str | None,
        unknown: str | None,
    ) -> None:
        self._vocabulary = vocabulary
        ids = vocabulary.ids
        self.bos_id = None if bos is None else ids.get(bos)
        self.end_ids = tuple(ids[end] for end in dict.fromkeys(ends) if end in ids)
        if not self.end_ids:
            raise ModelError("the model's tokenizer has no end token; name eos_token in tokenizer_config.json")
        self.eos_id = self.end_ids[0]
        self.pad_id = self._choose_pad(pad, unknown)
        self.vocabulary_size = max(ids.values()) + 1

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Neither BOS nor EOS is added, and `"<bos>"` in the text stays plain text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of several texts, in their order."""
        return self._vocabulary.encode_batch(texts)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, without the special ones."""
        return self._vocabulary.decode([number for number in ids if number not in self._vocabulary.special])

    def token_text(self, id: int) -> str:
        r"""A token as a preview shows it: a space as "▁", a line end as "\n", a lone byte as "<0xE3>"."""
        text = self._vocabulary.token_text(id).replace(" ", "▁")
        return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")

    @property
    def special_ids(self) -> dict[str, int]:
        """Special token -> id, for those who build a chat out of its parts."""
        special = self._vocabulary.special
        return {token: number for token, number in self._vocabulary.ids.items() if number in special}

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 of the vocabulary and the normalisation; equal where texts get equal ids."""
        return self._vocabulary.fingerprint()

    def _choose_pad(self, pad: str | None, unknown: str | None) -> int:
        ids = self._vocabulary.ids
        spare = sorted(
            (token for token in self.special_ids if _SPARE.search(token)),
            key=lambda token: ("pad" not in token.lower(), ids[token]),
        )
        named = [ids[token] for token in (pad, unknown, *spare) if token in ids]
        return next(number for number in (*named, *range(len(ids))) if number not in self.end_ids)


def load_tokenizer(files: ModelFiles) -> Tokenizer:
    """Load a model's tokenizer.

    Args:
        files: What `resolve_model` found.

    Raises:
        ModelError: The folder has no tokenizer of a known kind.
    """
    if files.layout == "keras":
        return _load_keras(files.path)
    settings = _optional_json(files.path / "tokenizer_config.json")
    vocabulary: _Vocabulary
    if (files.path / "tokenizer.json").is_file():
        content = read_json(files.path / "tokenizer.json")
        vocabulary = _Fast(content, _named(settings, "bos", "eos", "pad", "unk"))
    elif (files.path / "tokenizer.model").is_file():
        vocabulary = _SentencePiece(files.path / "tokenizer.model")
    else:
        raise ModelError(f"{files.path}: expected tokenizer.json or tokenizer.model, received neither")
    tokens = {number: token for token, number in vocabulary.ids.items()}
    configs = (files.config.get("text_config", {}), files.config)
    stated = (*configs, _optional_json(files.path / "generation_config.json"))
    ends = [*_named(settings, "eos"), *(tokens[n] for config in stated for n in _ends(config) if n in tokens)]
    begins = [tokens[config["bos_token_id"]] for config in stated if config.get("bos_token_id") in tokens]
    return Tokenizer(
        vocabulary,
        bos=_first(_named(settings, "bos") or ([] if "bos_token" in settings else begins)),
        ends=[*ends, *TURN_END_TOKENS],
        pad=_first(_named(settings, "pad")),
        unknown=_first(_named(settings, "unk")),
    )


def _load_keras(folder: Path) -> Tokenizer:
    assets = folder / "assets" / "tokenizer"
    vocabulary: _Vocabulary
    if (assets / "vocabulary.spm").is_file():
        vocabulary = _SentencePiece(assets / "vocabulary.spm")
    elif (assets / "vocabulary.json").is_file() and (assets / "merges.txt").is_file():
        vocabulary = _keras_byte_level(folder, assets)
    else:
        raise ModelError(
            f"{folder}: expected assets/tokenizer/vocabulary.spm, or vocabulary.json and merges.txt, in the "
            "KerasHub preset; its kind of tokenizer is not supported"
        )
    present = {
        role: _first([token for token in names if token in vocabulary.ids])
        for role, names in (("bos", BEGIN_TOKENS), ("pad", PAD_TOKENS), ("unk", ("<unk>",)))
    }
    return Tokenizer(
        vocabulary,
        bos=present["bos"],
        ends=[*END_TOKENS, *TURN_END_TOKENS],
        pad=present["pad"],
        unknown=present["unk"],
    )


def _keras_byte_level(folder: Path, assets: Path) -> "_Fast":
    class_name = str(_optional_json(folder / "tokenizer.json").get("class_name"))
    if class_name not in _KERAS_BYTE_LEVEL:
        raise ModelError(
            f"{folder}: expected a tokenizer of class {', '.join(_KERAS_BYTE_LEVEL)}, received {class_name}; "
            "use the model's Hugging Face folder"
        )
    lines = (assets / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    ids = read_json(assets / "vocabulary.json")
    # No merge makes these: they are in the vocabulary as a whole.
    special = [token for token in ids if re.fullmatch(r"<\|.*\|>|<\w+>", token)]
    added = [
        {"id": ids[token], "content": token, "special": True, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for token in special
    ]
    content = {"version": "1.0", "added_tokens": added, "post_processor": None}
    return _Fast(content | byte_level_parts(_KERAS_BYTE_LEVEL[class_name], ids, merges), special)


class _Fast:
    """A tokenizer.json, read by the `tokenizers` library."""

    def __init__(self, content: dict[str, Any], special: Sequence[str]) -> None:
        tokenizers = require("tokenizers", "keras")
        # What a file says of batches is not what is asked for here; nothing is cut or padded unasked.
        content = {**content, "truncation": None, "padding": None}
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content))
        except Exception as error:  # the library raises the bare class
            raise ModelError(f"tokenizer.json is damaged or of an unknown kind: {error}") from error
        self.ids: Mapping[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        # Some models list the markers of a turn as ordinary words, which a user's text could then hold.
        markers = (*special, *TURN_START_TOKENS, *TURN_END_TOKENS)
        self._tokenizer.add_special_tokens([token for token in markers if token in self.ids])
        self._tokenizer.encode_special_tokens = True
        added = self._tokenizer.get_added_tokens_decoder()
        self.special = frozenset(number for number, token in added.items() if token.special)
        self._content = content
        self._bytes = byte_alphabet() if '"ByteLevel"' in json.dumps(content.get("decoder")) else None

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids))

    def token_text(self, number: int) -> str:
        token = self._tokenizer.id_to_token(number) or f"<{number}>"
        if self._bytes is None or number in self.special or any(sign not in self._bytes for sign in token):
            return str(token)
        raw = bytes(self._bytes[sign] for sign in token)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in raw)

    def fingerprint(self) -> str:
        content = {
            key: self._content.get(key) for key in ("added_tokens", "normalizer", "pre_tokenizer", "model")
        }
        # Older files write a merge as one text, newer ones as a pair.
        merges = [m.split(" ", 1) if isinstance(m, str) else m for m in content["model"].get("merges", [])]
        content["model"] = {**content["model"], "merges": merges}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class _SentencePiece:
    """A SentencePiece model, as a KerasHub preset holds it."""

    def __init__(self, path: Path) -> None:
        sentencepiece = require("sentencepiece", "keras")
        proto = require("sentencepiece.sentencepiece_model_pb2", "keras").ModelProto()
        self._raw = path.read_bytes()
        try:
            proto.ParseFromString(self._raw)
            for piece in proto.pieces:
                # A user-defined piece is read out of the text wherever it stands; a marker must not be.
                if piece.type == _USER_DEFINED and piece.piece in (*TURN_START_TOKENS, *TURN_END_TOKENS):
                    piece.type = _CONTROL
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        except Exception as error:  # protobuf and SentencePiece each raise classes of their own
            raise ModelError(f"{path}: is no SentencePiece model, or is damaged; fetch it again") from error
        self.ids: Mapping[str, int] = {piece.piece: n for n, piece in enumerate(proto.pieces)}
        ordinary = (1, _USER_DEFINED, 6)  # normal pieces and single bytes
        self.special = frozenset(n for n, piece in enumerate(proto.pieces) if piece.type not in ordinary)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(ids) for ids in self._processor.encode(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._processor.decode(list(ids)))

    def token_text(self, number: int) -> str:
        return str(self._processor.id_to_piece(number))

    def fingerprint(self) -> str:
        return hashlib.sha256(self._raw).hexdigest()


def _named(settings: Mapping[str, Any], *roles: str) -> list[str]:
    """The tokens that tokenizer_config.json names for some roles, each a text or an object with one."""
    found = [settings.get(f"{role}_token") for role in roles]
    return [str(token["content"] if isinstance(token, dict) else token) for token in found if token]


def _ends(config: Mapping[str, Any]) -> list[int]:
    ends = config.get("eos_token_id")
    return [] if ends is None else list(ends) if isinstance(ends, list) else [ends]


def _first(tokens: Sequence[str]) -> str | None:
    return tokens[0] if tokens else None


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
