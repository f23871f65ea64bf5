"""What the doctor finds, one thing at a time."""

from dataclasses import dataclass
from typing import Literal

#: `absent` is what is not installed and need not be; only `broken` makes the exit status 1.
State = Literal["ok", "absent", "warning", "broken"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Args:
        area: Under which heading it stands, such as `"versions"`.
        name: What was looked at.
        state: How it is.
        said: What was found, in a line.
        mend: The command that mends it, or brings it.
    """

    area: str
    name: str
    state: State
    said: str
    mend: str | None = None
