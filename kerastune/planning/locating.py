"""A model's name -> its shape: from the table, a folder, a GGUF file, or the hub's config.json alone."""

from pathlib import Path

from kerastune.errors import ModelError
from kerastune.models.files import read_json
from kerastune.models.gguf_config import gguf_config
from kerastune.models.gguf_reader import read_gguf
from kerastune.models.hub import hub_config
from kerastune.planning.known import known_shape
from kerastune.planning.shapes import Shape

_HALF = ("bfloat16", "float16")


def find_shape(name: str) -> tuple[Shape, str]:
    """Find a model's shape; no weights are read.

    Args:
        name: A folder, a `.gguf` file, `gemma3-270m` or another public model's name, or `owner/name` on the
            hub, of which config.json alone is fetched where the model is not in the table.

    Returns:
        The shape, and the dtype of the weights as they are read.

    Raises:
        ModelError: The name is not known, or the family is not.
        MissingExtraError: A package that this kind of name needs is not installed.
    """
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(f"{path}: there is no such file; expected a .gguf file")
        return Shape.of_config(gguf_config(read_gguf(path)), name), "float32"  # it is converted once
    if path.is_dir():
        config = read_json(path / "config.json")
        return Shape.of_config(config, name), _stored(config)
    known = known_shape(name)
    if known is not None:
        return known, "float32" if name == "gemma3-270m" else "bfloat16"
    if name.count("/") == 1 and name[0] not in "./~":
        config = hub_config(name)
        return Shape.of_config(config, name), _stored(config)
    raise ModelError(
        f"unknown model {name!r}; expected a folder, a .gguf file, owner/name on the Hugging Face hub, or a "
        "public model such as gemma-2b, gemma-3-4b, llama-3-8b, qwen3-8b or mistral-7b"
    )


def _stored(config: dict[str, object]) -> str:
    return next(
        (name for name in _HALF if name in str(config.get("dtype") or config.get("torch_dtype"))), "float32"
    )
