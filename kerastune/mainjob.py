"""The main job, from tables to a checked submission; what the command line's doors lead to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kerastune.config import RunConfig
from kerastune.dataset import DataReport, Dataset, read_dataset, report_data
from kerastune.encoding import Encoder
from kerastune.environment import peak_memory_gb
from kerastune.errors import ConfigError
from kerastune.evaluating import Evaluated, EvaluatedTable, assess, write_evaluation
from kerastune.fine_tuning import Plan, train_in_session
from kerastune.run import Run
from kerastune.score_file import SCORES
from kerastune.scoring import Scores
from kerastune.session import open_session

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
    on_report: Callable[[DataReport], None],
    on_plan: Callable[[Plan], None],
) -> Run:
    """Train on the files that the options name.

    Raises:
        ConfigError: No training file is named, or there is nothing to resume.
    """
    if config.train_file is None:
        raise ConfigError("no training table; give one with --train FILE, or train_file in the TOML file")
    rows = read_dataset(config.train_file, config.task)
    watched = read_dataset(config.validation_file, config.task) if config.validation_file else None
    # So that `evaluate` finds the baselines' rows, and --resume all rows, from any directory.
    named = {name: getattr(config, name) for name in ("train_file", "validation_file")}
    session = open_session(
        config.with_options({name: file and str(Path(file).resolve()) for name, file in named.items()})
    )
    on_report(data_report(session.encoder, rows, watched))
    return train_in_session(session, rows, out, validation=watched, resume=resume, on_plan=on_plan)


def data_report(encoder: Encoder, rows: Dataset, others: Dataset | None) -> DataReport:
    """Report on tables with their lengths in a model's tokens."""

    def count_tokens(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in encoder.tokenizer.encode_batch(texts)]

    return report_data(rows, others, count_tokens=count_tokens, max_length=encoder.max_length)
