"""Flags made from the options' dataclasses, so that a name is the same in Python, in TOML and as a flag."""

import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kerastune.config import LoraSpec, ModelSpec, RunConfig, ScoreSpec, TrainSpec
from kerastune.config_file import read_config, read_options
from kerastune.errors import ConfigError
from kerastune.preference.spec import PreferenceSpec

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A TOML file of options; flags override what it says.")
]
SECTIONS = {
    "Model": ModelSpec,
    "LoRA": LoraSpec,
    "Training": TrainSpec,
    "Preference": PreferenceSpec,
    "Scoring": ScoreSpec,
}


def with_options(
    *panels: str, base: Callable[[Mapping[str, Any]], RunConfig | None] = lambda _: None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command a flag for each option of these sections, and `--config`.

    Args:
        *panels: Keys of `SECTIONS`.
        base: Called with the values of the command's own parameters; the configuration that it returns stands
            in for the file of `--config`. Where it returns None, that file is read.

    Returns:
        A decorator. A command with a parameter `config` receives a `RunConfig` made of `--config` and the
        flags, and has the flags of the task too. A command with a parameter `options` receives only the
        options that were given, as a mapping, to replace those of a run.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        taken = inspect.signature(command).parameters
        has_defaults = "config" in taken
        flags = _flags(RunConfig, "Task", _task_fields()) if has_defaults else []
        for panel in panels:
            kind = SECTIONS[panel]
            flags += _flags(kind, panel, [field.name for field in dataclasses.fields(kind)])
        own = [p for p in taken.values() if p.name not in ("config", "options")]
        if not has_defaults:
            flags = [_of_the_run(flag) for flag in flags]
        config_file = inspect.Parameter(
            "config_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ConfigFile
        )

        @functools.wraps(command)
        def wrapped(config_file: Path | None = None, **values: Any) -> Any:
            given = {flag.name: values.pop(flag.name) for flag in flags}
            if given.get("targets") is not None:
                names = (name.strip() for name in given["targets"].split(","))
                given["targets"] = tuple(name for name in names if name)
            if has_defaults:
                config = base(values) or (read_config(config_file) if config_file else RunConfig())
                return command(config=config.with_options(given), **values)
            named = read_options(config_file) if config_file else {}
            flagged = {name: value for name, value in given.items() if value is not None}
            return command(options={**named, **flagged}, **values)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + [config_file, *flags]
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapped

    return decorate


def refuse_flags(flags: Mapping[str, Any], reason: str) -> None:
    """Refuse flags that do not go with the other arguments.

    Args:
        flags: A flag -> what was given, or nothing.
        reason: What the message says of a flag that was given.

    Raises:
        ConfigError: One was given.
    """
    for flag, value in flags.items():
        if value:
            raise ConfigError(f"{flag}: {reason}; leave it out")


def _of_the_run(flag: inspect.Parameter) -> inspect.Parameter:
    """Make the flag show that its default is the run's own option."""
    hint, option = typing.get_args(flag.annotation)
    option.show_default = "the run's"
    return flag.replace(annotation=Annotated[hint, option])


def _task_fields() -> list[str]:
    return ["task", "template", "verbalizer"]


def _flags(kind: type, panel: str, names: list[str]) -> list[inspect.Parameter]:
    hints, helps, defaults = typing.get_type_hints(kind), _helps(kind), kind()
    flags = []
    for name in names:
        shown = getattr(defaults, name)
        default = ",".join(shown) if isinstance(shown, tuple) else str(shown)
        option = typer.Option(
            f"--{name.replace('_', '-')}",
            help=helps[name],
            rich_help_panel=panel,
            show_default=shown is not None and default,  # the help text says what None means
        )
        flags.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[_flag_type(hints[name]) | None, option],
            )
        )
    return flags


def _flag_type(hint: Any) -> Any:
    """The type that typer parses an option as; lists have commas, and the dataclass checks the values."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return _flag_type(typing.get_args(hint)[0])
    return hint if hint in (int, float, bool) else str


def _helps(kind: type) -> dict[str, str]:
    """Read the description of each argument out of a docstring's `Args:`."""
    section = inspect.cleandoc(kind.__doc__ or "").partition("Args:\n")[2]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()).replace("`", "") for name, text in found}
