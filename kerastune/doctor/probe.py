"""One stack looked at in a process of its own: does it import, compute and train?

Keras takes its backend when it is imported, and a library that dies or hangs must not take the doctor along.
"""

import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from kerastune.config import Backend, LoraSpec, ModelSpec, StackName, TrainSpec
from kerastune.errors import KerastuneError
from kerastune.precision import Hardware, decide_dtype

_FAMILIES = ("gemma3_text", "llama")
_SECONDS = 10.0
_MOST_STEPS = 20


def main(stack: StackName, backend: Backend, train: bool) -> dict[str, Any]:
    """Look at a stack.

    Args:
        stack: The stack.
        backend: What computes.
        train: Whether to take training steps, for ten seconds at most.

    Returns:
        What was found, in the types of JSON.
    """
    begun = time.perf_counter()
    hardware = _hardware(stack, backend)
    found: dict[str, Any] = {
        "imported_seconds": time.perf_counter() - begun,
        "kind": hardware.kind,
        "device": str(hardware),
        "memory": _memory(stack, backend, hardware),
        "computed": _compute(stack, backend),
        "dtypes": {family: decide_dtype("auto", hardware, family)[:2] for family in _FAMILIES},
    }
    return found | (_train(stack, backend) if train else {})


def _hardware(stack: StackName, backend: Backend) -> Hardware:
    if stack == "hf":
        from hf_bridge.loading import computing_device

        return computing_device()
    from kerastune.keras_stack.backend import device, import_keras
    from kerastune.models.cache import cache_root

    import_keras(backend, cache_root())
    return device(backend)


def _memory(stack: StackName, backend: Backend, hardware: Hardware) -> int | None:
    if hardware.kind == "cpu":
        return None
    if stack == "hf":
        from kerastune.precision import torch_memory

        return torch_memory()
    from kerastune.keras_stack.backend import accelerator_memory

    return accelerator_memory(backend)


def _compute(stack: StackName, backend: Backend) -> float:
    """Multiply two matrices where the model would be; what comes out is known: 64 x 0.5 x 2 = 64."""
    if stack == "hf":
        import torch

        place = "cuda" if torch.cuda.is_available() else "cpu"
        product = torch.full((64, 64), 0.5, device=place) @ torch.full((64, 64), 2.0, device=place)
        return float(product.mean())
    from keras import ops

    del backend
    return float(ops.mean(ops.matmul(ops.full((64, 64), 0.5), ops.full((64, 64), 2.0))))


def _train(stack: StackName, backend: Backend) -> dict[str, Any]:
    """Take steps on one batch of a small random model; the loss must fall."""
    from kerastune.batching import make_batch
    from kerastune.doctor.small_model import VOCABULARY, write_small_model
    from kerastune.encoding import Encoded
    from kerastune.stack import load_stack

    ids = [tuple(2 + (row * 7 + place) % (VOCABULARY - 2) for place in range(9)) for row in range(8)]
    rows = [Encoded(f"r{row}", prompt, (5, 1)) for row, prompt in enumerate(ids)]
    batch = make_batch(rows, rows=8, length=16, pad_id=0, answers=2)
    with tempfile.TemporaryDirectory(prefix="kerastune_doctor_") as folder:
        files = write_small_model(Path(folder))
        model = load_stack(ModelSpec(stack=stack, backend=backend), files)
        model.add_lora(LoraSpec(rank=4), seed=0)
        model.start_training(TrainSpec())
        begun = time.perf_counter()
        losses: list[float] = []
        while len(losses) < 2 or (len(losses) < _MOST_STEPS and time.perf_counter() - begun < _SECONDS):
            losses.append(model.train_step([batch], 0.01))
        seconds = time.perf_counter() - begun
    return {
        "steps": len(losses),
        "step_seconds": seconds,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "learns": all(map(math.isfinite, losses)) and losses[-1] < losses[0],
    }


if __name__ == "__main__":
    try:
        answer = main(cast(StackName, sys.argv[1]), cast(Backend, sys.argv[2]), sys.argv[3] == "train")
    except KerastuneError as error:
        answer = {"error": str(error)}
    except Exception as error:  # whatever a library dies of is what the doctor is to say
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
