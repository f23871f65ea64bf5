"""The main job, from tables to a checked submission; what the command line's doors lead to."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kerastune.atomic import write_text
from kerastune.baselines import baseline_metrics
from kerastune.config import RunConfig
from kerastune.dataset import DataReport, Dataset, read_dataset, report_data
from kerastune.encoding import Encoder
from kerastune.environment import peak_memory_gb
from kerastune.errors import ConfigError
from kerastune.evaluation import Metrics
from kerastune.run import Plan, Run, measure, train_in_session
from kerastune.scoring import Scores
from kerastune.session import open_session
from kerastune.submission import default_submission_name, require_submittable

METRICS, SCORES, SUBMISSION = "metrics.json", "scores.tsv", "submission.tsv"


@dataclass(frozen=True)
class Evaluated:
    """A run's metrics on a table, and the baselines' where the training rows are at hand."""

    model: Metrics
    baselines: Mapping[str, Metrics]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"model": self.model.as_dict()} | {
            name: metrics.as_dict() for name, metrics in self.baselines.items()
        }


@dataclass(frozen=True)
class Results:
    """What the main job came to."""

    run: Run
    evaluated: Mapping[str, Evaluated]
    submission: Path
    peak_memory_gb: float


@dataclass(frozen=True)
class Submitted:
    """A submission that was written: its file, its rows, and how often generated text was no label."""

    path: Path
    rows: int
    invalid_rate: float | None


def packaged_reviews() -> Path:
    """The folder of the project's own reviews.

    Raises:
        ConfigError: It is not there: the package was installed without its data.
    """
    folder = Path(__file__).parent.parent / "data" / "reviews"
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: the project's reviews are not there; install from a checkout, or use "
            "kerastune train --train FILE"
        )
    return folder


def run_main_job(
    config: RunConfig,
    train_rows: Dataset,
    tests: Mapping[str, Dataset],
    unlabelled: Dataset,
    out: Path | None,
    *,
    on_report: Callable[[DataReport], None],
    on_plan: Callable[[Plan], None],
) -> Results:
    """Train, evaluate beside the baselines, and write scores, metrics and a submission.

    Args:
        config: The options.
        train_rows: Labelled rows.
        tests: Labelled tables by name.
        unlabelled: The rows of the submission.
        out: The run's folder; a new one named by date and time when None.
        on_report: Called with the data report, before the model is loaded.
        on_plan: Called with the plan, before training.
    """
    folder = out or Path("runs") / f"{datetime.now():%Y%m%d_%H%M%S}"
    session = open_session(config)
    on_report(data_report(session.encoder, train_rows, next(iter(tests.values()))))
    run = train_in_session(session, train_rows, folder, on_plan=on_plan)
    scored: dict[tuple[tuple[str, ...], ...], Scores] = {}

    def score(rows: Dataset) -> Scores:
        # Competitions ship the test rows again as a form to fill in.
        key = (rows.ids, rows.texts)
        if key not in scored:
            scored[key] = run.score(rows)
        return scored[key]

    evaluated = {
        name: Evaluated(measure(score(rows), rows), baseline_metrics(train_rows, rows))
        for name, rows in tests.items()
    }
    scores = score(unlabelled)
    scores.save(folder / SCORES)
    submission = run.write_submission(scores, unlabelled, folder / SUBMISSION)
    _write_metrics(folder, evaluated)
    return Results(run, evaluated, submission, peak_memory_gb())


def train_files(
    config: RunConfig,
    out: Path,
    *,
    on_report: Callable[[DataReport], None],
    on_plan: Callable[[Plan], None],
) -> Run:
    """Train on the files that the options name.

    Raises:
        ConfigError: No training file is named.
    """
    if config.train_file is None:
        raise ConfigError("no training table; give one with --train FILE, or train_file in the TOML file")
    rows = read_dataset(config.train_file, config.task)
    watched = read_dataset(config.validation_file, config.task) if config.validation_file else None
    # So that `evaluate` finds the baselines' rows from any directory.
    session = open_session(config.with_options({"train_file": str(Path(config.train_file).resolve())}))
    on_report(data_report(session.encoder, rows, watched))
    return train_in_session(session, rows, out, validation=watched, on_plan=on_plan)


def data_report(encoder: Encoder, rows: Dataset, others: Dataset | None) -> DataReport:
    """Report on tables with their lengths in a model's tokens."""

    def count_tokens(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in encoder.tokenizer.encode_batch(texts)]

    return report_data(rows, others, count_tokens=count_tokens, max_length=encoder.max_length)


def score_file(folder: Path, file: Path, out: Path | None, options: Mapping[str, Any]) -> Submitted:
    """Score a table with a run and write its submission; the scores stay in the run's folder.

    Args:
        folder: The run's folder.
        file: The table; a label column in it is not read.
        out: The submission; named by date and time when None.
        options: Options that replace the run's, such as `mode`.
    """
    run = Run.load(folder, options)
    rows = read_dataset(file, run.config.task, labelled=False)
    path = out or Path(default_submission_name(datetime.now()))
    require_submittable(path, rows)
    scores = run.score(rows)
    scores.save(folder / SCORES)
    return Submitted(run.write_submission(scores, rows, path), len(rows), scores.invalid_rate)


def evaluate_file(folder: Path, file: Path, options: Mapping[str, Any]) -> dict[str, Evaluated]:
    """Measure a run on a labelled table, and write `metrics.json` into its folder.

    The baselines are trained on the run's training table, where that is still there.
    """
    run = Run.load(folder, options)
    rows = read_dataset(file, run.config.task)
    source = run.config.train_file
    baselines = {}
    if source is not None and Path(source).is_file():
        baselines = baseline_metrics(read_dataset(source, run.config.task), rows)
    evaluated = {file.stem: Evaluated(run.evaluate(rows), baselines)}
    _write_metrics(folder, evaluated)
    return evaluated


def _write_metrics(folder: Path, evaluated: Mapping[str, Evaluated]) -> None:
    table = {name: measured.as_dict() for name, measured in evaluated.items()}
    write_text(folder / METRICS, json.dumps(table, ensure_ascii=False, indent=2) + "\n")
