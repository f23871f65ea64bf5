"""The commands on tables: `data report`, `data pull tarr`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Look at tables, and fetch them.")
pull = typer.Typer(no_args_is_help=True, help="Fetch a public data set.")
app.add_typer(pull, name="pull")


@app.command("report")
def report(
    train: Annotated[Path, typer.Option(help="The labelled table.")],
    test: Annotated[
        Path | None, typer.Option(help="A table to check for overlap; labels are not read.")
    ] = None,
    task: Annotated[str, typer.Option(help="The task.")] = "review-sentiment",
    model: Annotated[str, typer.Option(help="The model whose tokens are counted.")] = "gemma3-270m",
    max_length: Annotated[int, typer.Option(help="The most tokens of an example.")] = 256,
) -> None:
    """Report rows, labels, duplicates, overlap, lengths and truncation.

    Example: kerastune data report --train data/reviews/train.tsv --test data/reviews/test.tsv
    """
    from kerastune.config import RunConfig
    from kerastune.console import say
    from kerastune.dataset import read_dataset
    from kerastune.mainjob import data_report
    from kerastune.models import resolve_model
    from kerastune.run import make_encoder

    rows = read_dataset(train, task)
    others = read_dataset(test, task, labelled=False) if test else None
    config = RunConfig().with_options({"task": task, "model": model, "max_length": max_length})
    say(data_report(make_encoder(config, resolve_model(model)), rows, others).render())


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
