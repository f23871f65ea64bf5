"""Texts cut where a reader would cut them: between graphemes, never inside a sign of several characters."""

from collections.abc import Callable

import regex


def longest_start(text: str, fits: Callable[[str], bool]) -> str:
    """Find the longest beginning of a text, in whole graphemes, that fits; the empty one is not tried.

    Args:
        text: The text.
        fits: Whether a beginning fits; what is longer than one that does not fit does not either.

    Example:
        >>> longest_start("국물이 좋다", lambda start: len(start) <= 3)
        '국물이'
    """
    graphemes = regex.findall(r"\X", text)
    enough, too_many = 0, len(graphemes) + 1
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if fits("".join(graphemes[:middle])):
            enough = middle
        else:
            too_many = middle
    return "".join(graphemes[:enough])
