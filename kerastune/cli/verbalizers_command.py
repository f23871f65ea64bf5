"""The command that looks for a good way to ask: verbalizers."""

from pathlib import Path
from typing import Annotated

import typer

from kerastune.cli.options import with_options
from kerastune.config import RunConfig


@with_options("Model", "Scoring")
def verbalizers(
    config: RunConfig,
    input: Annotated[Path, typer.Option("--input", help="Labelled rows, such as a validation table.")],
    try_template: Annotated[
        list[str] | None,
        typer.Option(help="A prompt to try, such as 'Review: {comment}\\nIn a word:'; may be repeated."),
    ] = None,
    try_words: Annotated[
        list[str] | None,
        typer.Option(help="Words to try, in the labels' order, such as bad/good; may be repeated."),
    ] = None,
    rows: Annotated[int, typer.Option(help="The most rows to rank on; a seeded sample of the table.")] = 300,
    top: Annotated[int, typer.Option(help="How many of the best to print.")] = 15,
) -> None:
    """Rank prompts and label words on labelled rows, with no training.

    Train with what it finds by --template and --verbalizer. Never rank on the rows that you will test on.

    Example: kerastune verbalizers --input data/reviews/validation.tsv
    """
    from kerastune.console import print_candidates
    from kerastune.dataset import read_dataset
    from kerastune.session import open_session
    from kerastune.template import get_template
    from kerastune.verbalizers import rank_verbalizers

    dataset = read_dataset(input, config.task)
    if len(dataset) > rows:
        _, dataset = dataset.split(rows / len(dataset), seed=config.train.seed)
    candidates = rank_verbalizers(
        open_session(config),
        dataset,
        templates=[get_template(text) for text in try_template] if try_template else None,
        words=[tuple(pair.split("/")) for pair in try_words] if try_words else None,
    )
    print_candidates(candidates[:top], len(dataset))
