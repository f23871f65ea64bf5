"""Errors for the user: one line that says what was expected, what was received and the way out.

Every error that a user's input can cause derives from `KerastuneError`. The command line prints its
message alone and exits with status 2; a traceback is shown only when asked for. What a value caused is a
`ValueError` too, as users of scikit-learn expect.
"""


class KerastuneError(Exception):
    """Base of all errors whose message is meant for the user."""


class DataError(KerastuneError, ValueError):
    """A table could not be read as it is: the message names the file, the line and the column."""


class TemplateError(KerastuneError, ValueError):
    """A template, a task or a verbalizer is malformed, or they do not fit each other."""


class EncodingError(KerastuneError, ValueError):
    """A rendered example cannot be turned into token ids without losing what must not be lost."""


class ConfigError(KerastuneError, ValueError):
    """An option is unknown, of the wrong type or out of its range."""


class ModelError(KerastuneError):
    """A base model was not found, could not be fetched, or its files are damaged."""


class AdapterError(KerastuneError):
    """An adapter on disk is damaged, or belongs to another base, template or label set."""


class OutputError(KerastuneError):
    """A result could not be written; nothing half-written was left behind."""


class HubError(KerastuneError):
    """The hub refuses an upload, or cannot be reached; what is on disk is as it was."""


class MissingExtraError(KerastuneError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; install it with: pip install 'kerastune[{extra}]'")
        self.package = package
        self.extra = extra


def one_line(text: object, most: int = 200) -> str:
    """Bring a library's message into one line, to be part of a message of ours.

    Args:
        text: The message, or the error that has it.
        most: The most characters of it; the rest is cut off.

    Example:
        >>> one_line(ValueError("bad file:\\n  header"))
        'bad file: header'
    """
    return " ".join(str(text).split())[:most]
