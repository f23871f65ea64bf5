"""A conversation in a terminal: Korean lines are edited with their width; piped lines work as well."""

import sys
from collections.abc import Callable

from kerastune.conversation import Conversation, converse

_PROMPT = "> "


def run_chat(conversation: Conversation) -> None:
    """Hold a conversation on the standard streams, until the user ends it."""
    interactive = sys.stdin.isatty()
    converse(conversation, _edited_lines() if interactive else _piped_line, _write)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _edited_lines() -> Callable[[], str | None]:
    """Lines with editing and a history that ends with the process: nobody's chats are kept unasked."""
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession()

    def line() -> str | None:
        while True:
            try:
                return session.prompt(_PROMPT)
            except KeyboardInterrupt:  # at the prompt it empties the line
                continue
            except EOFError:
                return None

    return line


def _piped_line() -> str | None:
    line = sys.stdin.readline()
    return line if line else None
