"""JSON objects in files, read with errors that name the file and the way out."""

import json
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
