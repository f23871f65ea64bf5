"""A process that follows: it computes its rows of whatever the first one asks, until that ends."""

import signal
from typing import Any

from kerastune.errors import ModelError
from kerastune.group import Group, LostProcessError, Part, described
from kerastune.log import start_log
from kerastune.models import ModelFiles, resolve_model


def follow(group: Group) -> int:
    """Serve the first process until it dismisses the others.

    What would stop a process is left to the first one, which finishes its step, keeps a checkpoint and then
    dismisses the others.

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
            # The others wait inside of the call; that this process ends is what lets them go on.
            group.leave_error(error)
            raise LostProcessError from error
        return described(error, group.rank)


def _same_model(name: str, fingerprint: str) -> ModelFiles:
    """Find the first process' model here.

    Raises:
        ModelError: It is not there, or is another one.
    """
    files = resolve_model(name)
    if files.fingerprint != fingerprint:
        raise ModelError(
            f"{files.path}: is another model than the first process'; copy the same to every machine"
        )
    return files
