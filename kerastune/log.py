"""The command line's log: our own notes reach the screen, what libraries warn of goes to a file.

A user can do nothing about most of what the libraries underneath say; where something goes wrong, the file
has it.
"""

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from kerastune.models.cache import cache_root

_FILE, _BYTES = "kerastune.log", 1 << 20
_OWN = "kerastune"


def log_file() -> Path:
    """The log's path, in the user's cache; a second file with `.1` behind its name has what was before."""
    return cache_root() / _FILE


class _Notes(logging.Handler):
    """Prints our own notes to the error stream as it is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"kerastune: {record.getMessage()}", file=sys.stderr)


def start_log(*, first: bool = True) -> None:
    """Send our notes to the screen and everybody's to the file, once for a process.

    Args:
        first: Whether this is the first process of a launch; what the others would say is said by it too.
    """
    root, own = logging.getLogger(), logging.getLogger(_OWN)
    if any(isinstance(handler, _Notes) for handler in own.handlers):
        return
    file: logging.Handler = logging.NullHandler()
    if first:
        own.addHandler(_Notes(logging.WARNING))
        file = _log_file_handler()
    logging.raiseExceptions = False  # a full disk is no reason to print a traceback about the log
    root.addHandler(file)
    logging.captureWarnings(True)
    # These have handlers of their own, which print.
    for name in ("transformers", "huggingface_hub", "peft", "trl", "absl", "jax", "bitsandbytes"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True


def _log_file_handler() -> logging.Handler:
    try:
        log_file().parent.mkdir(parents=True, exist_ok=True)
        file = RotatingFileHandler(log_file(), maxBytes=_BYTES, backupCount=1, encoding="utf-8", delay=True)
    except OSError:  # a cache that cannot be written is done without
        return logging.NullHandler()
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return file
