"""The main job, from tables to a checked submission; what the command line's doors lead to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kerastune.config import RunConfig
from kerastune.dataset import Dataset
from kerastune.environment import peak_memory_gb
from kerastune.errors import ConfigError
from kerastune.evaluating import Evaluated, EvaluatedTable, assess, write_evaluation
from kerastune.fine_tuning import train_in_session
from kerastune.kinds import kind_of, read_rows
from kerastune.run import Run
from kerastune.score_file import SCORES
from kerastune.scoring import Scores
from kerastune.session import Report, open_session
from kerastune.training_plan import Plan

SUBMISSION = "submission.tsv"


@dataclass(frozen=True)
class Results:
    """What the main job came to."""

    run: Run
    evaluated: Mapping[str, Evaluated]
    submission: Path
    peak_memory_gb: float


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
    on_report: Callable[[Report], None],
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
    on_report(session.report(train_rows, next(iter(tests.values()))))
    run = train_in_session(session, train_rows, folder, on_plan=on_plan)
    scored: dict[tuple[tuple[str, ...], ...], Scores] = {}

    def score(rows: Dataset) -> Scores:
        # Competitions ship the test rows again as a form to fill in.
        key = (rows.ids, rows.texts)
        if key not in scored:
            scored[key] = run.score(rows)
        return scored[key]

    tables = {
        name: EvaluatedTable(rows, score(rows), assess(score(rows), rows, train_rows))
        for name, rows in tests.items()
    }
    scores = score(unlabelled)
    scores.save(folder / SCORES)
    submission = run.write_submission(scores, unlabelled, folder / SUBMISSION)
    write_evaluation(run, tables)
    evaluated = {name: table.evaluated for name, table in tables.items()}
    return Results(run, evaluated, submission, peak_memory_gb())


def train_files(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    skip_bad_rows: bool = False,
    on_report: Callable[[Report], None],
    on_plan: Callable[[Plan], None],
) -> Run:
    """Train on the files that the options name.

    Args:
        config: The options.
        out: The run's folder.
        resume: Whether there must be a checkpoint to go on from.
        skip_bad_rows: Whether dialogues that cannot be used are left out, and listed.
        on_report: Called with the data report, before the model is loaded.
        on_plan: Called with the plan, before training.

    Raises:
        ConfigError: No training file is named, or there is nothing to resume.
    """
    if config.train_file is None:
        raise ConfigError("no training table; give one with --train FILE, or train_file in the TOML file")
    rows = read_rows(config.train_file, config.task, skip_bad_rows=skip_bad_rows)
    watched = None
    if config.validation_file is not None:
        watched = read_rows(config.validation_file, config.task, skip_bad_rows=skip_bad_rows)
    # So that `evaluate` finds the baselines' rows, and --resume all rows, from any directory.
    named = {name: getattr(config, name) for name in ("train_file", "validation_file")}
    session = kind_of(config.task).open(
        config.with_options({name: file and str(Path(file).resolve()) for name, file in named.items()})
    )
    on_report(session.report(rows, watched))
    return train_in_session(session, rows, out, validation=watched, resume=resume, on_plan=on_plan)
