"""The tokenizer inside a GGUF file, as the files that tokenizers, transformers and KerasHub read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kerastune.errors import ModelError
from kerastune.models.byte_level import PRE_TOKENIZERS, byte_level_parts
from kerastune.models.gguf_reader import Gguf
from kerastune.models.sentencepiece_model import write_sentencepiece
from kerastune.models.special_tokens import TURN_END_TOKENS

# Kinds of token, the same in GGUF and SentencePiece.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def write_tokenizer(gguf: Gguf, folder: Path) -> list[int]:
    """Write tokenizer.json and tokenizer_config.json, and tokenizer.model for a SentencePiece vocabulary.

    Args:
        gguf: An opened GGUF file.
        folder: Where the files go.

    Returns:
        The ids of all tokens that end a text or a turn, the model's own end first.

    Raises:
        ModelError: The vocabulary is of a kind that cannot be converted.
    """
    kind = gguf.metadata.get("tokenizer.ggml.model")
    tokens: list[str] = gguf.metadata.get("tokenizer.ggml.tokens", [])
    types = np.asarray(gguf.metadata.get("tokenizer.ggml.token_type", np.full(len(tokens), NORMAL)))
    prefix = bool(gguf.metadata.get("tokenizer.ggml.add_space_prefix", True))
    if kind == "llama":
        # llama.cpp shows a user's own runs of spaces as spaces; SentencePiece knows them as "▁▁".
        tokens = [
            token.replace(" ", "▁") if type_ == USER_DEFINED else token
            for token, type_ in zip(tokens, types.tolist(), strict=True)
        ]
        scores = np.asarray(gguf.metadata["tokenizer.ggml.scores"])
        parts = _sentencepiece_parts(tokens, scores, types, prefix, _token(gguf, tokens, "unknown"))
        write_sentencepiece(tokens, scores, types, prefix, _special_ids(gguf), folder / "tokenizer.model")
    elif kind == "gpt2":
        vocabulary = {token: number for number, token in enumerate(tokens)}
        parts = byte_level_parts(_pre_tokenizer(gguf), vocabulary, gguf.metadata["tokenizer.ggml.merges"])
    else:
        raise ModelError(
            f"{gguf.path}: expected the tokenizer model llama (SentencePiece) or gpt2 (byte-level BPE), "
            f"received {kind!r}"
        )
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(tokens, types, normalized=kind == "llama" and not prefix),
        **parts,
        "post_processor": _post_processor(gguf, tokens, kind),
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    config = json.dumps(_tokenizer_config(gguf, tokens), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    (folder / "tokenizer_config.json").write_text(config, encoding="utf-8")
    known = {token for token, type_ in zip(tokens, types.tolist(), strict=True) if type_ == CONTROL}
    ends = [_token(gguf, tokens, "eos"), *(token for token in TURN_END_TOKENS if token in known)]
    return [tokens.index(token) for token in dict.fromkeys(ends) if token is not None]


def _special_ids(gguf: Gguf) -> dict[str, int]:
    keys = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
    found = {ours: gguf.metadata.get(f"tokenizer.ggml.{theirs}_token_id") for theirs, ours in keys.items()}
    return {name: -1 if number is None else int(number) for name, number in found.items()}


def _token(gguf: Gguf, tokens: list[str], role: str) -> str | None:
    number = gguf.metadata.get(f"tokenizer.ggml.{role}_token_id")
    return None if number is None else tokens[int(number)]


def _sentencepiece_parts(
    tokens: list[str],
    scores: npt.NDArray[np.float32],
    types: npt.NDArray[np.int32],
    prefix: bool,
    unknown: str | None,
) -> dict[str, Any]:
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    normalizer = (
        {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}
        if prefix
        else replace
    )
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {token: number for number, token in enumerate(tokens)},
        "merges": _merges(tokens, scores, types),
    }
    decoder = {"type": "Sequence", "decoders": steps}
    return {"normalizer": normalizer, "pre_tokenizer": None, "decoder": decoder, "model": model}


def _merges(
    tokens: list[str], scores: npt.NDArray[np.float32], types: npt.NDArray[np.int32]
) -> list[tuple[str, str]]:
    """Every way to put two pieces together into a third, the best piece first.

    SentencePiece looks a pair's piece up and takes the one of the highest score; `tokenizers` wants
    the pairs listed. Pieces that are not NORMAL never take part in a merge.
    """
    order = np.argsort(-scores, kind="stable")
    normal = {tokens[number] for number in np.flatnonzero(types == NORMAL)}
    return [
        (token[:cut], token[cut:])
        for token in (tokens[number] for number in order if types[number] == NORMAL)
        for cut in range(1, len(token))
        if token[:cut] in normal and token[cut:] in normal
    ]


def _pre_tokenizer(gguf: Gguf) -> str:
    pre = gguf.metadata.get("tokenizer.ggml.pre")
    if pre not in PRE_TOKENIZERS:
        raise ModelError(
            f"{gguf.path}: expected one of the pre-tokenizers {', '.join(PRE_TOKENIZERS)}, received {pre!r}; "
            "use the model's own Hugging Face folder"
        )
    return str(pre)


def _added_tokens(
    tokens: list[str], types: npt.NDArray[np.int32], *, normalized: bool
) -> list[dict[str, Any]]:
    return [
        {
            "id": int(number),
            "content": tokens[number],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            # A user-defined piece is looked for in the text as the model sees it, with its "▁", unless
            # that would put a prefix before the piece too.
            "normalized": normalized and bool(types[number] == USER_DEFINED),
            "special": bool(types[number] != USER_DEFINED),
        }
        for number in np.flatnonzero(np.isin(types, (UNKNOWN, CONTROL, USER_DEFINED)))
    ]


def _adds(gguf: Gguf, role: str, default: bool) -> bool:
    return bool(gguf.metadata.get(f"tokenizer.ggml.add_{role}_token", default))


def _post_processor(gguf: Gguf, tokens: list[str], kind: str) -> dict[str, Any] | None:
    begins = kind == "llama" or gguf.metadata.get("tokenizer.ggml.pre") == "llama-bpe"
    bos = _token(gguf, tokens, "bos") if _adds(gguf, "bos", begins) else None
    eos = _token(gguf, tokens, "eos") if _adds(gguf, "eos", False) else None
    if bos is None and eos is None:
        return None

    def sequence(name: str, type_id: int) -> list[dict[str, Any]]:
        around = [
            [{"SpecialToken": {"id": token, "type_id": type_id}}] if token else [] for token in (bos, eos)
        ]
        return [*around[0], {"Sequence": {"id": name, "type_id": type_id}}, *around[1]]

    specials = {
        token: {"id": token, "ids": [tokens.index(token)], "tokens": [token]} for token in (bos, eos) if token
    }
    return {
        "type": "TemplateProcessing",
        "single": sequence("A", 0),
        "pair": sequence("A", 0) + sequence("B", 1),
        "special_tokens": specials,
    }


def _tokenizer_config(gguf: Gguf, tokens: list[str]) -> dict[str, Any]:
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    config: dict[str, Any] = {
        # The generic class takes tokenizer.json as it is; a model's own class would rebuild it.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(gguf.value("context_length")),
        **{f"{ours}_token": _token(gguf, tokens, theirs) for ours, theirs in roles.items()},
    }
    chat_template = gguf.metadata.get("tokenizer.chat_template")
    return config if chat_template is None else config | {"chat_template": chat_template}
