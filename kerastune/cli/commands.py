"""The commands on a run: all of it, train, preview."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kerastune.cli.options import with_options
from kerastune.config import RunConfig

Input = Annotated[Path, typer.Option("--input", help="The table: TSV, CSV, JSON Lines or Parquet.")]
SkipBadRows = Annotated[
    bool,
    typer.Option("--skip-bad-rows", help="Leave out dialogues that cannot be used, and list them."),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]


@with_options("Model", "LoRA", "Training", "Scoring")
def run(
    config: RunConfig,
    out: Annotated[Path | None, typer.Option(help="The run's folder.", show_default="runs/DATE_TIME")] = None,
) -> None:
    """Do the whole main job on the packaged reviews: train, score, compare, write a submission.

    Example: kerastune run --backend torch --epochs 2
    """
    from kerastune.console import print_plan, print_report, print_results
    from kerastune.dataset import read_dataset
    from kerastune.mainjob import packaged_reviews, run_main_job

    reviews = packaged_reviews()
    train_file = reviews / "train.tsv"
    results = run_main_job(
        config.with_options({"train_file": str(train_file)}),
        read_dataset(train_file, config.task),
        {name: read_dataset(reviews / f"{name}.tsv", config.task) for name in ("test", "challenge")},
        read_dataset(reviews / "sample_submission.tsv", config.task, labelled=False),
        out,
        on_report=print_report,
        on_plan=print_plan,
    )
    print_results(results)


def _unfinished(values: Mapping[str, Any]) -> RunConfig | None:
    if not values["resume"]:
        return None
    from kerastune.fine_tuning import unfinished_config

    return unfinished_config(values["out"])


@with_options("Model", "LoRA", "Training", "Preference", "Scoring", base=_unfinished)
def train(
    config: RunConfig,
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    train: Annotated[Path | None, typer.Option(help="Labelled rows or dialogues to train on.")] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Rows to measure after each epoch; the best epoch is kept.")
    ] = None,
    from_run: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="A run whose adapter stays under the new one."),
    ] = None,
    skip_bad_rows: SkipBadRows = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in --out, with the options there.")
    ] = False,
) -> None:
    """Fine-tune on a table. After a crash the same command goes on from the last checkpoint.

    With --resume, --out is all that has to be given; the other options are read from there.

    Example: kerastune train --train data/reviews/train.tsv --rank 4 --epochs 2 --out runs/mine
    Example: kerastune train --task chat --train data/chat/train.jsonl --out runs/chat
    Example: kerastune train --task preference --from runs/chat --train pairs.jsonl --out runs/dpo
    """
    from kerastune.console import print_plan, print_report, print_trained
    from kerastune.mainjob import train_files

    files = {"train_file": train and str(train), "validation_file": validation and str(validation)}
    files["from_run"] = from_run and str(from_run)
    config = config.with_options(files)
    print_trained(
        train_files(
            config,
            out,
            resume=resume,
            skip_bad_rows=skip_bad_rows,
            on_report=print_report,
            on_plan=print_plan,
        )
    )


@with_options("Model", "Training")
def preview(
    config: RunConfig,
    input: Input,
    row: Annotated[int, typer.Option(help="The row, from 0.")] = 0,
    labelled: Annotated[bool, typer.Option(help="Whether to read the labels.")] = True,
) -> None:
    """Show one row as the model sees it: text, bytes, ids, and what is trained.

    Example: kerastune preview --input data/reviews/train.tsv --row 3 --template instruction
    Example: kerastune preview --task chat --input data/chat/train.jsonl
    """
    from kerastune.console import say
    from kerastune.row_preview import preview_file

    say(preview_file(config, input, row, labelled=labelled))
