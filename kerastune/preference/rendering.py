"""What an evaluation on pairs came to, as a table to print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerastune.preference.evaluating import EvaluatedPairs

if TYPE_CHECKING:
    from rich.table import Table


def render(name: str, evaluated: EvaluatedPairs) -> Table:
    """Lay out what a run came to, before and after its training.

    Args:
        name: The table of pairs.
        evaluated: What was measured.
    """
    from rich.table import Table

    table = Table(title=f"{name}: {evaluated.pairs} pairs, {evaluated.method}")
    for column in ("", "before", "after (95 % interval)"):
        table.add_column(column, justify="right" if column else "left")
    rewards, before, after = evaluated.rewards, evaluated.before, evaluated.after
    low, high = evaluated.accuracy_interval
    # Before its training, a model is its own reference: no reward is higher than another.
    at_first = "-" if evaluated.method == "dpo" else f"{before.accuracy:.3f}"
    table.add_row("preference accuracy", at_first, f"{rewards.accuracy:.3f} ({low:.3f} to {high:.3f})")
    low, high = evaluated.margin_interval
    table.add_row(
        "reward margin",
        "0" if evaluated.method == "dpo" else "-",
        f"{rewards.margin:.3f} ({low:.3f} to {high:.3f})",
    )
    table.add_row("chosen likelier a token", f"{before.accuracy:.3f}", f"{after.accuracy:.3f}")
    table.add_row("log-probability, chosen", f"{before.chosen:.1f}", f"{after.chosen:.1f}")
    table.add_row("log-probability, rejected", f"{before.rejected:.1f}", f"{after.rejected:.1f}")
    if evaluated.left:
        table.add_row("left out", "", str(len(evaluated.left)))
    return table
