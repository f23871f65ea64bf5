"""What is printed of a plan: the needs of a training, part by part."""

from kerastune.console import say
from kerastune.planning import Estimate


def print_estimate(plan: Estimate) -> None:
    """Print every part of a plan, and whether it fits."""
    from rich.table import Table

    work = plan.work
    quantised = f", linear layers in {work.quantization}" if work.quantization else ""
    computes = f"{work.stack}/{work.backend} on {plan.device.name}, {work.dtype}{quantised}"
    mesh = f"; each of {work.mesh.devices} devices, {work.mesh}" if work.mesh.devices > 1 else ""
    title = f"{computes}, {work.batch_size} rows of {work.length} tokens{mesh}"
    table = Table(title=title, show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    for name, count in (("parameters", plan.parameters), ("trainable parameters", plan.trainable)):
        table.add_row(name, f"{count:,}")
    table.add_row("floating-point operations a step", f"{plan.flops / 1e12:.3g} T", end_section=True)
    for name, size in (
        ("weights", plan.weights),
        ("adapter: weights, gradients, moments", plan.state),
        ("activations", plan.activations),
        ("logits", plan.logits),
        ("framework, compiled programs, copies", plan.runtime),
    ):
        table.add_row(name, gigabytes(size))
    table.add_row("while training", gigabytes(plan.training))
    table.add_row("while loading", gigabytes(plan.loading), end_section=True)
    table.add_row("needed", gigabytes(plan.peak))
    table.add_row("there is", gigabytes(plan.device.memory))
    table.add_row("fits", "yes" if plan.fits else "no")
    table.add_row("largest batch that fits", str(plan.largest_batch) if plan.largest_batch else "none")
    say(table)
    if not plan.measured:
        say("The framework's part was not measured on this kind of device; see docs/performance.md.")


def gigabytes(size: int) -> str:
    """Bytes as GB, 10^9 bytes."""
    return f"{size / 1e9:.2f} GB"
