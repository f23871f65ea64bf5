"""The log-probabilities of pairs' answers under the frozen reference: computed once, and kept on disk."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastune.atomic import atomic_file
from kerastune.batch_shapes import bucket_lengths
from kerastune.batching import Batch, epoch_seed, training_steps
from kerastune.config import TrainSpec
from kerastune.errors import OutputError
from kerastune.preference.pairs import EncodedPair, make_pair_batch

_log = logging.getLogger(__name__)
_NAME = "log_probabilities"


def first_epoch(pairs: Sequence[EncodedPair], spec: TrainSpec, pad_id: int) -> list[Batch]:
    """The batches of the first epoch of a training.

    The reference is computed on these, so that at the first step policy and reference are the same numbers in
    any dtype: rounding depends on what shares a batch.
    """
    steps = training_steps(
        pairs,
        batch_size=spec.batch_size,
        accumulate=spec.accumulate,
        pad_id=pad_id,
        lengths=bucket_lengths([len(pair) for pair in pairs]),
        seed=epoch_seed(spec.seed, 0),
        lay_out=make_pair_batch,
    )
    return [batch for step in steps for batch in step if batch.example_ids]


@dataclass(frozen=True)
class ReferenceCache:
    """Reference log-probabilities on disk, each file named by the hash of all that decides them.

    Args:
        folder: The folder; a cache that cannot be written is done without.
        model: What says which model the reference is: the base's hash and those of the adapters that are
            part of the reference, and how it is computed where that shows in the numbers.
    """

    folder: Path
    model: tuple[Any, ...]

    def path(self, pairs: Sequence[EncodedPair]) -> Path:
        """Where these pairs' log-probabilities are."""
        digest = hashlib.sha256(repr((self.model, sorted(pairs, key=_name))).encode()).hexdigest()
        return self.folder / f"{digest}.safetensors"

    def read(self, pairs: Sequence[EncodedPair]) -> dict[str, tuple[float, float]] | None:
        """Read them; None where they are not there, or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.path(pairs)
        try:
            values: NDArray[np.float64] = load_file(path)[_NAME].reshape(len(pairs), 2)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            _log.warning("%s: cannot be read (%s); computed anew", path, error)
            return None
        names = sorted(map(_name, pairs))
        return {name: (float(one), float(other)) for name, (one, other) in zip(names, values, strict=True)}

    def write(self, pairs: Sequence[EncodedPair], found: Mapping[str, tuple[float, float]]) -> None:
        """Keep them."""
        from safetensors.numpy import save

        values = np.array([found[name] for name in sorted(map(_name, pairs))], np.float64)
        try:
            with atomic_file(self.path(pairs)) as temporary:
                temporary.write_bytes(save({_NAME: values}))
        except OutputError as error:
            _log.warning("%s", error)


def with_reference(
    pairs: Sequence[EncodedPair], found: Mapping[str, tuple[float, float]]
) -> tuple[EncodedPair, ...]:
    """Give pairs their reference log-probabilities."""
    return tuple(replace(pair, reference=found[pair.example_id]) for pair in pairs)


def _name(pair: EncodedPair) -> str:
    return pair.example_id
