"""The commands that publish a run: card, push."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a card that is there and says something else.")
]


def card(
    folder: Folder,
    license: Annotated[
        str | None,
        typer.Option(help="The adapter's licence by the hub's name for it.", show_default="a Gemma base's"),
    ] = None,
    language: Annotated[str, typer.Option(help="The texts' language, as a code.")] = "ko",
    overwrite: Overwrite = False,
) -> None:
    """Write a model card beside the adapter, and a dataset card to complete, from the run's own files.

    Example: kerastune card runs/mine
    """
    from kerastune.console import say
    from kerastune.publishing import write_cards

    for path in write_cards(folder, license=license, language=language, overwrite=overwrite):
        say(f"written  {path}")


def push(
    folder: Folder,
    to: Annotated[str, typer.Option(metavar="OWNER/NAME", help="The repository; made where there is none.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it.")] = False,
    overwrite: Overwrite = False,
    endpoint: Annotated[
        str | None, typer.Option(help="The hub's address.", show_default="the Hugging Face hub")
    ] = None,
) -> None:
    """Upload a run's adapter with its card to the Hugging Face hub, private unless said otherwise.

    Example: kerastune push runs/mine --to owner/name
    """
    from kerastune.console import say
    from kerastune.publishing import push as upload

    pushed = upload(folder, to, public=public, overwrite=overwrite, endpoint=endpoint)
    say(f"pushed   {', '.join(pushed.files)}")
    say(f"to       {pushed.page} at {pushed.revision[:12]}, {'private' if pushed.private else 'public'}")
