"""A run's options as a TOML file."""

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerastune.atomic import write_text
from kerastune.config import RunConfig
from kerastune.errors import ConfigError
from kerastune.strict import build


def read_config(path: Path) -> RunConfig:
    """Read a TOML file of options; those it does not name keep their defaults.

    Raises:
        ConfigError: The file is missing or no TOML, or an option is unknown or of the wrong type.
    """
    return build(RunConfig, _read_toml(path), str(path))


def read_options(path: Path) -> dict[str, Any]:
    """Read the options that a TOML file names, and no defaults: name -> value, for `with_options`.

    Raises:
        ConfigError: As `read_config` does.
    """
    config = dataclasses.asdict(read_config(path))
    named: dict[str, Any] = {}
    for key, value in _read_toml(path).items():
        named |= (
            {name: config[key][name] for name in value} if isinstance(value, dict) else {key: config[key]}
        )
    return named


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def write_config(config: RunConfig, path: Path) -> None:
    """Write every option as TOML; `read_config` gives the same value back."""
    import tomli_w

    def kept(table: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: kept(value)
            if isinstance(value, dict)
            else list(value)
            if isinstance(value, tuple)
            else value
            for key, value in table.items()
            if value is not None
        }

    write_text(path, tomli_w.dumps(kept(dataclasses.asdict(config))))
