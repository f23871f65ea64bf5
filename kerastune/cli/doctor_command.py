"""The command that looks at the machine: doctor."""

import json as json_format
from typing import Annotated

import typer


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that each stack has to import and train.")] = 180.0,
) -> None:
    """Check versions, devices, disk, caches, tokens and stacks, and say how to fix a problem.

    Each stack that is installed trains a small random model for ten seconds at most. Ends with status 1 where
    something is broken. Example: kerastune doctor
    """
    from kerastune.console_doctor import FindingPrinter
    from kerastune.doctor import diagnose

    printer = FindingPrinter()
    diagnosis = diagnose(timeout, on_finding=None if json else printer)
    if json:
        typer.echo(json_format.dumps(diagnosis.as_dict(), ensure_ascii=False, indent=2))
    else:
        printer.end(diagnosis)
    if diagnosis.broken:
        raise typer.Exit(1)
