"""Bytes to text: the encodings that Korean tables come in, recognised and never papered over."""

import codecs

from kerastune.errors import DataError

_REPLACEMENT = "\ufffd"

# A mark at the head of the file -> the codec that takes the mark away, and its name for the reader.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "utf-8 with BOM"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)


def decode(payload: bytes, name: str) -> tuple[str, str]:
    """Decode a text file whose encoding is not stated.

    A byte order mark decides (UTF-8, UTF-16). Without one the file is UTF-8 or, failing that, cp949; a
    UTF-8 file with a few damaged bytes is refused, though cp949 might make some sense of it.

    Args:
        payload: The file's bytes.
        name: What messages call the file.

    Returns:
        The text without its mark, and the encoding's name.

    Raises:
        DataError: No encoding fits (with the byte's offset), or the text holds a NUL.

    Example:
        >>> decode("맛있다".encode("cp949"), "reviews.tsv")
        ('맛있다', 'cp949')
    """
    text, encoding = _decode(payload, name)
    if (nul := text.find("\0")) >= 0:
        line = text.count("\n", 0, nul) + 1
        column = nul - text.rfind("\n", 0, nul)
        raise DataError(
            f"{name}, line {line}, character {column}: a NUL, which no text has; is this a text file? "
            "Save it as UTF-8 (UTF-16 is read where it begins with its byte order mark)"
        )
    return text, encoding


def _decode(payload: bytes, name: str) -> tuple[str, str]:
    for mark, codec, encoding in _MARKS:
        if payload.startswith(mark):
            try:
                return payload.decode(codec), encoding
            except UnicodeDecodeError as error:
                raise _unreadable(name, f"{encoding} by its mark", error) from error
    try:
        return payload.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        if _mostly_utf8(payload):
            raise _unreadable(name, "UTF-8 but for this place", error) from error
    try:
        return payload.decode("cp949"), "cp949"
    except UnicodeDecodeError as error:
        raise _unreadable(name, "neither UTF-8 nor, from here on, cp949", error) from error


def _mostly_utf8(payload: bytes) -> bool:
    """Whether more of the characters beyond ASCII are sound UTF-8 than are damaged."""
    text = payload.decode("utf-8", errors="replace")
    damaged = text.count(_REPLACEMENT)
    return sum(not character.isascii() for character in text) > 2 * damaged


def _unreadable(name: str, what: str, error: UnicodeDecodeError) -> DataError:
    return DataError(f"{name}, byte {error.start}: unreadable ({what}); save the file as UTF-8")
