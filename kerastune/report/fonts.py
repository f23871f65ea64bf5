"""A typeface that has Hangul: found on this machine, used in the figures, and a part of it in the page."""

from __future__ import annotations

import base64
import importlib.util
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kerastune.extras import require

EXTRA = "report"
_PACKAGE = "koreanize_matplotlib"  # four plain font files; its own code is never imported
_HANGUL = "가각힣한글ㅋㅠ"
_USUAL = (
    "nanumgothic", "nanumbarungothic", "notosanskr", "notosanscjk", "pretendard", "malgun",
    "applesdgothic", "applegothic", "undotum", "baekmuk",
)  # fmt: skip
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Typeface:
    """A typeface on this machine.

    Args:
        family: Its name.
        regular: The font's file.
        bold: The bold font's file, where it stands beside the regular one.
        bold_weight: The weight that the bold font says it has; the regular's where there is none.
        characters: The code points that it has a glyph for.
    """

    family: str
    regular: Path
    bold: Path | None
    bold_weight: int
    characters: frozenset[int]

    def shows(self, text: str) -> bool:
        """Whether every character of a text has a glyph, so that none becomes an empty box."""
        return all(ord(character) in self.characters or character.isspace() for character in text)


@cache
def find_typeface() -> Typeface | None:
    """Find a typeface with Hangul: NanumGothic of the extra `report`, or the system's.

    Returns:
        The typeface; None where there is none, which is logged as a warning.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    manager = require("matplotlib.font_manager", EXTRA)
    for path in _candidates(manager.findSystemFonts()):
        characters = _characters(path)
        if all(ord(character) in characters for character in _HANGUL):
            bold: Path | None = path.with_name(f"{path.stem}Bold{path.suffix}")
            bold = bold if bold is not None and bold.is_file() else None
            weights = [_register(manager, font) for font in (path, bold) if font is not None]
            return Typeface(manager.get_font(path).family_name, path, bold, weights[-1], characters)
    _log.warning(
        "no font with Hangul was found, so the figures name labels in ASCII; "
        "install one with: pip install 'kerastune[report]'"
    )
    return None


def font_faces(typeface: Typeface | None, text: str, family: str) -> str:
    """Write the CSS that brings a typeface along in the page, cut down to the characters of a text.

    Args:
        typeface: The typeface; nothing is written where it is None or may not be embedded.
        text: What the page says.
        family: The name that the page's style gives it.
    """
    if typeface is None:
        return ""
    weights = ((400, typeface.regular), (700, typeface.bold))
    fonts = [(weight, _subset(path, text)) for weight, path in weights if path is not None]
    return "\n".join(
        f"@font-face{{font-family:{family};font-weight:{weight};font-display:block;"
        f"src:url(data:font/woff;base64,{base64.b64encode(font).decode()}) format('woff')}}"
        for weight, font in fonts
        if font
    )


def _candidates(system: list[str]) -> Iterator[Path]:
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(folder) / "fonts" / "NanumGothic.ttf"

    def rank(path: Path) -> tuple[int, int, str]:
        name = path.stem.casefold().replace("-", "").replace("_", "")
        usual = [place for place, word in enumerate(_USUAL) if name.startswith(word)]
        # The shorter name is the regular weight's: NanumGothic before NanumGothicBold.
        return (usual[0] if usual else len(_USUAL), len(name), str(path))

    yield from sorted(map(Path, system), key=rank)


def _register(manager: Any, path: Path) -> int:
    """Make a font known to matplotlib; its weight."""
    manager.fontManager.addfont(path)
    return int(manager.fontManager.ttflist[-1].weight)


def _characters(path: Path) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a broken file, or a format that FreeType does not read
        return frozenset()


def _subset(path: Path, text: str) -> bytes:
    """The font's glyphs of a text as WOFF; nothing where its maker does not permit that."""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    with TTFont(path, fontNumber=0, lazy=True) as font:
        # OpenType, OS/2.fsType: bit 1 forbids embedding, bit 8 forbids embedding a part.
        if getattr(font["OS/2"], "fsType", 0) & 0x0102:
            return b""
        subsetter = Subsetter(Options(hinting=False, notdef_outline=True, layout_features=["kern", "liga"]))
        # Tables of font editors, and those that only vertical text needs.
        subsetter.options.drop_tables += [
            "BASE", "DSIG", "FFTM", "TSI0", "TSI1", "TSI2", "TSI3", "TSI5", "VORG", "vhea", "vmtx",
        ]  # fmt: skip
        subsetter.populate(text=text)
        subsetter.subset(font)
        font.recalcTimestamp = False
        font.flavor = "woff"
        out = io.BytesIO()
        font.save(out)
        return out.getvalue()
