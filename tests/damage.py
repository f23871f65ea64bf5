"""Hypothesis strategies that damage what was whole: bytes, and values of JSON."""

import copy
import json
from typing import Any

from hypothesis import strategies as st

_ODD_TEXT = (
    "",
    "\0",
    "\ufeff",
    "\ud7a3\u11a8",
    "../../etc/passwd",
    "/etc/passwd",
    "<eos>",
    "<start_of_turn>",
    "{}",
    "{0.__class__}",
    "NaN",
    "1e999",
    "a" * 5000,
    "\u2028",
    "👨\u200d👩\u200d👧",
    "-1",
    "0x10",
    "true",
    "__class__",
    "C:\\x",
)
_ODD_NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64 - 1, 10**40, -(10**20), 0.5, 1e308, float("inf"), float("nan"))
_ODD_BYTES = (
    b"",
    b"\0",
    b"\xff",
    b"\xff" * 8,
    b"\x00" * 8,
    b"\x80\x04",
    b"\t",
    b"\n",
    b"\r\n",
    b'"',
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\x7f" * 8,
    (2**40).to_bytes(8, "little"),
    (2**63).to_bytes(8, "little"),
    "국물".encode(),
    "국물".encode("cp949"),
    b"NA",
    b"[" * 3000,
    b"{" * 3000,
)

#: Values of JSON that a well-meant file would not have in most places.
junk = st.one_of(
    st.sampled_from([*_ODD_TEXT, *_ODD_NUMBERS, None, True, False, [], {}, [[]], {"": None}]),
    st.text(max_size=20),
    st.integers(),
    st.floats(),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=5)), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


@st.composite
def damaged_bytes(draw: st.DrawFn, *wholes: bytes) -> bytes:
    """One of these with a few places cut, changed, doubled or put in; sometimes bytes of no kind at all."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from([0, 1, 2, 4, 8, 64, 100_000])))
        kind = draw(st.sampled_from(["put", "cut", "change", "double", "move"]))
        if kind == "put":
            content[start:start] = draw(st.one_of(st.sampled_from(_ODD_BYTES), st.binary(max_size=9)))
        elif kind == "cut":
            del content[start:end]
        elif kind == "change":
            content[start:end] = draw(
                st.binary(min_size=end - start, max_size=end - start)
                if end - start < 9
                else st.sampled_from(_ODD_BYTES)
            )
        elif kind == "double":
            content[start:start] = content[start:end][:2000]
        else:
            piece = bytes(content[start:end])
            del content[start:end]
            content[len(content) // 2 : len(content) // 2] = piece
    return bytes(content)


@st.composite
def damaged_json(draw: st.DrawFn, whole: Any) -> Any:
    """A value with one to three places in it replaced, taken out, or given a companion."""
    found = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        holder, place = None, None
        here = found
        while isinstance(here, dict | list) and here:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            holder, place = here, draw(st.sampled_from(keys))
            here = here[place]
            if draw(st.booleans()):
                break
        if holder is None:
            return copy.deepcopy(draw(junk))
        kind = draw(st.sampled_from(["replace", "replace", "replace", "take", "add"]))
        if kind == "replace":
            holder[place] = copy.deepcopy(draw(junk))  # not to be damaged for the inputs to come
        elif kind == "take":
            del holder[place]
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = copy.deepcopy(draw(junk))
        else:
            holder.insert(place, copy.deepcopy(draw(junk)))
    return found


def damaged_json_bytes(whole: Any) -> st.SearchStrategy[bytes]:
    """Such a value as a file, or a file with damaged bytes."""
    text = json.dumps(whole, ensure_ascii=False).encode()
    values = damaged_json(whole).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    return st.one_of(values, values, damaged_bytes(text))
