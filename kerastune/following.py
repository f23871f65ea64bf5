"""Every process but the first: it computes its share of each call until the first one dismisses it."""

import signal
from typing import Any

from kerastune.errors import ModelError
from kerastune.group import Group, LostProcessError, Part, described
from kerastune.log import start_log
from kerastune.models import ModelFiles, resolve_model


def follow(group: Group) -> int:
    """Serve the first process until it dismisses the others.

    SIGINT and SIGTERM are ignored here: the first process heeds them, finishes its step, writes a checkpoint
    and then dismisses the others.

    Args:
        group: All processes.

    Returns:
        The exit status: the first process', or 1 where that was lost.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    start_log(first=False)
    parts: dict[int, Part] = {}
    try:
        while (message := group.receive())["call"] != "end":
            for number in message["dropped"]:
                parts.pop(number, None)
            group.reply(_reply(group, parts, message))
    except LostProcessError:
        group.abandon(1)
        return 1
    group.leave()
    status: int = message["status"]
    return status


def _reply(group: Group, parts: dict[int, Part], message: dict[str, Any]) -> dict[str, Any]:
    number, call, values = message["stack"], message["call"], message["values"]
    try:
        if call == "load":
            with group.together():
                files = _same_model(values["name"], values["fingerprint"])
            parts[number] = group.part(values["spec"], files)
            return {"value": None}
        parts[number].forget(message["forgotten"])
        return {"value": parts[number].reply(call, values)}
    except LostProcessError:
        raise
    except Exception as error:
        if number in parts and parts[number].waits(call):
            # The others wait inside the call, and only the end of this process gets them out of it.
            group.leave_error(error)
            raise LostProcessError from error
        return described(error, group.rank)


def _same_model(name: str, fingerprint: str) -> ModelFiles:
    """Find the first process' model here.

    Raises:
        ModelError: It is not there, or another model of that name is.
    """
    files = resolve_model(name)
    if files.fingerprint != fingerprint:
        raise ModelError(
            f"{files.path}: is not the model that the first process has; copy the same files to every machine"
        )
    return files
