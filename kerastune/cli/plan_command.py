"""The command that says what a training needs before it is begun: plan."""

from typing import Annotated

import typer

from kerastune.cli.options import with_options
from kerastune.config import RunConfig


@with_options("Model", "LoRA", "Training")
def plan(
    config: RunConfig,
    length: Annotated[int | None, typer.Option(help="Tokens of a row.", show_default="--max-length")] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="t4, l4, a100, h100, h200, tpu-v5e, cpu for this machine's memory, or a GPU's gigabytes.",
            show_default="what is here",
        ),
    ] = None,
) -> None:
    """Say what a training needs, and whether it fits: no weights are loaded.

    Example: kerastune plan --model google/gemma-2-2b --rank 16 --batch-size 4 --length 512 --device t4
    """
    from kerastune.console_plan import print_estimate
    from kerastune.planning import plan_training

    print_estimate(plan_training(config, length=length, device=device))
