"""Stacks side by side: the same configuration trained and scored on each, in a process of its own."""

import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kerastune.atomic import write_text
from kerastune.config import Backend, RunConfig, StackName
from kerastune.dataset import read_dataset
from kerastune.environment import peak_memory_gb
from kerastune.errors import ConfigError, KerastuneError
from kerastune.evaluation import measure
from kerastune.fine_tuning import train
from kerastune.json_files import json_text
from kerastune.text_layers import spare_text_layers

_RESULT = "compared.json"


@dataclass(frozen=True)
class Contender:
    """A stack and what computes for it."""

    stack: StackName
    backend: Backend

    def __str__(self) -> str:
        """Such as `keras/jax`."""
        return f"{self.stack}/{self.backend}"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a stack came to.

    Args:
        name: The stack and its backend.
        dtype: The base's dtype.
        rows: Test rows.
        accuracy: On the test rows.
        interval: The accuracy's 95 % interval.
        log_loss: On the test rows.
        predicted: The predicted labels' indices.
        seconds: From the first import to the last score.
        examples_per_second: In training, compilation included.
        peak_memory_gb: Of the whole process.
        trainable: Trainable parameters.
    """

    name: str
    dtype: str
    rows: int
    accuracy: float
    interval: tuple[float, float]
    log_loss: float | None
    predicted: tuple[int, ...]
    seconds: float
    examples_per_second: float
    peak_memory_gb: float
    trainable: int

    def agreement(self, other: "Compared") -> float:
        """Share of the rows on which both predict the same label."""
        return float(np.mean(np.equal(self.predicted, other.predicted)))


def contenders(stacks: Sequence[str], backends: Sequence[str]) -> tuple[Contender, ...]:
    """Pair stacks with backends: Keras runs on each, Hugging Face on torch alone.

    Raises:
        ConfigError: A name is unknown, or there is nothing to run.

    Example:
        >>> [str(one) for one in contenders(["keras", "hf"], ["jax", "torch"])]
        ['keras/jax', 'keras/torch', 'hf/torch']
    """
    found: list[Contender] = []
    for name in stacks:
        if name == "keras":
            found += [_contender("keras", backend) for backend in backends]
        elif name == "hf":
            found.append(Contender("hf", "torch"))
        else:
            raise ConfigError(f"stacks: expected 'keras' or 'hf', received {name!r}")
    if not found:
        raise ConfigError("stacks: expected 'keras', 'hf' or both, received none")
    return tuple(dict.fromkeys(found))


def compare(
    config: RunConfig,
    names: Sequence[Contender],
    train_file: Path,
    test_file: Path,
    folder: Path,
    *,
    on_start: Callable[[Contender], None] = lambda _: None,
) -> tuple[Compared, ...]:
    """Train and score the same configuration on each stack, one after the other.

    Args:
        config: The options; their stack and backend are the contenders'.
        names: Who runs.
        train_file: Labelled rows to train on.
        test_file: Labelled rows to score.
        folder: Where each run's folder goes.
        on_start: Called with each contender before it runs.

    Raises:
        KerastuneError: A contender could not run; what the others did stays in the folder.
    """
    # A process for each: Keras keeps its first backend, and memory is measured by the process.
    spawn = multiprocessing.get_context("spawn")
    results = []
    for name in names:
        on_start(name)
        out = folder / str(name).replace("/", "-")
        options = config.with_options({"stack": name.stack, "backend": name.backend})
        process = spawn.Process(target=_run_one, args=(options, str(name), train_file, test_file, out))
        process.start()
        process.join()
        if process.exitcode:
            raise KerastuneError(f"{name}: ended with status {process.exitcode}; what it said is above")
        table = json.loads((out / _RESULT).read_text(encoding="utf-8"))
        table |= {key: tuple(table[key]) for key in ("interval", "predicted")}
        results.append(Compared(**table))
    return tuple(results)


def _contender(stack: StackName, backend: str) -> Contender:
    for known in ("jax", "tensorflow", "torch"):
        if backend == known:
            return Contender(stack, known)
    raise ConfigError(f"backends: expected 'jax', 'tensorflow' or 'torch', received {backend!r}")


def _run_one(config: RunConfig, name: str, train_file: Path, test_file: Path, out: Path) -> None:
    begun = time.perf_counter()
    spare_text_layers()
    try:
        run = train(read_dataset(train_file, config.task), out=out, config=config)
        test = read_dataset(test_file, config.task)
        scores = run.score(test)
    except KerastuneError as error:
        raise SystemExit(f"kerastune: {error}") from error
    metrics, info = measure(scores, test), run.session.stack.info
    assert run.trained is not None
    compared = Compared(
        name=name,
        dtype=info.dtype,
        rows=metrics.rows,
        accuracy=metrics.accuracy,
        interval=metrics.interval,
        log_loss=metrics.log_loss,
        predicted=tuple(scores.predicted.tolist()),
        seconds=time.perf_counter() - begun,
        examples_per_second=run.trained.examples_per_second,
        peak_memory_gb=peak_memory_gb(),
        trainable=info.trainable,
    )
    write_text(out / _RESULT, json_text(asdict(compared)))
