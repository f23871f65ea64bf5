"""Byte-level BPE as Llama 3, Qwen and SmolLM2 have it: the parts of a tokenizer.json."""

from collections.abc import Mapping, Sequence
from typing import Any

_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_SPLIT = _LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


#: llama.cpp's name of a pre-tokenizer -> its steps.
PRE_TOKENIZERS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "llama-bpe": (_split(_LLAMA3_SPLIT), _byte_level(use_regex=False)),
    "qwen2": (_split(_QWEN2_SPLIT), _byte_level(use_regex=False)),
    "smollm": ({"type": "Digits", "individual_digits": True}, _byte_level(use_regex=True)),
    "gpt-2": (_byte_level(use_regex=True),),
    "default": (_byte_level(use_regex=True),),
}


def byte_level_parts(pre: str, vocabulary: Mapping[str, int], merges: Sequence[str]) -> dict[str, Any]:
    """The normaliser, pre-tokenizer, model and decoder of a byte-level BPE.

    Args:
        pre: A key of `PRE_TOKENIZERS`.
        vocabulary: Token -> id, in the byte alphabet.
        merges: Two tokens and a space between them, the first merge first.
    """
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": pre == "llama-bpe",
        "vocab": dict(vocabulary),
        "merges": [merge.split(" ", 1) for merge in merges],
    }
    return {
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(PRE_TOKENIZERS[pre])},
        "decoder": _byte_level(use_regex=True),
        "model": model,
    }


def byte_alphabet() -> dict[str, int]:
    """The character that stands for each of the 256 bytes in a byte-level vocabulary.

    Example:
        >>> byte_alphabet()["Ġ"]
        32
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
