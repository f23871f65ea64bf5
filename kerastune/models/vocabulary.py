"""The tokenizer libraries behind the one tokenizer: `tokenizers` and SentencePiece."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from kerastune.errors import ModelError
from kerastune.extras import require
from kerastune.json_files import json_hash
from kerastune.models.byte_level import byte_alphabet, byte_level_parts
from kerastune.models.cache import remembered
from kerastune.models.files import read_json
from kerastune.models.special_tokens import TURN_END_TOKENS, TURN_START_TOKENS

# A KerasHub tokenizer's class -> llama.cpp's name of its pre-tokenizer.
_KERAS_BYTE_LEVEL = {
    "Llama3Tokenizer": "llama-bpe",
    "QwenTokenizer": "qwen2",
    "Qwen3Tokenizer": "qwen2",
    "GPT2Tokenizer": "gpt-2",
}
_NORMAL, _CONTROL, _USER_DEFINED, _BYTE = 1, 3, 4, 6


class Vocabulary(Protocol):
    """What a tokenizer library has to offer; no text that goes in becomes a special token."""

    #: The number of ids.
    size: int
    #: Special token -> id.
    special: Mapping[str, int]
    #: The id that the model's own tokenizer puts before a text, or None where that is not known.
    begins_with: int | None

    def id_of(self, token: str) -> int | None:
        """A token's id, or None."""

    def token_of(self, number: int) -> str | None:
        """The token as the vocabulary spells it, or None."""

    def token_text(self, number: int) -> str:
        """The text that a token stands for; a lone byte as `<0xE3>`."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of several texts, with nothing added."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, none of them special."""

    def fingerprint(self) -> str:
        """A sha256 of vocabulary and normalisation."""


def fast_vocabulary(path: Path, special: Sequence[str], cache_dir: Path) -> Vocabulary:
    """Read a tokenizer.json.

    Args:
        path: The file.
        special: Tokens that are special even where the file does not say so.
        cache_dir: Where the fingerprint is remembered.

    Raises:
        ModelError: The file is damaged or of an unknown kind.
    """
    return _Fast(path, special, cache_dir)


def keras_byte_level_vocabulary(folder: Path) -> Vocabulary:
    """Read the vocabulary.json and merges.txt of a KerasHub preset.

    Args:
        folder: The preset's folder.

    Raises:
        ModelError: The preset's tokenizer is of a class that is not known here.
    """
    return _KerasByteLevel(folder)


def sentencepiece_vocabulary(path: Path) -> Vocabulary:
    """Read a SentencePiece model.

    Args:
        path: The file.

    Raises:
        ModelError: The file is no SentencePiece model.
    """
    return _SentencePiece(path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which file it is that the tokenizers library cannot read, or cannot encode with."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises the bare Exception, and a panic of its is none
        raise ModelError(
            f"{path}: is damaged or of an unknown kind: {error}; fetch the model again"
        ) from error


class _Fast:
    def __init__(self, path: Path, special: Sequence[str], cache_dir: Path) -> None:
        self._path, self._cache_dir = path, cache_dir
        tokenizers = require("tokenizers", "keras")
        with _named(path):
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        self._set_up(tokenizer, special)

    def _set_up(self, tokenizer: Any, special: Sequence[str]) -> None:
        # What a file says of batches is not what is asked for here; nothing is cut or padded unasked.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # Some models list the markers of a turn as ordinary words, which a user's text could then hold.
        markers = (*special, *TURN_START_TOKENS, *TURN_END_TOKENS)
        tokenizer.add_special_tokens([token for token in markers if tokenizer.token_to_id(token) is not None])
        tokenizer.encode_special_tokens = True
        added = tokenizer.get_added_tokens_decoder()
        self.special: Mapping[str, int] = {t.content: number for number, t in added.items() if t.special}
        self.size = int(tokenizer.get_vocab_size(with_added_tokens=True))
        with _named(self._path):
            first = tokenizer.encode("a", add_special_tokens=True).ids[:1]
        self.begins_with: int | None = next(
            (number for number in first if number in self.special.values()), None
        )
        self._bytes = byte_alphabet() if "ByteLevel" in str(tokenizer.decoder) else None
        self._tokenizer = tokenizer

    def id_of(self, token: str) -> int | None:
        number = self._tokenizer.token_to_id(token)
        return None if number is None else int(number)

    def token_of(self, number: int) -> str | None:
        token = self._tokenizer.id_to_token(number)
        return None if token is None else str(token)

    def token_text(self, number: int) -> str:
        token = self.token_of(number) or f"<{number}>"
        if self._bytes is None or token in self.special or any(sign not in self._bytes for sign in token):
            return token
        raw = bytes(self._bytes[sign] for sign in token)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in raw)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        with _named(self._path):
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids))

    def fingerprint(self) -> str:
        # Hashed by meaning, not by byte: saving a tokenizer again lays the file out anew.
        return remembered(self._path, self._cache_dir, "tokenizer", lambda: _content_hash(self._path))


class _KerasByteLevel(_Fast):
    def __init__(self, folder: Path) -> None:
        class_name = str(read_json(folder / "tokenizer.json").get("class_name"))
        if class_name not in _KERAS_BYTE_LEVEL:
            raise ModelError(
                f"{folder}: expected a tokenizer of class {', '.join(_KERAS_BYTE_LEVEL)}, received "
                f"{class_name}; use the model's Hugging Face folder"
            )
        assets = folder / "assets" / "tokenizer"
        text = (assets / "merges.txt").read_text(encoding="utf-8")
        merges = [line for line in text.split("\n") if line and not line.startswith("#version")]
        ids = read_json(assets / "vocabulary.json")
        # No merge makes these: they are in the vocabulary as a whole.
        special = [token for token in ids if re.fullmatch(r"<\|.*\|>|<\w+>", token)]
        content = byte_level_parts(_KERAS_BYTE_LEVEL[class_name], ids, merges)
        self._path = assets / "vocabulary.json"
        tokenizers = require("tokenizers", "keras")
        with _named(self._path):
            tokenizer = tokenizers.Tokenizer.from_str(json.dumps({"version": "1.0", **content}))
        self._set_up(tokenizer, special)
        self._hash = json_hash(content)

    def fingerprint(self) -> str:
        return self._hash


class _SentencePiece:
    begins_with: int | None = None

    def __init__(self, path: Path) -> None:
        sentencepiece = require("sentencepiece", "keras")
        proto = require("sentencepiece.sentencepiece_model_pb2", "keras").ModelProto()
        raw = path.read_bytes()
        try:
            proto.ParseFromString(raw)
            for piece in proto.pieces:
                # A user-defined piece is read out of the text wherever it stands; a marker must not be.
                if piece.type == _USER_DEFINED and piece.piece in (*TURN_START_TOKENS, *TURN_END_TOKENS):
                    piece.type = _CONTROL
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        except Exception as error:  # protobuf and SentencePiece each raise classes of their own
            raise ModelError(f"{path}: is no SentencePiece model, or is damaged; fetch it again") from error
        ordinary = (_NORMAL, _USER_DEFINED, _BYTE)
        self.special: Mapping[str, int] = {
            piece.piece: number for number, piece in enumerate(proto.pieces) if piece.type not in ordinary
        }
        self._ids = {piece.piece: number for number, piece in enumerate(proto.pieces)}
        self.size = len(proto.pieces)
        self._hash = hashlib.sha256(raw).hexdigest()

    def id_of(self, token: str) -> int | None:
        return self._ids.get(token)

    def token_of(self, number: int) -> str | None:
        return str(self._processor.id_to_piece(number)) if number < self.size else None

    def token_text(self, number: int) -> str:
        return self.token_of(number) or f"<{number}>"

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(ids) for ids in self._processor.encode(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._processor.decode(list(ids)))

    def fingerprint(self) -> str:
        return self._hash


def _content_hash(path: Path) -> str:
    content = read_json(path)
    model = content["model"]
    # Older files write a merge as one text, newer ones as a pair.
    merges = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model.get("merges", [])]
    kept = {key: content.get(key) for key in ("added_tokens", "normalizer", "pre_tokenizer")}
    return json_hash({**kept, "model": {**model, "merges": merges}})
