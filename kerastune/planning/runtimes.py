"""What a framework itself takes: the numbers of a plan that no formula gives.

On a CPU they are of the resident memory of a whole process, measured with Gemma 3 270M and SmolLM2-135M on
two cores of an AMD EPYC by `benchmarks/memory.py`, which prints what each part is now. On an accelerator
nothing was measured: there the process' own memory is the host's, and what is left is the driver's context
and the allocator's waste, a guess on the safe side.
"""

from dataclasses import dataclass, replace

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A framework's own memory where it trains.

    Args:
        imported: Bytes before any weight is there: libraries, tokenizer, data. On JAX those of a command; in
            Python, KerasHub's text layers are some 650 MB more (`kerastune.text_layers`).
        read: How many times the weights on disk are held beside the loaded ones while a base is read to be
            quantised.
        heads_read: How many more copies of the head's matrix are held while they are read.
        compiled: Bytes that compiled programs and scratch buffers add in the first steps.
        activations: What is really held of the activations, over what is counted as saved.
        logits: How many float32 arrays of the logits' size there are at once.
        whole_attention: Whether attention's weights are held as a whole.
        measured: Whether any of this was.
    """

    imported: int
    read: float
    heads_read: float
    compiled: int
    activations: float
    logits: float
    whole_attention: bool
    measured: bool = True


_JAX = Runtime(
    imported=600 * MIB, read=1.0, heads_read=1.0, compiled=600 * MIB, activations=1.45, logits=2.75,
    whole_attention=True,
)  # fmt: skip
_TORCH = Runtime(
    imported=650 * MIB, read=1.0, heads_read=0.0, compiled=250 * MIB, activations=0.9, logits=2.5,
    whole_attention=False,
)  # fmt: skip
_ACCELERATOR = Runtime(
    imported=700 * MIB, read=0.0, heads_read=0.0, compiled=300 * MIB, activations=1.2, logits=4.0,
    whole_attention=False, measured=False,
)  # fmt: skip


def runtime_of(stack: str, backend: str, kind: str) -> Runtime:
    """The numbers of a stack.

    Args:
        stack: `"keras"` or `"hf"`.
        backend: What computes.
        kind: The device's: `"cpu"`, `"gpu"` or `"tpu"`.

    Returns:
        Those of Keras on JAX for its other backends too, which were not measured.
    """
    if kind != "cpu":
        return _ACCELERATOR
    return _TORCH if stack == "hf" else replace(_JAX, measured=backend == "jax")
