"""Drawing with matplotlib for a page: SVG whose colours are the page's, and whose text needs no font."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerastune.extras import require
from kerastune.report.fonts import EXTRA, Typeface

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that nothing is drawn in by chance: in the SVG each becomes a variable of the page's style, so that
# one drawing is right in light, in dark and on paper.
INK, MUTED, GRID, SURFACE = "#010203", "#010204", "#010205", "#010206"
SERIES = tuple(f"#0102{place:02x}" for place in range(0xA0, 0xA8))
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", SURFACE: "surface"} | {
    colour: f"series-{place}" for place, colour in enumerate(SERIES)
}


@dataclass(frozen=True)
class Drawing:
    """A figure of the page.

    Args:
        svg: The `<svg>` element.
        says: What it shows, for those who do not see it.
        width: Its natural width in CSS pixels.
    """

    svg: str
    says: str
    width: int


class Canvas:
    """A figure to draw in, and what it becomes.

    Args:
        name: A name of its own in the page, which its elements' ids begin with.
        typeface: The typeface of its text; matplotlib's own where None.
    """

    def __init__(self, name: str, typeface: Typeface | None) -> None:
        self.name, self.typeface = name, typeface

    @contextmanager
    def axes(
        self,
        width: float,
        height: float,
        columns: int = 1,
        rows: int = 1,
        between: float = 0.02,
        **layout: Any,
    ) -> Iterator[tuple[Figure, list[Axes]]]:
        """Yield a figure with its axes; inside, the style is the page's.

        Args:
            width: Its width in inches.
            height: Its height in inches.
            columns: How many axes stand side by side.
            rows: How many stand one above the other.
            between: The space between columns, as a share of one.
            **layout: What else `Figure.subplots` takes, such as `sharex`.
        """
        matplotlib = require("matplotlib", EXTRA)
        figure_module = require("matplotlib.figure", EXTRA)
        with matplotlib.rc_context(_style(self.typeface, self.name)):
            engine = require("matplotlib.layout_engine", EXTRA).ConstrainedLayoutEngine(wspace=between)
            figure: Figure = figure_module.Figure(figsize=(width, height), layout=engine)
            grid = figure.subplots(rows, columns, squeeze=False, **layout)
            yield figure, list(grid.flat)

    def finish(self, figure: Figure, says: str) -> Drawing:
        """Write a figure as SVG for the page; inside of `axes`."""
        out = io.StringIO()
        # No date, so that the same data makes the same bytes.
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
        width = round(figure.get_figwidth() * 96)
        return Drawing(_for_page(out.getvalue(), self.name, says, width), says, width)

    def say(self, text: str, otherwise: str) -> str:
        """A name as the figure can say it: something else where the typeface lacks a character of it."""
        shown = text.isascii() if self.typeface is None else self.typeface.shows(text)
        return text if shown else otherwise

    def labels(self, names: Sequence[str]) -> list[str]:
        """Labels' names as the figure can say them: `0 (별로)`, else `0`, else `label 1`."""
        return [
            self.say(name, self.say(name.split(" ")[0], f"label {place}"))
            for place, name in enumerate(names, start=1)
        ]

    def runs(self, names: Iterable[str]) -> list[str]:
        """Runs' names as the figure can say them."""
        return [self.say(name, f"run {place}") for place, name in enumerate(names, start=1)]


def bare(axes: Axes, *, grid: str | None = None) -> None:
    """Take away the frame, and draw grid lines behind the data along one axis or `"both"`."""
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom" and grid != "x")
    axes.tick_params(which="both", length=0)
    axes.set_axisbelow(True)
    if grid is not None:
        axes.grid(True, axis=grid)  # type: ignore[arg-type]


def bold_weight(typeface: Typeface | None) -> int:
    """The weight to ask for where text is to be bold, so that matplotlib finds just that."""
    return 700 if typeface is None else typeface.bold_weight


def _style(typeface: Typeface | None, salt: str) -> dict[str, object]:
    return {
        "font.family": "DejaVu Sans" if typeface is None else typeface.family,
        "font.size": 9.0,
        "axes.titlesize": 9.0,
        "axes.titleweight": bold_weight(typeface),
        "axes.titlelocation": "left",
        "axes.titlepad": 8.0,
        "axes.labelsize": 8.5,
        "xtick.labelsize": 8.0,
        "ytick.labelsize": 8.0,
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "legend.handlelength": 1.4,
        "axes.edgecolor": GRID,
        "axes.facecolor": "none",
        "axes.labelcolor": MUTED,
        "axes.titlecolor": INK,
        "axes.linewidth": 1.0,
        "axes.unicode_minus": False,  # U+2212 is in few Korean fonts
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.6,
        "lines.solid_capstyle": "round",
        "svg.fonttype": "path",
        "svg.hashsalt": salt,
    }


def _for_page(svg: str, name: str, says: str, width: int) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Its style is for every element of the page it comes to stand in; the page's own says the same.
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    svg = re.sub("|".join(_VARIABLES), lambda found: f"var(--{_VARIABLES[found[0]]})", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None
    said = says.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    head = f'<svg {view[0]} role="img" aria-label="{said}" style="max-width:{width}px">'
    return head + svg[svg.index(">") + 1 :].strip()
