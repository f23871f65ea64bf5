"""Token ids to text while they are written: whole characters only, as a reader counts them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import regex

_UNFINISHED = "\ufffd"  # what half a character decodes to


class Decodes(Protocol):
    """What turns ids into text: a tokenizer."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids."""


def stream_text(tokenizer: Decodes, ids: Iterable[int]) -> Iterator[str]:
    """Yield text as ids come in.

    A byte-level token may hold half a syllable, and an emoji may go on with the next token; so the last
    grapheme (Unicode Standard Annex 29) is held back until it is certain that it ends.

    Args:
        tokenizer: Decodes ids.
        ids: The ids, one after the other.

    Yields:
        Pieces that together are the text of all ids.
    """
    written: list[int] = []
    shown = ""
    for number in ids:
        written.append(number)
        text = tokenizer.decode(written)
        whole = text.rstrip(_UNFINISHED)
        graphemes = regex.findall(r"\X", whole)
        # Half a character may still be one that belongs to the grapheme before it.
        certain = "".join(graphemes[:-1])
        if len(certain) > len(shown) and certain.startswith(shown):
            yield certain[len(shown) :]
            shown = certain
    rest = tokenizer.decode(written)[len(shown) :]
    if rest:
        yield rest
