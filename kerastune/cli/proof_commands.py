"""The commands that hold the stacks against each other: parity and compare."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from kerastune.cli.options import with_options
from kerastune.config import RunConfig


@with_options("Model", "LoRA", "Training")
def parity(
    config: RunConfig,
    input: Annotated[
        list[Path] | None, typer.Option("--input", help="Another labelled table to compare ids on.")
    ] = None,
) -> None:
    """Prove that Keras and Hugging Face agree: ids, logits, loss, gradients, training, adapters.

    Ends with status 1 where a line fails. Example: kerastune parity --model gemma3-270m
    """
    from kerastune.console import print_parity, print_parity_header
    from kerastune.dataset import read_dataset
    from kerastune.mainjob import packaged_reviews
    from kerastune.parity import prove_parity
    from kerastune.text_layers import want_text_layers

    want_text_layers()
    reviews = packaged_reviews()
    files = [
        *(input or []),
        *(reviews / f"{name}.tsv" for name in ("train", "more", "validation", "challenge", "test")),
    ]
    datasets = [read_dataset(file, config.task) for file in files]
    print_parity_header(config.model.model)
    lines = prove_parity(config, datasets, on_line=print_parity)
    if any(line.failed for line in lines):
        raise typer.Exit(1)


@with_options("Model", "LoRA", "Training", "Scoring")
def compare(
    config: RunConfig,
    stacks: Annotated[str, typer.Option(help="The stacks, with commas.")] = "keras,hf",
    backends: Annotated[str, typer.Option(help="Keras' backends, with commas.")] = "jax",
    train: Annotated[
        Path | None, typer.Option(help="Labelled rows to train on.", show_default="the packaged ones")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Labelled rows to score.", show_default="the packaged ones")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the runs go.", show_default="runs/compare_DATE_TIME")
    ] = None,
) -> None:
    """Train and score the same configuration on several stacks and print one table.

    Example: kerastune compare --stacks keras,hf --backends jax,torch,tensorflow
    """
    from kerastune.comparing import compare as run_all
    from kerastune.comparing import contenders
    from kerastune.console import print_compared, say
    from kerastune.mainjob import packaged_reviews

    names = contenders(stacks.split(","), backends.split(","))
    if train is None or test is None:
        reviews = packaged_reviews()
        train, test = train or reviews / "train.tsv", test or reviews / "test.tsv"
    folder = out or Path("runs") / f"compare_{datetime.now():%Y%m%d_%H%M%S}"
    print_compared(run_all(config, names, train, test, folder, on_start=lambda name: say(str(name))))
