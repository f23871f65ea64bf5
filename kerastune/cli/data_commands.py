"""The commands on tables: `data report`, `data pull tarr`."""

from pathlib import Path
from typing import Annotated

import typer

from kerastune.cli.options import with_options
from kerastune.config import RunConfig

app = typer.Typer(no_args_is_help=True, help="Look at tables, and fetch them.")
pull = typer.Typer(no_args_is_help=True, help="Fetch a public data set.")
app.add_typer(pull, name="pull")


@app.command("report")
@with_options("Model", "Training")
def report(
    config: RunConfig,
    train: Annotated[Path, typer.Option(help="The labelled table.")],
    test: Annotated[
        Path | None, typer.Option(help="A table to check for overlap; labels are not read.")
    ] = None,
) -> None:
    """Report rows, labels, duplicates, overlap, lengths and truncation.

    Example: kerastune data report --train data/reviews/train.tsv --test data/reviews/test.tsv
    """
    from kerastune.console import say
    from kerastune.dataset import read_dataset
    from kerastune.models import resolve_model
    from kerastune.session import data_report, make_encoder

    rows = read_dataset(train, config.task)
    others = read_dataset(test, config.task, labelled=False) if test else None
    encoder = make_encoder(config, resolve_model(config.model.model))
    say(data_report(encoder, rows, others).render())


@pull.command("tarr")
def tarr(
    out: Annotated[Path, typer.Option(help="The folder to put the two files in.")] = Path(),
) -> None:
    """Fetch the TARR review tables: tarr_train.txt (300 rows) and tarr_sample_submit.txt (100 rows).

    Example: kerastune data pull tarr --out data/tarr
    """
    from kerastune.console import say
    from kerastune.pull import pull_tarr

    for file in pull_tarr(out):
        say(f"{file.path}: {file.rows} rows")
