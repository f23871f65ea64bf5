"""The command `report`."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    input: Annotated[Path, typer.Option("--input", help="The labelled table.")],
    against: Annotated[
        Path | None, typer.Option(metavar="RUN2", help="Another run's folder, to stand beside the first.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page.", show_default="RUN/report.html")] = None,
    slice: Annotated[
        list[str] | None, typer.Option(help="A column to slice the table by; may be given again.")
    ] = None,
) -> None:
    """Write a run's report on a labelled table as one HTML file that needs no network.

    Scores that `kerastune evaluate` left of the same rows are used again.

    Example: kerastune report runs/mine --input data/reviews/test.tsv --against runs/other
    """
    from kerastune.console import say
    from kerastune.report import write_report

    say(f"report  {write_report(folder, input, against=against, out=out, columns=slice or ())}")
