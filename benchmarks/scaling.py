"""What well-known models need of well-known machines, on paper: memory, tokens a second, device hours.

Memory is `kerastune plan --mesh`'s, for training. Speed is arithmetic and the transfers between the devices
of a copy, one after the other: arithmetic at the share of the vendors' data sheets that `--utilisation`
assumes, transfers at their whole rate. Nothing here was measured. Of the meshes of a machine the one is taken
that splits the model least and fits; if none does, the one with the most rows.

    python benchmarks/scaling.py
"""

import argparse
from dataclasses import dataclass, replace

from side_by_side import markdown

from kerastune.config import RunConfig
from kerastune.mesh import Mesh
from kerastune.planning import Estimate, estimate, plan_training
from kerastune.planning.cost import forward_flops

MODELS = ("gemma-2b", "gemma-7b", "gemma-2-9b", "gemma-2-27b", "llama-3.1-70b")
_LENGTH, _TRAINED, _SCORED, _LABELS = 64, 8, 64, 2


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Some devices.

    Args:
        name: What they are called.
        device: The plan's name of each.
        devices: How many of them a host has.
        hosts: How many hosts there are; a copy of the model stays on one.
        flops: Floating-point operations a second of a device, dense, in the dtype that is computed in.
        link: Bytes a second from a device to the others of its host, in one direction.
        network: Bytes a second from a device to other hosts.
    """

    name: str
    device: str
    devices: int
    hosts: int = 1
    flops: float
    link: float
    network: float = 0.0


#: A T4 multiplies in float32 here, or in bfloat16 that it emulates, no faster; its link is PCI Express 3 x16.
MACHINES = (
    Machine(name="1 x T4", device="t4", devices=1, flops=8.1e12, link=16e9),
    Machine(name="2 x T4", device="t4", devices=2, flops=8.1e12, link=16e9),
    Machine(name="TPU v5e-8", device="tpu-v5e", devices=8, flops=197e12, link=100e9),
    Machine(name="8 x H100", device="h100", devices=8, flops=989e12, link=450e9),
    Machine(
        name="64 hosts of 8 x H100", device="h100", devices=8, hosts=64, flops=989e12, link=450e9,
        network=50e9,
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Tokens a second of all devices, in training and in scoring."""

    training: float
    scoring: float

    def device_hours(self, reviews: float, devices: int) -> float:
        """What scoring reviews takes of all devices together."""
        return reviews * _LENGTH / self.scoring / 3600 * devices


def plan(model: str, machine: Machine) -> tuple[Estimate, Mesh]:
    """The plan of the mesh that splits the model least and fits; else of the most rows that any mesh has."""
    found: list[tuple[Estimate, Mesh]] = []
    for dtype in ("auto", "bfloat16"):
        for parts in (1, 2, 4, 8):
            if parts > machine.devices:
                break
            mesh = Mesh(data=machine.hosts * machine.devices // parts, model=parts)
            options = {"model": model, "dtype": dtype, "mesh": str(mesh), "batch_size": _TRAINED * mesh.data}
            config = RunConfig().with_options(options)
            found.append((plan_training(config, length=_LENGTH, device=machine.device), mesh))
            if found[-1][0].fits:
                return found[-1]
    most, mesh = max(found, key=lambda one: (one[0].largest_batch, -one[0].peak))
    rows = most.largest_batch or most.work.batch_size
    return estimate(replace(most.work, batch_size=rows), most.device), mesh


def ring(devices: int, size: float, rate: float) -> float:
    """Seconds of a sum over devices in a ring, of which each has the bytes (Patarasuk and Yuan 2009)."""
    return 2 * (devices - 1) / devices * size / rate if devices > 1 else 0.0


def speed(planned: Estimate, mesh: Mesh, machine: Machine, utilisation: float) -> Speed:
    """Expected tokens a second.

    A copy sums activations over its devices twice a layer forwards, and twice backwards (Shoeybi et al. 2019,
    arXiv:1909.08053); copies sum the adapter's gradients once a step.
    """
    work, shape = planned.work, planned.work.shape
    width = {"float32": 4, "bfloat16": 2}[work.dtype] * shape.width
    rate = machine.flops * utilisation

    def sums(tokens: int) -> float:
        return 2 * shape.layers * ring(mesh.model, tokens * width, machine.link)

    scored, trained = _SCORED * _LENGTH, work.batch_size // mesh.data * _LENGTH
    forward = forward_flops(shape, scored, _LENGTH, _SCORED, _LABELS) / mesh.model / rate
    step = planned.flops / mesh.devices / rate
    gradients = ring(mesh.data, 4 * planned.trainable, machine.network or machine.link)
    return Speed(
        training=trained * mesh.data / (step + 2 * sums(trained) + gradients),
        scoring=scored * mesh.data / (forward + sums(scored)),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utilisation", type=float, default=0.4, help="of the data sheet's operations")
    args = parser.parse_args()
    lines = []
    for model in MODELS:
        for machine in MACHINES:
            planned, mesh = plan(model, machine)
            rows = planned.work.batch_size // mesh.data if planned.fits else 0
            need = f"{planned.peak / 1e9:.1f} of {planned.device.memory / 1e9:.1f}"
            line = [model, machine.name, str(mesh), planned.work.dtype, need, str(rows or "does not fit")]
            if not rows:
                lines.append([*line, "", "", "", ""])
                continue
            found = speed(planned, mesh, machine, args.utilisation)
            hours = found.device_hours(1e6, mesh.devices)
            billion, wall = 1000 * hours, 1000 * hours / mesh.devices
            rates = [f"{rate:,.0f}" for rate in (found.training, found.scoring)]
            lines.append([*line, *rates, f"{hours:.2f}", f"{billion:,.0f} ({wall:,.1f} h)"])
    header = ["model", "machine", "mesh", "dtype", "GB a device", "rows a copy"]
    header += [
        "tokens/s, training",
        "tokens/s, scoring",
        "device hours, a million reviews",
        "a billion (on the machine)",
    ]
    print(markdown(header, lines))
    print(f"\nRows of {_LENGTH} tokens, at most {_TRAINED} a copy in training and {_SCORED} in scoring;")
    print(f"LoRA rank 16 on all linear layers; {args.utilisation:.0%} of the data sheets' operations.")


if __name__ == "__main__":
    main()
