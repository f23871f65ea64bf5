"""An adapter that the user points at, a folder of its own or a run's, and the base that it belongs to."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from kerastune.adapter import CONFIG, base_of, read_peft
from kerastune.adapter_card import CARD, read_card
from kerastune.config import RunConfig
from kerastune.errors import AdapterError, OutputError
from kerastune.lora import Factors
from kerastune.models import ModelFiles, resolve_model
from kerastune.models.packaged import PACKAGED_BASE_ID, PACKAGED_NAME
from kerastune.run import ADAPTER, CONFIG_TOML, Run


@dataclass(frozen=True)
class AdapterSource:
    """An adapter, read, and its base's files, found.

    Args:
        folder: The adapter's folder.
        factors: Hugging Face's module path -> the module's update.
        files: The base.
        config: What the run was made with; the defaults where the adapter is of no run.
    """

    folder: Path
    factors: dict[str, Factors]
    files: ModelFiles
    config: RunConfig


def holds_adapter(source: str | Path) -> bool:
    """Whether what the user points at is the folder of a trained run or of an adapter, not a model."""
    folder = Path(source)
    if (folder / CONFIG).is_file():
        return True
    return (folder / CONFIG_TOML).is_file() and Run.load(folder).config.train.epochs > 0


def open_adapter(path: Path, model: str | None = None) -> AdapterSource:
    """Read an adapter and find its base; no model is loaded.

    Args:
        path: The folder of an adapter in PEFT's format, or of a run.
        model: The base; what the run or the adapter names when None.

    Raises:
        AdapterError: The adapter is damaged, names no base, or was trained on another one.
        ConfigError: The run's training has not ended.
        ModelError: The base is not found.
    """
    if not path.is_dir():
        raise AdapterError(f"{path}: there is no such folder; expected an adapter's or a run's")
    config, folder, named = RunConfig(), path, model
    if (path / CONFIG_TOML).is_file() and not (path / CONFIG).is_file():
        config, folder = Run.load(path).config, path / ADAPTER
        named = model or config.model.model
    factors = read_peft(folder)
    card = read_card(folder) if (folder / CARD).is_file() else None
    if named is None:
        named = base_of(folder)
        # The packaged model's base id is that of a gated repository; who trained on it has it at hand.
        if card is not None and (named, card.model) == (PACKAGED_BASE_ID, PACKAGED_NAME):
            named = PACKAGED_NAME
    files = resolve_model(named)
    if card is not None:
        other = dataclasses.replace(card, model=files.name, base_fingerprint=files.fingerprint)
        card.require_same(other, folder)
    return AdapterSource(folder, factors, files, config)


def require_new_folder(out: Path) -> None:
    """Refuse to write into a folder that holds something, which would be gone.

    Raises:
        OutputError: `out` is a file, or a folder that is not empty.
    """
    if out.is_dir() and any(out.iterdir()):
        raise OutputError(f"{out}: the folder is not empty; choose another --out, or delete it")
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: expected a folder's name, received a file; choose another --out")
