"""A process that follows: it computes its rows of whatever the first one asks, until that ends."""

import signal
from typing import Any

from hf_bridge.part import ALIKE, Part
from hf_bridge.processes import LostProcessError, Processes, described
from kerastune.log import start_log
from kerastune.models import resolve_model


def follow(group: Processes) -> int:
    """Serve the first process until it dismisses the others.

    What would stop a process is left to the first one, which finishes its step, keeps a checkpoint and then
    dismisses the others.

    Args:
        group: All processes.

    Returns:
        The exit status: 0, or 1 where the first process was lost.
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
        return 1
    group.leave()
    return 0


def _reply(group: Processes, parts: dict[int, Part], message: dict[str, Any]) -> dict[str, Any]:
    number, call, values = message["stack"], message["call"], message["values"]
    try:
        if call == "load":
            parts[number] = Part(values["spec"], resolve_model(values["name"]), values["fingerprint"], group)
            return {"value": None}
        parts[number].forget(message["forgotten"])
        found = parts[number].do(call, values)
        return {"value": None if call in ALIKE else found}
    except LostProcessError:
        raise
    except Exception as error:
        if number in parts and parts[number].sharded:
            # The others wait inside of a layer; that this process ends is what lets them go on.
            group.leave_error(error)
            raise LostProcessError from error
        return described(error, group.rank)
