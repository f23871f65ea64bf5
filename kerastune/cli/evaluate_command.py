"""The command `evaluate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kerastune.cli.options import with_options
from kerastune.errors import ConfigError


@with_options("Model", "Scoring")
def evaluate(
    options: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    input: Annotated[Path, typer.Option("--input", help="The labelled table.")],
    against: Annotated[
        Path | None,
        typer.Option(metavar="RUN2", help="Another run, or a scores file of the same rows, to test against."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Cross-validate the run's options on its training table, in so many folds."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Train from so many seeds, and show how far the results spread.")
    ] = None,
    slice: Annotated[
        list[str] | None, typer.Option(help="A column to slice the table by; may be given again.")
    ] = None,
) -> None:
    """Measure a run on a labelled table, beside the baselines, and write RUN/metrics.json.

    Example: kerastune evaluate runs/mine --input data/reviews/challenge.tsv --folds 5
    """
    from kerastune.preference.evaluating import evaluate_pairs_file, is_preference_run

    if is_preference_run(folder):
        from kerastune.console import say
        from kerastune.preference.rendering import render

        if against or folds or seeds or slice:
            raise ConfigError(
                "--against, --folds, --seeds and --slice are for tasks with labels; leave them out"
            )
        say(render(input.stem, evaluate_pairs_file(folder, input, options)))
        return
    from kerastune.console_evaluation import print_evaluated, print_fold, print_seed
    from kerastune.evaluating import evaluate_file

    evaluated = evaluate_file(
        folder,
        input,
        options,
        against=against,
        folds=folds,
        seeds=seeds,
        columns=slice or (),
        on_fold=print_fold,
        on_seed=print_seed,
    )
    print_evaluated(evaluated)
