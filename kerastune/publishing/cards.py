"""A run's cards: its files say what it is, and Jinja templates put that into the hub's form."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jinja2
import regex

from kerastune.adapter import WEIGHTS
from kerastune.adapter_card import read_card
from kerastune.atomic import write_text
from kerastune.dataset.splits import read_labels
from kerastune.errors import AdapterError, DataError, OutputError
from kerastune.evaluated_scores import METRICS
from kerastune.json_files import read_object
from kerastune.run import ADAPTER, MANIFEST, Run
from kerastune.task import TASKS
from kerastune.training_rows import training_rows

#: The model card's name in the adapter's folder: the hub shows the file of this name.
MODEL_CARD = "README.md"
#: The dataset card's name in the run's folder.
DATASET_CARD = "dataset_card.md"

_PAGES = Path(__file__).parent / "pages"
_HUB_ID = regex.compile(r"[\w-][\w.-]*/[\w.-]+")
# The hub's name for a base's licence, where the base's own name gives it away.
_LICENSES = {"gemma": "gemma"}


def write_cards(
    folder: str | Path, *, license: str | None = None, language: str = "ko", overwrite: bool = False
) -> tuple[Path, Path]:
    """Write a model card beside the adapter, and a dataset card to complete, from the run's own files.

    Args:
        folder: The run's folder.
        license: The adapter's licence by the hub's name for it, such as `"apache-2.0"`; that of a Gemma
            base when None, and else none.
        language: The texts' language as a code, such as `"ko"`.
        overwrite: Whether cards that are there and say something else are replaced.

    Returns:
        `RUN/adapter/README.md` and `RUN/dataset_card.md`.

    Raises:
        ConfigError: The folder is no run, or its training has not ended.
        AdapterError: The run trained nothing, or its card is damaged.
        OutputError: A card that says something else is there, or a file cannot be written.
    """
    run = Run.load(folder)
    pages = {
        run.folder / ADAPTER / MODEL_CARD: model_card(run, license=license, language=language),
        run.folder / DATASET_CARD: dataset_card(run, language=language),
    }
    if not overwrite:
        for path, page in pages.items():
            _refuse_another(path, page)
    for path, page in pages.items():
        write_text(path, page)
    model, dataset = pages
    return model, dataset


def require_adapter(run: Run) -> Path:
    """The folder of a run's adapter.

    Raises:
        AdapterError: The run trained nothing, so that there is no adapter to describe or to publish.
    """
    folder = run.folder / ADAPTER
    if not (folder / WEIGHTS).is_file():
        raise AdapterError(
            f"{folder}: has no {WEIGHTS}: the run trained nothing, so there is nothing to publish; name a "
            "run that was trained"
        )
    return folder


def model_card(run: Run, *, license: str | None = None, language: str = "ko") -> str:
    """Fill the model card: Markdown behind the hub's metadata.

    Args:
        run: The run.
        license: See `write_cards`.
        language: See `write_cards`.

    Raises:
        AdapterError: The run trained nothing, or its card is damaged.
    """
    adapter = require_adapter(run)
    card, manifest = read_card(adapter), _manifest(run)
    base = card.base_id if _is_hub_id(card.base_id) else None
    return _render(
        "model_card.md.jinja",
        name=run.folder.resolve().name,
        base=base,
        base_name=base or Path(card.model).name,
        card=card,
        license=license or _license_of(card.base_id),
        language=language,
        train=manifest.get("train") or {},
        stack=manifest.get("stack") or {},
        training=manifest.get("training") or {},
        options=_options(run),
        measured=_measured(run),
        calibration=run.calibration,
        provenance=run.provenance(),
    )


def dataset_card(run: Run, *, language: str = "ko") -> str:
    """Fill the card of the table that a run was trained on; what only its owner knows is left to complete.

    Args:
        run: The run.
        language: See `write_cards`.
    """
    recorded, counts = _manifest(run).get("train") or {}, {}
    # A task whose answers are texts has no labels to count.
    rows, notes = training_rows(run) if run.config.task in TASKS else (None, [])
    if rows is not None:
        labels = read_labels(rows).tolist()
        counts = {label: labels.count(index) for index, label in enumerate(rows.task.labels)}
    return _render(
        "dataset_card.md.jinja",
        name=Path(str(recorded.get("source") or run.config.train_file or "table")).stem,
        run=run.folder.resolve().name,
        language=language,
        task=run.config.task,
        rows=recorded.get("rows") if rows is None else len(rows),
        sha256=recorded.get("sha256"),
        columns=[] if rows is None else list(rows.frame.columns),
        labelled=run.config.task in TASKS,
        counts=counts,
        notes=notes,
    )


def _render(page: str, **context: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGES),
        autoescape=False,  # Markdown and YAML, which have their own filters below
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"yaml": _yaml, "fenced": _fenced, "cell": _cell, "file_name": _file_name}
    return environment.get_template(page).render(context)


def _yaml(value: object) -> str:
    """A scalar or a list as JSON, which YAML 1.2 contains."""
    return json.dumps(value, ensure_ascii=False)


def _fenced(text: str) -> str:
    """A block of code whose fence does not occur in the text."""
    longest = max(map(len, regex.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _cell(value: object) -> str:
    """A table's cell: on one line, and with no bar that would end it."""
    said = ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return " ".join(said.replace("|", "\\|").split())


def _file_name(path: object) -> str:
    """A file's name alone: the folders of the machine that trained are nobody's business."""
    return Path(str(path)).name


def _is_hub_id(base_id: str) -> bool:
    return _HUB_ID.fullmatch(base_id) is not None


def _license_of(base_id: str) -> str | None:
    name = base_id.rstrip("/").rsplit("/", 1)[-1].lower()
    return next((license for family, license in _LICENSES.items() if family in name), None)


def _manifest(run: Run) -> dict[str, Any]:
    path = run.folder / MANIFEST
    return read_object(path, DataError, "make the run anew, or delete it") if path.is_file() else {}


def _options(run: Run) -> dict[str, Any]:
    """What the run was asked to do with the base, by name; what was left to the defaults says so."""
    config = run.config
    options = {**dataclasses.asdict(config.lora), **dataclasses.asdict(config.train)}
    return {name: value for name, value in options.items() if value is not None}


def _measured(run: Run) -> dict[str, Any]:
    """The tables that this very adapter was measured on, out of `metrics.json`."""
    path, adapter = run.folder / METRICS, run.provenance()["adapter_sha256"]
    if run.config.task not in TASKS or not path.is_file():
        return {}
    entries = read_object(path, DataError, "run kerastune evaluate again")
    try:
        return {
            name: entry
            for name, entry in entries.items()
            if entry["table"]["scored_by"]["adapter"] == adapter and "accuracy" in entry["model"]
        }
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: lacks or misstates a key: {error}; run kerastune evaluate again") from error


def _refuse_another(path: Path, page: str) -> None:
    if not path.exists():
        return
    try:
        same = path.read_text(encoding="utf-8") == page
    except (OSError, ValueError):
        same = False
    if not same:
        raise OutputError(
            f"{path}: a card is there already and says something else; keep it, or replace it with "
            "--overwrite"
        )
