"""A run: a folder that holds what was asked, the adapter, the history and the results.

`config.toml`, `adapter/`, `history.jsonl`, `checkpoint/` while training, `scores.tsv`, `metrics.json`,
`submission.tsv` and `manifest.json` can all be opened without this project.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kerastune.adapter import CARD, CONFIG, WEIGHTS, read_adapter, write_adapter
from kerastune.atomic import write_text
from kerastune.batching import bucket_lengths
from kerastune.calibration import CALIBRATION, Calibration
from kerastune.config import RunConfig
from kerastune.config_file import read_config, write_config
from kerastune.dataset import Dataset, require_classes
from kerastune.environment import peak_memory_gb, sha256_of_files, versions
from kerastune.errors import ConfigError
from kerastune.evaluation import Metrics, measure
from kerastune.objective import Objective
from kerastune.schedule import total_steps
from kerastune.scoring import Scores
from kerastune.session import Session, open_session
from kerastune.stack import StackInfo
from kerastune.submission import Format, write_submission
from kerastune.training import CHECKPOINT, HISTORY, Trained, fit

ADAPTER, CONFIG_TOML, MANIFEST = "adapter", "config.toml", "manifest.json"


@dataclass
class Run:
    """A run's folder, and its model once that is needed.

    Args:
        folder: The folder.
        config: Its `config.toml`.
        trained: What training came to, in the session that trained it.
    """

    folder: Path
    config: RunConfig
    trained: Trained | None = None
    _session: Session | None = field(default=None, repr=False)

    @classmethod
    def load(cls, folder: str | Path, options: Mapping[str, Any] | None = None) -> "Run":
        """Open a run's folder; the model is loaded when something is scored.

        Args:
            folder: The run's folder.
            options: Options by name that replace the run's, such as `mode` or `backend`.

        Raises:
            ConfigError: The folder is no run, or its training has not ended.
        """
        folder = Path(folder)
        if not (folder / CONFIG_TOML).is_file():
            inside = sorted(folder.glob(f"*/{CONFIG_TOML}"))
            hint = (
                f"is it {inside[-1].parent}?" if inside else "give the folder that training wrote with --out"
            )
            raise ConfigError(f"{folder}: no folder of a run: it has no {CONFIG_TOML}; {hint}")
        if not (folder / ADAPTER).is_dir():
            raise ConfigError(
                f"{folder}: its training has not ended; start it again as before to go on, "
                f"with --out {folder}"
            )
        return cls(folder, read_config(folder / CONFIG_TOML).with_options(options or {}))

    @property
    def session(self) -> Session:
        """The base model with this run's adapter.

        Raises:
            AdapterError: The adapter is damaged, or is for another base, template or label set.
        """
        if self._session is None:
            factors, card = read_adapter(self.folder / ADAPTER)
            session = open_session(self.config)
            # Before the model is loaded: what does not fit should not cost that.
            card.require_same(session.card, self.folder / ADAPTER)
            session.stack.load_adapter(factors)
            self._session = session
        return self._session

    @property
    def calibration(self) -> Calibration | None:
        """What `kerastune.calibrate` fitted; None where nothing was.

        Raises:
            AdapterError: `calibration.json` is damaged, or is of another adapter or other labels.
        """
        folder = self.folder / ADAPTER
        return Calibration.load(folder) if (folder / CALIBRATION).is_file() else None

    def score(self, dataset: Dataset, *, calibrated: bool = True, show: bool = True) -> Scores:
        """Score every row of a dataset, labelled or not.

        Args:
            dataset: Rows of the run's task.
            calibrated: Whether the run's calibration, where it has one, is applied.
            show: Whether to show progress.
        """
        calibration = self.calibration if calibrated else None
        scores = self.session.score(dataset, show=show)
        return scores if calibration is None else calibration.apply_to_scores(scores)

    def evaluate(self, dataset: Dataset, *, show: bool = True) -> Metrics:
        """Score a labelled dataset and measure the scores against its labels."""
        return measure(self.score(dataset, show=show), dataset)

    def write_submission(
        self,
        scores: Scores,
        dataset: Dataset,
        path: str | Path,
        *,
        format: Format | None = None,
        sample: str | Path | None = None,
    ) -> Path:
        """Write a submission whose manifest says what made it; see `kerastune.submission`."""
        used = {"model": asdict(self.config.model), "score": asdict(self.config.score)}
        extra = self.provenance(scores) | {"options": used}
        return write_submission(
            path, dataset, scores.predicted_labels, format=format, sample=sample, extra=extra
        )

    def provenance(self, scores: Scores | None = None) -> dict[str, Any]:
        """What made this run's results: model, hashes of adapter and options, versions."""
        adapter = self.folder / ADAPTER
        card = json.loads((adapter / CARD).read_text(encoding="utf-8"))
        said = {
            "model": card["model"],
            "base_id": card["base_id"],
            "base_fingerprint": card["base_fingerprint"],
            "adapter_sha256": sha256_of_files(adapter / name for name in (WEIGHTS, CONFIG, CARD)),
            "config_sha256": sha256_of_files([self.folder / CONFIG_TOML]),
            "versions": versions(),
        }
        if (adapter / CALIBRATION).is_file():
            said["calibration_sha256"] = sha256_of_files([adapter / CALIBRATION])
        if scores is not None and scores.invalid_rate is not None:
            said["invalid_rate"] = scores.invalid_rate
        if scores is not None and scores.decision_offsets is not None:
            said["calibration_sha256"] = sha256_of_files([adapter / CALIBRATION])
        return said


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What training is about to do.

    Args:
        config: The options.
        info: What runs, with the adapter on.
        rows: Training rows.
        steps: Optimizer steps of all epochs.
        lengths: The padded lengths in tokens, in each of which a program is compiled.
        truncated: Rows that lost characters to `max_length`.
        template: The template's name.
        words: The words that say the labels.
        resumed: Whether a checkpoint is there to go on from.
    """

    config: RunConfig
    info: StackInfo
    rows: int
    steps: int
    lengths: tuple[int, ...]
    truncated: int
    template: str
    words: tuple[str, ...]
    resumed: bool


def train(
    dataset: Dataset,
    *,
    out: str | Path,
    validation: Dataset | None = None,
    config: RunConfig | None = None,
    show: bool = True,
    on_plan: Callable[[Plan], None] | None = None,
    **options: Any,
) -> Run:
    """Fine-tune a base model on labelled rows and write a run's folder.

    Started again on the folder of a run that was killed, with the same rows and options, it goes on from
    the last checkpoint.

    Args:
        dataset: Labelled training rows.
        out: The run's folder.
        validation: Labelled rows to watch; the best epoch's adapter is kept.
        config: The options; the defaults when None.
        show: Whether to show progress.
        on_plan: Called with the plan before training begins.
        **options: Options by name that replace those of `config`, such as `rank=4`, `epochs=2`,
            `model="gemma3-270m"`, `backend="torch"`.

    Returns:
        The run, ready to score.

    Raises:
        ConfigError: An option is unknown, or `out` holds something else than an unfinished run.
        DataError: The labels are of one class only.
        ModelError: The model cannot be loaded or trained.
    """
    config = (config or RunConfig()).with_options({"task": dataset.task.name, **options})
    return train_in_session(
        open_session(config), dataset, Path(out), validation=validation, show=show, on_plan=on_plan
    )


def train_in_session(
    session: Session,
    dataset: Dataset,
    folder: Path,
    *,
    validation: Dataset | None = None,
    show: bool = True,
    on_plan: Callable[[Plan], None] | None = None,
) -> Run:
    """Train as `train` does, with a session that is already open."""
    require_classes(dataset)
    _require_room(folder)
    config, encoder = session.config, session.encoder
    encodings = encoder.encode(dataset)
    examples = encodings.examples
    watched = encoder.encode(validation).examples if validation is not None else ()
    session.stack.add_lora(config.lora, config.train.seed)
    info, resumed = session.stack.info, (folder / CHECKPOINT).exists()
    if on_plan is not None:
        on_plan(
            Plan(
                config=config,
                info=info,
                rows=len(dataset),
                steps=total_steps(len(dataset), config.train),
                lengths=bucket_lengths([len(example) for example in examples]),
                truncated=encodings.truncated,
                template=encoder.template.name,
                words=encoder.task.words(config.verbalizer),
                resumed=resumed,
            )
        )
    if not resumed:  # else fit decides first whether the checkpoint is of these options
        write_config(config, folder / CONFIG_TOML)
    trained = fit(
        session.stack,
        examples,
        config.train,
        objective=Objective.of(config.train.loss_on, encoder.task.loss_on, encodings.label_ids),
        pad_id=encoder.tokenizer.pad_id,
        folder=folder,
        validation=watched,
        identity=repr((session.files.fingerprint, info.stack, info.backend, info.dtype, config.lora)),
        show=show,
    )
    write_config(config, folder / CONFIG_TOML)
    write_adapter(folder / ADAPTER, session.stack.get_adapter(), session.card)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    run = Run(folder, config, trained, session)
    manifest = {
        **run.provenance(),
        "train": {"source": dataset.name, "sha256": dataset.sha256, "rows": len(dataset)},
        "stack": asdict(info),
        "training": asdict(trained),
        "peak_memory_gb": round(peak_memory_gb(), 2),
    }
    write_text(folder / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    return run


def _require_room(folder: Path) -> None:
    """Refuse a folder whose files are not those of an unfinished run: a new run would write over them."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; choose a new folder with --out")
    if (folder / ADAPTER).exists():
        raise ConfigError(f"{folder}: holds a finished run; choose another folder with --out, or delete it")
    ours = {CONFIG_TOML, HISTORY, CHECKPOINT}
    for found in sorted(folder.iterdir()) if folder.is_dir() else ():
        if found.name not in ours and not found.name.startswith("."):
            raise ConfigError(
                f"{folder}: holds {found.name}, which is of no run; choose a new folder with --out"
            )
