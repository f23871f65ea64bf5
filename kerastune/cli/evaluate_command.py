"""The command `evaluate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kerastune.cli.commands import SkipBadRows
from kerastune.cli.options import refuse_flags, with_options


@with_options("Model", "Scoring")
def evaluate(
    options: Mapping[str, Any],
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    input: Annotated[Path, typer.Option("--input", help="The labelled table, or dialogues.")],
    against: Annotated[
        Path | None,
        typer.Option(metavar="RUN2", help="Another run, or a scores file of the same rows, to test against."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Cross-validate the run's options on its training table, in this many folds."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Train from this many seeds, and show how far the results vary.")
    ] = None,
    slice: Annotated[
        list[str] | None, typer.Option(help="A column to slice the table by; may be given again.")
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(help="The most tokens of an answer that is a text.", show_default="128"),
    ] = None,
    skip_bad_rows: SkipBadRows = False,
) -> None:
    """Measure a run on a table, and write RUN/metrics.json.

    Labels are compared with the baselines'. Answers that are texts are generated, before and after tuning.

    Example: kerastune evaluate runs/mine --input data/reviews/challenge.tsv --folds 5
    Example: kerastune evaluate runs/chat --input data/chat/test.jsonl
    Example: kerastune evaluate runs/dpo --input data/preference/test.jsonl
    """
    from kerastune.preference.task import PreferenceTask
    from kerastune.run import Run
    from kerastune.task import Task

    task = Run.load(folder).task
    of_labels = {"--against": against, "--folds": folds, "--seeds": seeds, "--slice": slice}
    if isinstance(task, Task):
        of_texts = {"--max-new-tokens": max_new_tokens is not None, "--skip-bad-rows": skip_bad_rows}
        refuse_flags(of_texts, f"is for answers that are texts, {folder} is a run of {task.name!r}")
        _evaluate_labels(folder, input, options, against, folds, seeds, slice or [])
        return
    refuse_flags(of_labels, f"is for tasks with labels, {folder} is a run of {task.name!r}")
    if isinstance(task, PreferenceTask):
        generated = {"--max-new-tokens": max_new_tokens is not None}
        refuse_flags(generated, f"generates nothing for {folder}, a run of {task.name!r}")
        _evaluate_pairs(folder, input, options, skip_bad_rows)
    else:
        _evaluate_texts(folder, input, options, max_new_tokens, skip_bad_rows)


def _evaluate_labels(
    folder: Path,
    input: Path,
    options: Mapping[str, Any],
    against: Path | None,
    folds: int | None,
    seeds: int | None,
    columns: list[str],
) -> None:
    from kerastune.console_evaluation import print_evaluated, print_fold, print_seed
    from kerastune.evaluating import evaluate_file

    evaluated = evaluate_file(
        folder,
        input,
        options,
        against=against,
        folds=folds,
        seeds=seeds,
        columns=columns,
        on_fold=print_fold,
        on_seed=print_seed,
    )
    print_evaluated(evaluated)


def _evaluate_pairs(folder: Path, input: Path, options: Mapping[str, Any], skip_bad_rows: bool) -> None:
    from kerastune.console import say
    from kerastune.preference.evaluating import evaluate_pairs_file
    from kerastune.preference.rendering import render

    pairs = evaluate_pairs_file(folder, input, options, skip_bad_rows=skip_bad_rows)
    say(render(input.stem, pairs))


def _evaluate_texts(
    folder: Path,
    input: Path,
    options: Mapping[str, Any],
    max_new_tokens: int | None,
    skip_bad_rows: bool,
) -> None:
    from kerastune.console_text import print_text_evaluation
    from kerastune.text_evaluating import MAX_NEW_TOKENS, evaluate_texts

    evaluation = evaluate_texts(
        folder,
        input,
        options,
        max_new_tokens=MAX_NEW_TOKENS if max_new_tokens is None else max_new_tokens,
        skip_bad_rows=skip_bad_rows,
    )
    print_text_evaluation(evaluation)
