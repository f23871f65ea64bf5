"""Runs on top of runs: an adapter that was trained with earlier ones beneath it, and what those must be."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kerastune.adapter_card import ADAPTER, CARD, Link, read_card
from kerastune.config import ModelSpec, RunConfig
from kerastune.config_file import read_config
from kerastune.errors import AdapterError, ConfigError
from kerastune.lora import Factors, summed

CONFIG_TOML = "config.toml"


def continued(config: RunConfig) -> RunConfig:
    """Take what a configuration leaves unsaid from the run that it goes on from: the base and the template.

    Raises:
        ConfigError: That is no run, or its training has not ended.
    """
    if config.from_run is None:
        return config
    folder = Path(config.from_run).resolve()
    if not (folder / CONFIG_TOML).is_file() or not (folder / ADAPTER).is_dir():
        raise ConfigError(
            f"--from {folder}: expected the folder of a finished run; give another, or train it"
        )
    before = read_config(folder / CONFIG_TOML)
    model, named = config.model, config.model.model != ModelSpec().model
    return replace(
        config,
        from_run=str(folder),
        model=model if named else replace(model, model=before.model.model),
        template=before.template if config.template is None else config.template,
    )


def chain_beneath(config: RunConfig) -> tuple[Link, ...]:
    """The runs whose adapters a configuration's own goes on top of, in the order of their training.

    Raises:
        AdapterError: One of them is missing, or has changed since the next was trained.
    """
    if config.from_run is None:
        return ()
    from kerastune.adapter import adapter_hash

    folder = Path(config.from_run)
    beneath = chain_of(folder / ADAPTER)
    return (*beneath, Link(run=str(folder), sha256=adapter_hash(folder / ADAPTER)))


def chain_of(adapter: Path) -> tuple[Link, ...]:
    """The runs that a finished adapter was trained on top of, in the order of their training.

    Args:
        adapter: The adapter's folder; one without a card was trained on a base.

    Raises:
        AdapterError: One of them is missing, or has changed since the next was trained.
    """
    if not (adapter / CARD).is_file():
        return ()
    beneath = read_card(adapter).beneath
    for link in beneath:
        _require_unchanged(link, _run_of(adapter))
    return beneath


def read_chain(chain: Sequence[Link]) -> dict[str, Factors]:
    """The sum of a chain's adapters, as one.

    Raises:
        AdapterError: One is damaged, or has DoRA's magnitudes.
    """
    from kerastune.adapter import read_peft

    return summed([read_peft(Path(link.run) / ADAPTER) for link in chain])


def require_same_base(chain: Sequence[Link], model: str, fingerprint: str) -> None:
    """Refuse a chain that was trained on another base.

    Args:
        chain: The chain.
        model: The base's name, for the message.
        fingerprint: Hash of its weights.

    Raises:
        AdapterError: It was.
    """
    for link in chain:
        card = read_card(Path(link.run) / ADAPTER)
        if card.base_fingerprint != fingerprint:
            raise AdapterError(
                f"{link.run}: was trained on {card.model} ({card.base_fingerprint[:12]}), received {model} "
                f"({fingerprint[:12]}); go on from it with --model {card.model}"
            )


def _require_unchanged(link: Link, above: Path) -> None:
    from kerastune.adapter import adapter_hash

    adapter = Path(link.run) / ADAPTER
    if not adapter.is_dir():
        raise AdapterError(
            f"{above}: was trained on top of {link.run}, which is not there; put it back, or merge anew"
        )
    if adapter_hash(adapter) != link.sha256:
        raise AdapterError(
            f"{above}: was trained on top of {link.run}, whose adapter has changed since; put the one back "
            f"whose hash begins {link.sha256[:12]}, or train anew"
        )


def require_chain(folders: Sequence[Path]) -> None:
    """Refuse adapters that were not trained one on top of the other, in this order.

    Args:
        folders: The adapters' folders, the lowest first.

    Raises:
        AdapterError: One was trained on top of others than those before it, or has no card that says.
    """
    from kerastune.adapter import adapter_hash

    below: list[str] = []
    for folder in folders:
        beneath = read_card(folder).beneath
        if below != [link.sha256 for link in beneath]:
            runs = [link.run for link in beneath]
            trained = f"on top of {', '.join(runs)}" if runs else "on the base"
            named = str(_run_of(folder))
            raise AdapterError(
                f"{named}: was trained {trained}, and not on top of what is named before it; name the "
                f"adapters in the order of their training: {' '.join([*runs, named])}"
            )
        below.append(adapter_hash(folder))


def _run_of(adapter: Path) -> Path:
    """What the user calls an adapter: the folder of its run, where it is in one."""
    inside = adapter.name == ADAPTER and (adapter.parent / CONFIG_TOML).is_file()
    return adapter.parent if inside else adapter
