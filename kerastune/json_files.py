"""JSON in files: laid out and hashed alike everywhere, and read with errors that name the file."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kerastune.errors import KerastuneError


def read_object(
    path: Path, error: type[KerastuneError], way_out: str, *, missing: str | None = None
) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.
        error: What is raised.
        way_out: What to do about a file that is damaged, for the message.
        missing: What to say and do where there is no such file; the way out when None.

    Raises:
        KerastuneError: Of the given kind: the file is missing, unreadable, or holds no JSON object.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as failure:
        raise error(f"{path.parent}: no {path.name}; {missing or way_out}") from failure
    except (OSError, ValueError, RecursionError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else failure
        raise error(f"{path}: cannot be read as JSON: {reason}; {way_out}") from failure
    if not isinstance(table, dict):
        raise error(f"{path}: expected a JSON object, received {type(table).__name__}; {way_out}")
    return table


def json_text(value: Any, *, allow_nan: bool = True, default: Callable[[Any], Any] | None = None) -> str:
    """Lay a value out as the text of a JSON file that people read too: indented, Hangul as it is.

    Args:
        value: What goes into the file.
        allow_nan: Whether NaN and infinities may be in it, which are not JSON but which Python reads.
        default: Makes something that JSON knows of a value that it does not know.

    Raises:
        ValueError: A number is not finite, and `allow_nan` is false.

    Example:
        >>> print(json_text({"label": "최고"}), end="")
        {
          "label": "최고"
        }
    """
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=allow_nan, default=default) + "\n"


def json_hash(value: Any) -> str:
    """The sha256 of a value's JSON with sorted keys; what JSON does not know counts by its `str`."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
