"""transformers' own tokenizer, for the proof that ours gives the same ids."""

from collections.abc import Sequence

from kerastune.errors import ModelError, one_line
from kerastune.extras import require
from kerastune.models import ModelFiles


class OwnTokenizer:
    """The tokenizer that transformers makes of a model's files.

    Args:
        files: The model.

    Raises:
        ModelError: transformers cannot make one.
    """

    def __init__(self, files: ModelFiles) -> None:
        transformers = require("transformers", "hf")
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(files.path, local_files_only=True)
        except Exception as error:  # transformers' errors have no base in common
            raise ModelError(
                f"{files.name}: transformers has no tokenizer for it: {one_line(error)}"
            ) from error

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts, without BOS or EOS."""
        return [list(ids) for ids in self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
