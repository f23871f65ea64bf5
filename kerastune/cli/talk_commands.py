"""The commands that answer: generate, chat."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kerastune.cli.options import with_options

Source = Annotated[
    str, typer.Argument(metavar="RUN|MODEL", help="The folder of a run or an adapter, or a model.")
]
Template = Annotated[
    str | None,
    typer.Option(help="The chat template: own, gemma, llama3, chatml, zephyr.", show_default="its own"),
]
_ITS_OWN = "the model's own"
# Option of `GenerationSpec` -> its flag, the same in every command that answers.
_SAMPLING = {
    "max_new_tokens": Annotated[
        int | None, typer.Option(help="The most tokens of an answer.", show_default="256")
    ],
    "temperature": Annotated[
        float | None, typer.Option(help="0 takes the likeliest token.", show_default=_ITS_OWN)
    ],
    "top_k": Annotated[
        int | None,
        typer.Option(
            help="Draw from this many of the likeliest tokens; 0 draws from all.", show_default=_ITS_OWN
        ),
    ],
    "top_p": Annotated[
        float | None,
        typer.Option(
            help="Draw from the likeliest tokens that make up this probability.", show_default=_ITS_OWN
        ),
    ],
    "repetition_penalty": Annotated[
        float | None,
        typer.Option(help="Above 1, tokens that are in the text become less likely.", show_default=_ITS_OWN),
    ],
    "seed": Annotated[int | None, typer.Option(help="The seed of the draws.", show_default="0")],
}


def _with_sampling(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of `_SAMPLING`, gathered into its parameter `sampling`."""
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _SAMPLING.items()
    ]

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        command(sampling={name: values.pop(name) for name in _SAMPLING}, **values)

    own = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in inspect.signature(command).parameters.values()
        if one.name != "sampling"
    ]
    wrapped.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    return wrapped


@with_options("Model")
@_with_sampling
def generate(
    options: Mapping[str, Any],
    sampling: Mapping[str, Any],
    source: Source,
    prompts: Annotated[list[str] | None, typer.Argument(metavar="[PROMPT]...", help="Prompts.")] = None,
    input: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="Prompts: .txt, one a line; .jsonl with prompt, messages, or the columns of the run's task.",
            show_default="the standard input, one a line",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A file of JSON Lines.", show_default="printed")] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the prompts as they are, with no chat template.")
    ] = False,
    template: Template = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts in a batch.")] = 8,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Start again; the answers of an unfinished run of the command are dropped."
        ),
    ] = False,
) -> None:
    """Answer prompts: each is the user's message where the model has a chat template.

    Killed and started again with the same command, it goes on where it was.

    Example: kerastune generate runs/mine --input prompts.txt --out answers.jsonl --max-new-tokens 64
    """
    from kerastune.console import print_answers, print_generated, say
    from kerastune.errors import ConfigError
    from kerastune.generating import generate as answer
    from kerastune.generating import generate_file
    from kerastune.prompts import prompts_of, read_prompts
    from kerastune.speaker import open_speaker

    if prompts and input is not None:
        raise ConfigError("input: expected prompts as words or --input, received both")
    speaker = open_speaker(source, options, template=template, raw=raw)
    spec = speaker.spec(**sampling)
    given = prompts_of(prompts) if prompts else read_prompts(input or sys.stdin, speaker.task)
    if out is None:
        print_answers(answer(speaker, given, spec, batch_size=batch_size))
        return
    print_generated(
        generate_file(
            speaker,
            given,
            spec,
            out,
            batch_size=batch_size,
            restart=restart,
            on_resume=lambda done, rows: say(f"going on: {done:,} of {rows:,} were answered before"),
        )
    )


@with_options("Model")
@_with_sampling
def chat(
    options: Mapping[str, Any],
    sampling: Mapping[str, Any],
    source: Source,
    system: Annotated[
        str | None, typer.Option(help="An instruction before the conversation.", show_default="none")
    ] = None,
    template: Template = None,
) -> None:
    """Talk with a model; /help lists what can be said to kerastune itself, exit or 종료 ends.

    Example: kerastune chat runs/mine --stack hf --system "짧게 답해 주세요."
    """
    from kerastune.chat_terminal import run_chat
    from kerastune.conversation import Conversation
    from kerastune.speaker import open_speaker

    speaker = open_speaker(source, options, template=template, chat=True)
    spec = speaker.spec(**sampling)
    speaker.load()
    run_chat(Conversation(speaker, spec, system))
