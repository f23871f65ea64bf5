"""Fine-tuning: rows and options in, a run's folder out."""

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kerastune.adapter import write_adapter
from kerastune.adapter_card import Link, write_card
from kerastune.atomic import clear_leftovers, write_text
from kerastune.checkpoint import has_checkpoint, require_checkpoint
from kerastune.config import LoraSpec, RunConfig, ScoreSpec
from kerastune.config_file import read_config, write_config
from kerastune.environment import peak_memory_gb
from kerastune.errors import ConfigError
from kerastune.few_shot import SHOTS
from kerastune.json_files import json_text
from kerastune.kinds import Rows, kind_of
from kerastune.locking import locked
from kerastune.memory import explained_loading_errors
from kerastune.preference.spec import PreferenceSpec
from kerastune.preference.task import PreferenceTask
from kerastune.run import ADAPTER, CONFIG_TOML, MANIFEST, Run
from kerastune.session import ModelSession, Prepared
from kerastune.stack import Stack
from kerastune.text_task import find_task
from kerastune.training import fit
from kerastune.training_plan import Plan, make_plan, plan_memory
from kerastune.training_state import CHECKPOINT, HISTORY

_LOCK = ".lock"

_log = logging.getLogger(__name__)


def train(
    dataset: Rows,
    *,
    out: str | Path,
    validation: Rows | None = None,
    config: RunConfig | None = None,
    resume: bool = False,
    show: bool = True,
    on_plan: Callable[[Plan], None] | None = None,
    **options: Any,
) -> Run:
    """Fine-tune a base model on rows and write a run's folder.

    Started again on the folder of a run that was killed, with the same rows and options, it goes on from
    the last checkpoint, to the same adapter.

    Args:
        dataset: Training rows, labelled ones or dialogues.
        out: The run's folder.
        validation: Rows to watch; the best epoch's adapter is kept.
        config: The options; the defaults when None.
        resume: Whether there must be a checkpoint to go on from.
        show: Whether to show progress.
        on_plan: Called with the plan before training begins.
        **options: Options by name that replace those of `config`, such as `rank=4`, `epochs=2`,
            `model="gemma3-270m"`, `backend="torch"`.

    Returns:
        The run, ready to score.

    Raises:
        ConfigError: An option is unknown, `out` holds something else than an unfinished run or another
            process trains into it, or there is nothing to resume.
        DataError: The labels are of one class only.
        ModelError: The model cannot be loaded or trained.
    """
    config = (config or RunConfig()).with_options({"task": dataset.task.name, **options})
    return train_in_session(
        kind_of(config.task).open(config),
        dataset,
        Path(out),
        validation=validation,
        resume=resume,
        show=show,
        on_plan=on_plan,
    )


def train_in_session(
    session: ModelSession[Any],
    dataset: Rows,
    folder: Path,
    *,
    validation: Rows | None = None,
    resume: bool = False,
    show: bool = True,
    on_plan: Callable[[Plan], None] | None = None,
) -> Run:
    """Train as `train` does, with a session that is already open."""
    taken = f"{folder}: another process is training into it; wait for its end, or choose another --out"
    if folder.is_dir():
        with locked(folder / _LOCK, taken):
            _clear(folder)
    _require_room(folder)
    _require_own_options(session.config)
    if resume:
        require_checkpoint(folder / CHECKPOINT)
    prepared = session.prepare(dataset, validation)
    with locked(folder / _LOCK, taken):
        return _train(session, prepared, folder, show, on_plan)


def _clear(folder: Path) -> None:
    """Delete what a process that was killed left half-written, or half deleted at its very end."""
    clear_leftovers(folder, ADAPTER, CONFIG_TOML, MANIFEST, SHOTS)
    clear_leftovers(folder / CHECKPOINT, "step_*")
    with suppress(OSError):  # is not there, or not empty
        (folder / CHECKPOINT).rmdir()


def _train(
    session: ModelSession[Any],
    prepared: Prepared,
    folder: Path,
    show: bool,
    on_plan: Callable[[Plan], None] | None,
) -> Run:
    config, memory = session.config, plan_memory(session, prepared)
    if memory is not None and not memory.fits:
        _log.warning(memory.warning)
    with explained_loading_errors(memory):
        stack = session.stack
    if config.train.epochs:
        stack.add_lora(config.lora, config.train.seed)
    else:
        stack.remove_adapter()
    resumed = has_checkpoint(folder / CHECKPOINT)
    if on_plan is not None:
        on_plan(make_plan(session, prepared, resumed, memory))
    if config.train.epochs:
        prepared = session.complete(prepared, show=show)
    if not resumed:  # else fit decides first whether the checkpoint is of these options
        write_config(config, folder / CONFIG_TOML)
    trained = None
    if config.train.epochs:
        trained = fit(
            stack,
            prepared.examples,
            config.train,
            objective=prepared.objective,
            pad_id=prepared.pad_id,
            folder=folder,
            validation=prepared.validation,
            identity=training_identity(stack, config.lora, session.beneath),
            plan=memory,
            show=show,
        )
    write_config(config, folder / CONFIG_TOML)
    session.write_files(folder)
    if trained is None:
        write_card(folder / ADAPTER, session.card)
    else:
        write_adapter(folder / ADAPTER, stack.get_adapter(), session.card)
    run = Run(folder, config, trained, session)
    manifest = {
        **run.provenance(),
        "train": {**prepared.source, **({"left_out": prepared.left} if prepared.left else {})},
        "stack": asdict(stack.info),
        "training": None if trained is None else asdict(trained),
        "peak_memory_gb": round(peak_memory_gb(), 2),
    }
    write_text(folder / MANIFEST, json_text(manifest))
    # Last: what was killed before this is started again, and finds everything done but these files.
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    return run


def unfinished_config(folder: Path) -> RunConfig:
    """The options of a run that was stopped, to resume it with.

    Raises:
        ConfigError: There is no run, or none with a checkpoint.
    """
    require_checkpoint(folder / CHECKPOINT)
    return read_config(folder / CONFIG_TOML)


def untrained_run(config: RunConfig, folder: Path | None = None) -> Path:
    """Write the folder of a run that trains nothing, for a base model that answers as it is.

    Args:
        config: The options; `epochs` is taken as 0 and `shots`, for which there are no rows, too.
        folder: The run's folder; None names it by the options, so that the same ones find it again.

    Returns:
        The folder.
    """
    config = config.with_options({"epochs": 0, "shots": 0})
    if folder is None:
        digest = hashlib.sha256(repr(replace(config, score=ScoreSpec())).encode()).hexdigest()
        folder = Path("runs") / f"untrained_{digest[:8]}"
        if (folder / ADAPTER).is_dir():
            return folder
    _require_room(folder)
    session = kind_of(config.task).open(config)
    write_config(config, folder / CONFIG_TOML)
    write_card(folder / ADAPTER, session.card)
    return folder


def training_identity(stack: Stack, lora: LoraSpec, beneath: Sequence[Link] = ()) -> str:
    """What else than rows and options a checkpoint must be of: base, stack, dtype, adapter, those beneath."""
    info, below = stack.info, [link.sha256 for link in beneath]
    return repr((stack.files.fingerprint, info.stack, info.backend, info.dtype, lora, below))


def _require_own_options(config: RunConfig) -> None:
    """Refuse options of a kind of task that this is none of: they would do nothing."""
    if config.preference != PreferenceSpec() and not isinstance(find_task(config.task), PreferenceTask):
        raise ConfigError(
            f"method, beta, label_smoothing and min_chosen_score are for task 'preference', received task "
            f"{config.task!r}; leave them out"
        )


def _require_room(folder: Path) -> None:
    """Refuse a folder whose files are not those of an unfinished run: a new run would write over them."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; choose a new folder with --out")
    unfinished = has_checkpoint(folder / CHECKPOINT)
    if (folder / ADAPTER).exists() and not unfinished:
        raise ConfigError(f"{folder}: holds a finished run; choose another folder with --out, or delete it")
    ours = {CONFIG_TOML, HISTORY, CHECKPOINT, SHOTS, *((ADAPTER, MANIFEST) if unfinished else ())}
    for found in sorted(folder.iterdir()) if folder.is_dir() else ():
        if found.name not in ours and not found.name.startswith("."):
            raise ConfigError(
                f"{folder}: holds {found.name}, which is of no run; choose a new folder with --out"
            )
