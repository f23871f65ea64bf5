"""A plan: what a LoRA training needs of memory and arithmetic, and whether a device has it."""

from dataclasses import dataclass, replace

from kerastune.config import LoraSpec, Quantize
from kerastune.devices import Device
from kerastune.mesh import Mesh
from kerastune.planning.cost import head_rows, step_flops
from kerastune.planning.memory import (
    DTYPE_BYTES,
    activation_bytes,
    logits_bytes,
    state_bytes,
    weight_bytes,
)
from kerastune.planning.runtimes import runtime_of
from kerastune.planning.shapes import Shape

_MOST_ROWS = 2**16


@dataclass(frozen=True, kw_only=True)
class Work:
    """A training whose needs are estimated.

    Args:
        shape: The base.
        lora: The adapter.
        stack: `"keras"` or `"hf"`.
        backend: What computes.
        dtype: What the base is held and computed in, `"float32"`, `"bfloat16"` or `"float16"`.
        batch_size: Rows of a forward pass.
        length: Tokens of a row.
        accumulate: Forward passes of an optimizer step.
        answers: Positions of a row at which the head is computed.
        choices: Rows of the head there: the labels' alone, or 0 for the whole vocabulary's.
        quantization: How the base's linear layers are held, if not in `dtype`.
        stored_dtype: Of the weights on disk.
        mesh: How the devices are arranged, each of which has its part of the weights and of the rows.
    """

    shape: Shape
    lora: LoraSpec
    stack: str
    backend: str
    dtype: str
    batch_size: int
    length: int
    accumulate: int = 1
    answers: int = 1
    choices: int = 0
    quantization: Quantize | None = None
    stored_dtype: str = "bfloat16"
    mesh: Mesh = Mesh()  # noqa: RUF009


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a training needs of each device, and what that has.

    Simulated devices of a CPU share its memory: there the bytes are of all of them.

    Args:
        work: The training.
        device: Where it runs, or each of the devices of its mesh.
        parameters: Of the base.
        trainable: Of the adapter.
        flops: Operations of an optimizer step, on all devices together.
        weights: Bytes of the base.
        state: Bytes of what is trained: weights, gradients, two moments.
        activations: Bytes of activations.
        logits: Bytes of logits.
        runtime: Bytes of the framework, its compiled programs and its copies.
        loading: Bytes while the weights are read, when nothing is trained yet.
        measured: Whether the runtime's bytes were measured for this stack on this kind of device.
        largest_batch: The most rows that fit; 0 where not even one does.
    """

    work: Work
    device: Device
    parameters: int
    trainable: int
    flops: int
    weights: int
    state: int
    activations: int
    logits: int
    runtime: int
    loading: int
    measured: bool
    largest_batch: int

    @property
    def training(self) -> int:
        """Bytes while training."""
        return self.weights + self.state + self.activations + self.logits + self.runtime

    @property
    def peak(self) -> int:
        """The most bytes at any time: training, or reading the weights."""
        return max(self.training, self.loading)

    @property
    def fits(self) -> bool:
        """Whether the device has as much."""
        return self.peak <= self.device.memory

    @property
    def warning(self) -> str:
        """One line for where it does not fit: what to lower."""
        work, device = self.work, self.device
        needed = (
            f"{work.batch_size} rows of {work.length} tokens need about {self.peak / 1e9:.1f} GB, and "
            f"{device.name} has {device.memory / 1e9:.1f} GB"
        )
        if not self.largest_batch:
            return f"{needed}: not one row fits; choose a smaller model, or --dtype bfloat16"
        raised = work.accumulate * -(-work.batch_size // self.largest_batch)
        return (
            f"{needed}: the largest batch that fits is --batch-size {self.largest_batch} "
            f"(with --accumulate {raised} the steps stay as large)"
        )


def estimate(work: Work, device: Device) -> Estimate:
    """Estimate a training's needs.

    Args:
        work: The training.
        device: Where it runs.

    Example:
        >>> from kerastune.devices import get_device
        >>> from kerastune.planning.known import known_shape
        >>> shape, lora = known_shape("google/gemma-2b"), LoraSpec(rank=4, targets=("query", "value"))
        >>> work = Work(shape=shape, lora=lora, stack="hf", backend="torch", dtype="float16", batch_size=1,
        ...             length=512)
        >>> plan = estimate(work, get_device("t4"))
        >>> plan.trainable, plan.fits
        (460800, True)
    """
    found = _estimate(work, device)
    low, high = 0, _MOST_ROWS
    while low < high:
        rows = (low + high + 1) // 2
        if _estimate(replace(work, batch_size=rows), device).fits:
            low = rows
        else:
            high = rows - 1
    return replace(found, largest_batch=low)


def _estimate(work: Work, device: Device) -> Estimate:
    shape, runtime = work.shape, runtime_of(work.stack, work.backend, device.kind)
    trainable = shape.trainable(work.lora, work.stack)
    sharing = work.mesh.devices if device.kind == "cpu" else 1
    weights = sharing * weight_bytes(shape, work.dtype, work.quantization, work.mesh.model)
    own = -(-work.batch_size // work.mesh.data)  # rows of zero weight fill up where they do not divide
    batch_size, head = own * work.mesh.data, head_rows(shape, work.choices)
    activations = sharing * activation_bytes(
        shape, work.lora, own, work.length, work.dtype, whole_attention=runtime.whole_attention
    )
    tokens, positions = batch_size * work.length, batch_size * work.answers
    # A base that is not quantised is read tensor by tensor, or torch computes with the file's own pages.
    read = runtime.read * shape.parameters * DTYPE_BYTES[work.stored_dtype] if work.quantization else 0.0
    heads_read = runtime.heads_read * shape.head * DTYPE_BYTES[work.dtype]
    return Estimate(
        work=work,
        device=device,
        parameters=shape.parameters,
        trainable=trainable,
        flops=work.accumulate * step_flops(shape, trainable, tokens, work.length, positions, head),
        weights=weights,
        state=sharing * state_bytes(trainable, work.accumulate),
        activations=int(runtime.activations * activations),
        logits=sharing * logits_bytes(own * work.answers, head, runtime.logits),
        runtime=runtime.imported + runtime.compiled,
        loading=int(runtime.imported + weights + read + heads_read),
        measured=runtime.measured and work.mesh.devices == 1,
        largest_batch=0,
    )
