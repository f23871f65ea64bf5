"""The commands that write submissions: score, ensemble."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from kerastune.cli.options import with_options

if TYPE_CHECKING:
    from kerastune.submission import Format

Input = Annotated[Path, typer.Option("--input", help="The table: TSV, CSV, JSON Lines or Parquet.")]
FormatName = Annotated[
    str | None,
    typer.Option("--format", help="tsv or csv.", show_default="the sample's, or by the extension"),
]
Sample = Annotated[
    Path | None,
    typer.Option(help="A sample submission: checked against the table; its columns and format are followed."),
]


@with_options("Model", "Scoring")
def score(
    options: Mapping[str, Any],
    input: Input,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", help="The folder of a run.", show_default="the base model, with no training"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The submission, .tsv, .txt or .csv.", show_default="tarr_my_submit_DATE_TIME.txt"),
    ] = None,
    sample: Sample = None,
    format: FormatName = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Score every row again; the scores of an unfinished run of the command are dropped.",
        ),
    ] = False,
) -> None:
    """Score a table and write a submission: the same rows in the same order, with labels.

    Without a run, the untrained base model of --model and --config answers.

    A scoring that was killed goes on where it was when the same command is given again.

    Example: kerastune score runs/mine --input data/reviews/test.tsv --out submission.tsv
    """
    from kerastune.config import RunConfig
    from kerastune.console import print_submission, say
    from kerastune.fine_tuning import untrained_run
    from kerastune.score_file import score_file

    submitted = score_file(
        untrained_run(RunConfig().with_options(options)) if folder is None else folder,
        input,
        out,
        options,
        format=cast("Format | None", format),  # score_file checks it
        sample=sample,
        restart=restart,
        on_resume=lambda done, rows: say(f"going on: {done:,} of {rows:,} rows were scored before"),
    )
    print_submission(submitted)


def ensemble(
    scores: Annotated[list[Path], typer.Argument(metavar="SCORES", help="Scores files, or folders of runs.")],
    input: Input,
    out: Annotated[Path, typer.Option(help="The submission, .tsv, .txt or .csv.")],
    weights: Annotated[
        str | None, typer.Option(help="A weight for each, with commas: 0.7,0.3.", show_default="alike")
    ] = None,
    task: Annotated[str | None, typer.Option(help="The task's name.", show_default="the runs'")] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Read the table's labels, and print the accuracies.")
    ] = False,
    sample: Sample = None,
    format: FormatName = None,
) -> None:
    """Average the log-probabilities of several scorings and write a submission.

    Example: kerastune ensemble runs/keras runs/hf --input data/reviews/test.tsv --out both.tsv
    """
    from kerastune.console import print_ensemble
    from kerastune.ensemble import ensemble_files, parse_weights

    ensembled = ensemble_files(
        scores,
        input,
        out,
        task=task,
        weights=None if weights is None else parse_weights(weights),
        evaluate=evaluate,
        format=cast("Format | None", format),
        sample=sample,
    )
    print_ensemble(ensembled)
