"""The command `calibrate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kerastune.cli.options import with_options


@with_options("Model", "Scoring")
def calibrate(
    options: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    input: Annotated[
        Path, typer.Option("--input", help="Validation rows: neither trained on nor those of the test.")
    ],
    method: Annotated[
        str | None,
        typer.Option(
            help="temperature, bias (with a temperature), contextual, batch or prior; several with commas.",
            show_default="bias where there are enough rows, else temperature",
        ),
    ] = None,
    threshold: Annotated[
        bool,
        typer.Option(
            help="Whether to tune the decision threshold for the task's metric, where that clearly helps."
        ),
    ] = True,
    labelled: Annotated[
        bool, typer.Option(help="Whether the rows have labels; contextual and batch need none.")
    ] = True,
    priors: Annotated[
        str, typer.Option(help="For prior: uniform, em, or a share for each label, with commas.")
    ] = "uniform",
    unlabelled: Annotated[
        Path | None, typer.Option(help="For batch, and prior with em: the rows that will be scored.")
    ] = None,
) -> None:
    """Fit probabilities and the decision to held-out rows; scores of the run are calibrated from then on.

    Example: kerastune calibrate runs/mine --input data/reviews/validation.tsv
    """
    from kerastune.calibrating import calibrate_file
    from kerastune.calibration import CALIBRATION, parse_priors
    from kerastune.calibration.rendering import render
    from kerastune.console import say
    from kerastune.run import ADAPTER

    calibration = calibrate_file(
        folder,
        input,
        options,
        None if method is None else [name.strip() for name in method.split(",")],
        labelled=labelled,
        tune_threshold=threshold,
        priors=parse_priors(priors),
        unlabelled=unlabelled,
    )
    say(f"{render(calibration)}\nwritten      {folder / ADAPTER / CALIBRATION}")
