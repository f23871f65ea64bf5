"""KerasHub's text layers, which need TensorFlow: two seconds and half a gigabyte of every process.

KerasHub imports TensorFlow where it is installed, and does without where it is not. The tokenizer of both
stacks is kerastune's own, so that only a merged preset and the proof of equal ids make use of KerasHub's.
"""

import sys

from kerastune.config import Backend

_NEEDED = ("tensorflow", "tensorflow_text")
_spared: set[str] = set()


def spare_text_layers() -> None:
    """Let KerasHub do without TensorFlow, in a process that runs nothing but a command of kerastune."""
    _spared.update(_NEEDED)


def want_text_layers() -> None:
    """Let KerasHub have TensorFlow all the same: for a command that makes use of its text layers."""
    _spared.clear()


def hide_what_is_spared(backend: Backend) -> None:
    """Make TensorFlow look as if it were not installed, before KerasHub is imported.

    Args:
        backend: Keras' backend; TensorFlow itself hides nothing.
    """
    if backend != "tensorflow":
        for name in _spared:
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # import refuses a name that is None
