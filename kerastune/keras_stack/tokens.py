"""KerasHub's own tokenizer, for the proof that ours gives the same ids."""

from collections.abc import Sequence

from kerastune.config import Backend
from kerastune.errors import ModelError, one_line
from kerastune.extras import require
from kerastune.keras_stack.backend import import_keras, quiet_standard_error
from kerastune.models import ModelFiles
from kerastune.models.cache import cache_root


class OwnTokenizer:
    """The tokenizer that KerasHub makes of a model's files.

    Args:
        files: The model.
        backend: Keras' backend.

    Raises:
        ModelError: KerasHub cannot make one.
    """

    def __init__(self, files: ModelFiles, backend: Backend) -> None:
        import_keras(backend, cache_root())
        keras_hub = require("keras_hub", "keras")
        try:
            with quiet_standard_error():  # SentencePiece reports that there is nothing to report
                self._tokenizer = keras_hub.models.Tokenizer.from_preset(str(files.path))
        except Exception as error:  # KerasHub's errors have no base in common
            raise ModelError(f"{files.name}: KerasHub has no tokenizer for it: {one_line(error)}") from error

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts, without BOS or EOS."""
        # One by one: a batch comes back as a list, or as TensorFlow's ragged tensor.
        return [[int(token) for token in self._tokenizer.tokenize(text)] for text in texts]
