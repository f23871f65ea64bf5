"""Progress bars with the remaining time, on the error stream, so that results can be piped."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, amount: int = 1, note: str = "") -> None:
        """Move on by `amount` and show `note`, such as the present loss."""


@contextmanager
def progress(
    what: str, total: int, *, start: int = 0, show: bool = True, bar: Advance | None = None
) -> Iterator[Advance]:
    """Show a bar with a count, a note, the time spent and the time left.

    Args:
        what: What is under way.
        total: Its number of parts.
        start: Parts that were done before.
        show: Whether to show anything.
        bar: A bar that is already there and is moved in place of a new one, where this is a part of more.
    """
    if bar is not None:
        yield bar
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not show) as shown:
        task = shown.add_task(what, total=total, completed=start, note="")

        def advance(amount: int = 1, note: str = "") -> None:
            shown.update(task, advance=amount, note=note)

        yield advance
