"""The commands' entry: errors become one line and an exit status, a traceback only on request."""

import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from kerastune.cli import (
    adapter_commands,
    calibrate_command,
    commands,
    data_commands,
    doctor_command,
    evaluate_command,
    plan_command,
    proof_commands,
    publish_commands,
    report_command,
    score_command,
    talk_commands,
    verbalizers_command,
)
from kerastune.errors import KerastuneError, one_line
from kerastune.launching import processes
from kerastune.log import start_log
from kerastune.stopping import INTERRUPTED, TERMINATED, Terminated, stopping
from kerastune.text_layers import spare_text_layers

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    help="Fine-tune an open language model on your own labels and get a submission you can trust.\n\n"
    "Example: [bold]kerastune run[/bold] trains and scores the packaged Gemma 3 270M on our own reviews.",
)
app.command("run")(commands.run)
app.command("train")(commands.train)
app.command("score")(score_command.score)
app.command("ensemble")(score_command.ensemble)
app.command("evaluate")(evaluate_command.evaluate)
app.command("calibrate")(calibrate_command.calibrate)
app.command("report")(report_command.report)
app.command("verbalizers")(verbalizers_command.verbalizers)
app.command("doctor")(doctor_command.doctor)
app.command("plan")(plan_command.plan)
app.command("preview")(commands.preview)
app.command("convert")(adapter_commands.convert)
app.command("merge")(adapter_commands.merge)
app.command("export")(adapter_commands.export)
app.command("generate")(talk_commands.generate)
app.command("chat")(talk_commands.chat)
app.command("card")(publish_commands.card)
app.command("push")(publish_commands.push)
app.command("parity")(proof_commands.parity)
app.command("compare")(proof_commands.compare)
app.add_typer(data_commands.app, name="data")

_SHOW_TRACEBACK = "--traceback"

# Newer typers have a click of their own, older ones take the package: this is either's.
_UsageError: Any = typer.BadParameter.__bases__[0]


@app.callback()
def _options(
    traceback: Annotated[bool, typer.Option(_SHOW_TRACEBACK, help="Show where an error came from.")] = False,
) -> None:
    """Take the options of all commands."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after `kerastune`; those of the process when None.

    Returns:
        0; 1 after a failed proof or an error of kerastune itself; 2 where the input was refused; 130 where it
        was interrupted, 143 where SIGTERM ended it.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if arguments is None:
        spare_text_layers()

    def run() -> int:
        with processes() as ending:
            ending.status = _reported(words, lambda: _call(words))
            return ending.status

    return _reported(words, run)


def _call(words: list[str]) -> int:
    with stopping():
        start_log()
        status = app(words, prog_name="kerastune", standalone_mode=False)
    # Newer typers give an interruption back as a status, older ones raise Abort.
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    return status or 0


def _reported(words: list[str], work: Callable[[], int]) -> int:
    """Do something, and turn an error into one line and a status."""
    try:
        return work()
    except _UsageError as error:
        # Without a message the help has been shown: the command was called with nothing.
        message = " ".join(error.format_message().split()).rstrip(".")
        return _report(words, f"{message}; --help shows what there is", error, 2) if message else 2
    except KerastuneError as error:
        return _report(words, str(error), error, status=2)
    except (KeyboardInterrupt, typer.Abort) as error:
        return _report(words, "interrupted", error, INTERRUPTED)
    except Terminated as error:
        return _report(words, "told to stop (SIGTERM)", error, TERMINATED)
    except Exception as error:
        message = one_line(f"{type(error).__name__}: {error}", most=300)
        return _report(
            words, f"{message}; this is an error of kerastune, {_SHOW_TRACEBACK} shows where", error, 1
        )


def _report(words: list[str], message: str, error: BaseException, status: int) -> int:
    if _SHOW_TRACEBACK in words:
        traceback.print_exception(error)
    print(f"kerastune: {message}", file=sys.stderr)
    return status
