"""A run: a folder that holds what was asked, the adapter, the history and the results.

`config.toml`, `adapter/`, `history.jsonl`, `checkpoint/` while training, `scores.tsv`, `metrics.json`,
`submission.tsv` and `manifest.json` can all be opened without this project.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from kerastune.adapter import adapter_hash, read_adapter
from kerastune.adapter_card import ADAPTER as ADAPTER
from kerastune.adapter_card import CARD, read_card
from kerastune.calibration import CALIBRATION, Calibration
from kerastune.config import RunConfig
from kerastune.config_file import read_config
from kerastune.dataset import Dataset
from kerastune.environment import sha256_of_files, versions
from kerastune.errors import ConfigError, TemplateError
from kerastune.evaluation import Metrics, measure
from kerastune.few_shot import SHOTS
from kerastune.kinds import kind_of
from kerastune.preference.session import PreferenceSession
from kerastune.preference.task import PREFERENCE, PreferenceTask
from kerastune.scoring import Scores
from kerastune.session import ModelSession, Session
from kerastune.submission import Format, write_submission
from kerastune.task import get_task
from kerastune.text_session import TextSession
from kerastune.text_task import AnyTask, find_task, get_text_task
from kerastune.training import Trained

CONFIG_TOML, MANIFEST = "config.toml", "manifest.json"


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
    _session: ModelSession[Any] | None = field(default=None, repr=False)

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
    def task(self) -> AnyTask:
        """What the run was trained on; its type says of which kind."""
        return find_task(self.config.task)

    @property
    def session(self) -> Session:
        """The base model with this run's adapter, of a task with labels.

        Raises:
            AdapterError: The adapter is damaged, or is for another base, template or label set.
            TemplateError: The run's task has no labels.
        """
        get_task(self.config.task)
        return cast("Session", self._open())

    @property
    def text_session(self) -> TextSession:
        """The base model with this run's adapter, of a task whose answers are texts.

        Raises:
            AdapterError: The adapter is damaged, or is for another base or template.
            TemplateError: The run's task has labels.
        """
        if not isinstance(self.task, PreferenceTask):
            get_text_task(self.config.task)
        return cast("TextSession", self._open())

    @property
    def preference_session(self) -> PreferenceSession:
        """The base model with this run's adapter, of a run that was trained on pairs.

        Raises:
            AdapterError: The adapter is damaged, or is for another base, template or chain of runs.
            TemplateError: The run was trained on something else.
        """
        if not isinstance(self.task, PreferenceTask):
            raise TemplateError(f"task {self.config.task!r}: expected a run of task {PREFERENCE.name!r}")
        return cast("PreferenceSession", self._open())

    def _open(self) -> ModelSession[Any]:
        if self._session is None:
            trained = self.config.train.epochs > 0
            factors, card = (
                read_adapter(self.folder / ADAPTER) if trained else ({}, read_card(self.folder / ADAPTER))
            )
            session = kind_of(self.config.task).open(self.config)
            session.read_files(self.folder)
            # Before the model is loaded: what does not fit should not cost that.
            card.require_same(session.card, self.folder / ADAPTER)
            if trained:
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
            "adapter_sha256": adapter_hash(adapter),
            "config_sha256": sha256_of_files([self.folder / CONFIG_TOML]),
            "versions": versions(),
        }
        if (self.folder / SHOTS).is_file():
            said["shots_sha256"] = sha256_of_files([self.folder / SHOTS])
        if (adapter / CALIBRATION).is_file():
            said["calibration_sha256"] = sha256_of_files([adapter / CALIBRATION])
        if scores is not None and scores.invalid_rate is not None:
            said["invalid_rate"] = scores.invalid_rate
        return said
