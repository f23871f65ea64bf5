"""Options, strictly: every key known, every value of its field's type and in its range."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

from kerastune.errors import ConfigError

_Kind = TypeVar("_Kind")


def build(kind: type[_Kind], table: Mapping[str, Any], where: str) -> _Kind:
    """Make a dataclass of a table; dataclasses in it are made of the tables in the table.

    Args:
        kind: The dataclass.
        table: Field name -> value, as TOML or JSON gives it; fields that are left out keep their defaults.
        where: What the messages call the table.

    Raises:
        ConfigError: A key is unknown, or a value is of another type or refused.

    Example:
        >>> @dataclasses.dataclass
        ... class Point:
        ...     x: float = 0.0
        >>> build(Point, {"x": 1}, "point")
        Point(x=1.0)
    """
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in table.items():
        if key not in hints:
            raise ConfigError(f"{where}: unknown option {key!r}{_home(key, hints)}")
        values[key] = _value(hints[key], value, f"{where}: {key}")
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return build(cast("type[Any]", hint), value, where)
        raise ConfigError(f"{where}: expected a section of options, received {value!r}")
    if origin is Literal:
        if value in args:
            return value
        raise ConfigError(f"{where}: expected {' or '.join(map(repr, args))}, received {value!r}")
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _value(args[0], value, where)
    if origin is tuple:
        if isinstance(value, list | tuple) and all(isinstance(item, args[0]) for item in value):
            return tuple(value)
        kind = getattr(args[0], "__name__", args[0])  # a union has no name
        raise ConfigError(f"{where}: expected a list of {kind}, received {value!r}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{where}: expected {getattr(hint, '__name__', hint)}, received {value!r}")


def _home(name: str, hints: Mapping[str, Any]) -> str:
    """Say where an option belongs: under a section, or to a name that is near."""
    for section, hint in hints.items():
        if dataclasses.is_dataclass(hint) and name in typing.get_type_hints(hint) and name not in hints:
            return f"; it belongs under [{section}]"
    return near(name, list(hints))


def require_option(name: str, value: object, allowed: bool, expected: str) -> None:
    """Refuse a value that is not allowed.

    Args:
        name: The option's name.
        value: What was received.
        allowed: Whether that is allowed.
        expected: What is allowed, in words.

    Raises:
        ConfigError: It is not allowed.

    Example:
        >>> require_option("rank", 0, 0 >= 1, "1 or more")
        Traceback (most recent call last):
            ...
        kerastune.errors.ConfigError: rank: expected 1 or more, received 0
    """
    if not allowed:
        raise ConfigError(f"{name}: expected {expected}, received {value!r}")


def near(name: str, known: list[str]) -> str:
    """Say which known name one may have meant: the end of a message."""
    matches = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else f"; there are: {', '.join(known)}"
