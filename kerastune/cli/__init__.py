"""The command line: thin doors that parse, call and print. `kerastune --help` loads nothing heavy."""

from kerastune.cli.main import main

__all__ = ["main"]
