"""A model folder's tokenizer as the metadata that llama.cpp reads: the way back of `gguf_tokenizer`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastune.errors import ModelError
from kerastune.extras import require
from kerastune.models.byte_level import PRE_TOKENIZERS
from kerastune.models.files import ModelFiles, read_json
from kerastune.models.gguf_tokenizer import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from kerastune.models.special_tokens import TURN_END_TOKENS
from kerastune.tokenizer import load_tokenizer

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SPACE = "▁"


@dataclass(frozen=True, kw_only=True)
class _Pieces:
    """A vocabulary as a library's file has it.

    Args:
        ids: Piece -> id.
        user_defined: The ids of pieces that are looked for in a text as a whole.
        unknown: The piece for what has no other.
        scores: Piece -> score, for SentencePiece; None for byte-level BPE.
        merges: The merges, for byte-level BPE.
        pre: llama.cpp's name of the pre-tokenizer, for byte-level BPE.
        space_prefix: Whether a space is put before every text.
    """

    ids: Mapping[str, int]
    user_defined: frozenset[int]
    unknown: str | None
    scores: Mapping[str, float] | None = None
    merges: Sequence[str] = ()
    pre: str | None = None
    space_prefix: bool = False


def add_vocabulary(writer: Any, files: ModelFiles, size: int, chat_template: str | None) -> None:
    """Write a model's tokenizer as metadata.

    Args:
        writer: A `gguf.GGUFWriter`.
        files: The model, in Hugging Face layout.
        size: How many tokens the model's embedding has; what the tokenizer lacks of them is unused.
        chat_template: The Jinja template of the model's chats, if it has one.

    Raises:
        ModelError: The tokenizer is of a kind that a GGUF file cannot hold.
    """
    pieces, tokenizer = _read(files), load_tokenizer(files)
    tokens, types = _tokens(files, pieces, tokenizer.special_ids, size)
    if pieces.scores is None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pieces.pre)
        writer.add_token_list(tokens)
        writer.add_token_merges(list(pieces.merges))
    else:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        # A user's own runs of spaces are shown as spaces there.
        shown = [
            token.replace(_SPACE, " ") if kind == USER_DEFINED else token
            for token, kind in zip(tokens, types, strict=True)
        ]
        writer.add_token_list(shown)
        writer.add_token_scores([float(pieces.scores.get(token, 0.0)) for token in tokens])
        writer.add_add_space_prefix(pieces.space_prefix)
    writer.add_token_types(types)
    roles = {
        "bos": tokenizer.bos_id,
        "eos": tokenizer.eos_id,
        "eot": next((pieces.ids[end] for end in TURN_END_TOKENS if end in pieces.ids), None),
        "unk": None if pieces.unknown is None else pieces.ids.get(pieces.unknown),
        "pad": tokenizer.pad_id,
    }
    for role, number in roles.items():
        if number is not None:
            getattr(writer, f"add_{role}_token_id")(number)
    writer.add_add_bos_token(tokenizer.bos_id is not None)
    writer.add_add_eos_token(False)
    if chat_template is not None:
        writer.add_chat_template(chat_template)


def _tokens(
    files: ModelFiles, pieces: _Pieces, special: Mapping[str, int], size: int
) -> tuple[list[str], list[int]]:
    """Every token and its kind, in the order of the ids."""
    if max(pieces.ids.values()) >= size:
        raise ModelError(
            f"{files.name}: its tokenizer has ids up to {max(pieces.ids.values())}, its embedding {size} "
            "rows; fetch the model again"
        )
    tokens, types = [f"[PAD{number}]" for number in range(size)], [UNUSED] * size
    specials = frozenset(special.values())
    for piece, number in pieces.ids.items():
        tokens[number] = piece
        if pieces.scores is not None and piece == pieces.unknown:
            types[number] = UNKNOWN
        elif number in specials:
            types[number] = CONTROL
        elif number in pieces.user_defined:
            types[number] = USER_DEFINED
        elif pieces.scores is not None and _BYTE.fullmatch(piece):
            types[number] = BYTE
        else:
            types[number] = NORMAL
    return tokens, types


def _read(files: ModelFiles) -> _Pieces:
    fast, sentencepiece = files.path / "tokenizer.json", files.path / "tokenizer.model"
    if not fast.is_file():
        return _read_sentencepiece(sentencepiece)
    content = read_json(fast)
    model = content["model"]
    if model.get("type", "BPE") != "BPE":
        raise ModelError(
            f"{fast}: expected a tokenizer of type BPE for GGUF, received {model['type']!r}; "
            "use the merged folder instead"
        )
    added = content.get("added_tokens") or []
    ids = dict(model["vocab"]) | {token["content"]: token["id"] for token in added}
    common = {
        "ids": ids,
        "user_defined": frozenset(token["id"] for token in added if not token["special"]),
        "unknown": model.get("unk_token"),
    }
    merges = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
    if not model.get("byte_fallback"):
        joined = [" ".join(merge) for merge in merges]
        return _Pieces(**common, merges=joined, pre=_pre_tokenizer(fast, content))
    scores = _scores(model["vocab"], merges)
    if sentencepiece.is_file():
        theirs = _read_sentencepiece(sentencepiece)
        if set(theirs.ids) >= set(model["vocab"]):
            scores = dict(theirs.scores or {})
    return _Pieces(**common, scores=scores, space_prefix=_prefixes(content))


def _scores(vocabulary: Mapping[str, int], merges: Sequence[Sequence[str]]) -> dict[str, float]:
    """The place of a piece's first merge, as SentencePiece scores the pieces that it trained itself."""
    scores = dict.fromkeys(vocabulary, 0.0)
    for rank, (left, right) in reversed(list(enumerate(merges, 1))):
        scores[left + right] = -float(rank)
    return scores


def _read_sentencepiece(path: Path) -> _Pieces:
    proto = require("sentencepiece.sentencepiece_model_pb2", "gemma").ModelProto()
    proto.ParseFromString(path.read_bytes())
    pieces = [(piece.piece, piece.score, piece.type) for piece in proto.pieces]
    return _Pieces(
        ids={piece: number for number, (piece, _, _) in enumerate(pieces)},
        user_defined=frozenset(number for number, piece in enumerate(pieces) if piece[2] == USER_DEFINED),
        unknown=next((piece for piece, _, kind in pieces if kind == UNKNOWN), None),
        scores={piece: score for piece, score, _ in pieces},
        space_prefix=proto.normalizer_spec.add_dummy_prefix,
    )


def _prefixes(content: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json puts a space before every text."""
    return any(
        step["type"] == "Prepend"
        or (step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never")
        for step in (*_steps(content.get("normalizer")), *_steps(content.get("pre_tokenizer")))
    )


def _pre_tokenizer(path: Path, content: Mapping[str, Any]) -> str:
    """llama.cpp's name of a byte-level pre-tokenizer."""
    received = [_meaning(step) for step in _steps(content.get("pre_tokenizer"))]
    for name, steps in PRE_TOKENIZERS.items():
        if received == [_meaning(step) for step in steps]:
            return name
    raise ModelError(
        f"{path}: its pre-tokenizer is none of those that GGUF has a name for here "
        f"({', '.join(PRE_TOKENIZERS)}); use the merged folder instead"
    )


def _steps(step: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The steps of a sequence; of a step of its own, itself."""
    if step is None:
        return []
    inner = step.get("pretokenizers") or step.get("normalizers")
    return [step] if inner is None else [each for one in inner for each in _steps(one)]


def _meaning(step: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a step decides the ids; offsets do not."""
    keys = ("pattern", "behavior", "invert", "individual_digits", "add_prefix_space", "use_regex")
    return (step["type"], *(step.get(key) for key in keys))
