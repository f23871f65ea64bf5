"""A model's name -> its files on disk."""

import re
from difflib import get_close_matches
from pathlib import Path

from kerastune.errors import ModelError
from kerastune.models.cache import build_once, cache_root, sha256_of
from kerastune.models.files import ModelFiles
from kerastune.models.folder import check_folder
from kerastune.models.gguf_convert import CONVERSION, convert_gguf
from kerastune.models.hub import hub_folder
from kerastune.models.kaggle import kaggle_folder, preset_handles
from kerastune.models.packaged import PACKAGED_BASE_ID, PACKAGED_NAME, packaged_folder

_FORMS = (
    f"{PACKAGED_NAME} (packaged), a folder, a .gguf file, owner/name or hf://owner/name on the Hugging Face "
    "hub, a KerasHub preset such as gemma_2b_en, or kaggle://owner/model/framework/variation"
)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolve_model(name: str, *, cache_dir: Path | None = None) -> ModelFiles:
    """Find a model by name, and fetch or convert it when it is not on disk yet.

    Args:
        name: `"gemma3-270m"`, a folder, a `.gguf` file, `owner/name`, `hf://owner/name`, a KerasHub
            preset's name, or `kaggle://owner/model/framework/variation`.
        cache_dir: Where converted models are kept; `$KERASTUNE_CACHE` or the user's cache when None.

    Returns:
        The model's files, checked to be whole.

    Raises:
        ModelError: There is no such model, it cannot be fetched, or its files are damaged.
        MissingExtraError: A package that this kind of name needs is not installed.
    """
    cache_dir = cache_root() if cache_dir is None else cache_dir.absolute()
    base_id, folder = _locate(name, cache_dir)
    return ModelFiles(
        name=name, base_id=base_id, path=folder, layout=check_folder(folder), cache_dir=cache_dir
    )


def _locate(name: str, cache_dir: Path) -> tuple[str, Path]:
    """The base's id and its folder."""
    if name == PACKAGED_NAME:
        return PACKAGED_BASE_ID, packaged_folder(cache_dir)
    if name.startswith("hf://"):
        repo_id = name.removeprefix("hf://")
        return repo_id, hub_folder(repo_id)
    if name.startswith("kaggle://"):
        return name, kaggle_folder(name.removeprefix("kaggle://"))
    path = Path(name).expanduser().absolute()
    if path.suffix.lower() == ".gguf":
        folder = _converted(path, cache_dir)
        return str(folder), folder
    if path.is_dir():
        return str(path), path
    if path.is_file():
        raise ModelError(f"{path}: is a file; expected {_FORMS}")
    if _HUB_ID.fullmatch(name) and name[0] != ".":
        return name, hub_folder(name)
    if "/" in name or "\\" in name or name[:1] in ("~", "."):
        raise ModelError(f"{path}: there is no such folder; expected {_FORMS}")
    return _preset(name)


def _converted(source: Path, cache_dir: Path) -> Path:
    if not source.is_file():
        raise ModelError(f"{source}: there is no such file; expected a .gguf file")
    folder = cache_dir / "models" / f"{source.stem}-{sha256_of(source, cache_dir)[:12]}-{CONVERSION}"
    return build_once(folder, lambda temporary: convert_gguf(source, temporary))


def _preset(name: str) -> tuple[str, Path]:
    presets = preset_handles()
    if name not in presets:
        near = get_close_matches(name, [PACKAGED_NAME, *presets], n=3)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ModelError(f"unknown model {name!r}{hint}; expected {_FORMS}")
    handle = presets[name]
    if handle.startswith("hf://"):
        return handle.removeprefix("hf://"), hub_folder(handle.removeprefix("hf://"))
    return handle, kaggle_folder(handle.removeprefix("kaggle://"))
