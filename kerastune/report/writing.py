"""Write a report."""

from collections.abc import Sequence
from pathlib import Path

from kerastune.atomic import write_text
from kerastune.errors import OutputError
from kerastune.extras import require
from kerastune.report.fonts import EXTRA, find_typeface
from kerastune.report.gathering import gather
from kerastune.report.page import render

#: The report's name in a run's folder.
REPORT = "report.html"


def write_report(
    run: str | Path,
    input: str | Path,
    *,
    against: str | Path | None = None,
    out: str | Path | None = None,
    columns: Sequence[str] = (),
    show: bool = True,
) -> Path:
    """Write a run's report on a labelled table, or that of two runs side by side.

    Args:
        run: The run's folder.
        input: The labelled table, of rows that the run did not learn from.
        against: Another run's folder, of the same task.
        out: The page, ending in `.html`; `report.html` in the run's folder when None.
        columns: Columns of the table whose values are slices.
        show: Whether to show progress.

    Returns:
        The page's path.

    Raises:
        ConfigError: A folder is no run, or the runs cannot be compared.
        DataError: The table cannot be read, or holds no labels.
        MissingExtraError: The extra `report` is not installed.
        OutputError: The page cannot be written.
    """
    path = Path(run) / REPORT if out is None else Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{path}: expected a name that ends in .html; choose another --out")
    require("jinja2", EXTRA)  # before hours are spent on scoring the rows
    find_typeface()
    other = None if against is None else Path(against)
    write_text(path, render(gather(Path(run), Path(input), other, columns=columns, show=show)))
    return path
