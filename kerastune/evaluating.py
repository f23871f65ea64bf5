"""Evaluation of a run on a labelled table: everything that is printed, and that `metrics.json` holds."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerastune.baselines import baseline_probabilities
from kerastune.cross_validation import (
    CrossValidated,
    Fold,
    SeedSpread,
    cross_validate,
    require_seeds,
    seed_spread,
)
from kerastune.dataset import Dataset, read_dataset
from kerastune.dataset.splits import read_labels
from kerastune.errors import ConfigError, OutputError
from kerastune.evaluated_scores import (
    METRICS,
    describe_table,
    require_same_rows,
    save_evaluated,
    scores_name,
    stored_scores,
    write_metrics,
)
from kerastune.evaluation import (
    RESAMPLES,
    LeakageEffect,
    McNemar,
    Metrics,
    Mistake,
    Slice,
    evaluate,
    find_mistakes,
    find_slices,
    mcnemar,
    measure,
    measure_leakage,
    read_answers,
    require_columns,
)
from kerastune.partial_scores import require_plain_ids
from kerastune.run import Run
from kerastune.saved_scores import load_scores
from kerastune.scoring import Scores
from kerastune.training_rows import require_known_labels, training_rows


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """The results of a run on a labelled table.

    Args:
        model: The run's metrics.
        baselines: `"tfidf"` and `"majority"`, trained on the run's training table; empty where that is gone
            or has changed.
        mcnemar: What the run was tested against, `"TF-IDF"` or another run -> McNemar's test, the run first.
        mistakes: The most confident errors.
        slices: The accuracy on parts of the table.
        leakage: Rows that the training table has too; None where that is gone or has changed.
        folds: The cross-validation, where one was asked for.
        seeds: The spread over seeds, where it was asked for.
        notes: What a reader should know, a sentence each.
    """

    model: Metrics
    baselines: Mapping[str, Metrics] = field(default_factory=dict)
    mcnemar: Mapping[str, McNemar] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()
    slices: tuple[Slice, ...] = ()
    leakage: LeakageEffect | None = None
    folds: CrossValidated | None = None
    seeds: SeedSpread | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Everything in the types of JSON, as `metrics.json` has it."""
        return {
            "model": self.model.as_dict(),
            **{name: metrics.as_dict() for name, metrics in self.baselines.items()},
            "mcnemar": [{"against": name, **test.as_dict()} for name, test in self.mcnemar.items()],
            "mistakes": [mistake.as_dict() for mistake in self.mistakes],
            "slices": [part.as_dict() for part in self.slices],
            "leakage": self.leakage and self.leakage.as_dict(),
            "folds": self.folds and self.folds.as_dict(),
            "seeds": self.seeds and self.seeds.as_dict(),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class EvaluatedTable:
    """A table, its scores and their evaluation, for `write_evaluation`."""

    rows: Dataset
    scores: Scores
    evaluated: Evaluated


def assess(
    scores: Scores,
    rows: Dataset,
    train: Dataset | None,
    *,
    columns: Sequence[str] = (),
    against: Mapping[str, Scores] | None = None,
    folds: CrossValidated | None = None,
    seeds: SeedSpread | None = None,
    notes: Sequence[str] = (),
) -> Evaluated:
    """Evaluate the scores of a labelled table, as far as that needs no model.

    Args:
        scores: The run's scores of the rows.
        rows: The rows, with their labels.
        train: The rows that the run was trained on, for the baselines and the leakage; None leaves both out.
        columns: Columns to slice the table by, in addition to the slices that every table has.
        against: Other scores of the same rows by name, to test the run against.
        folds: The results of a cross-validation, to be part of the evaluation.
        seeds: The spread over seeds, to be part of the evaluation.
        notes: What a reader should know, a sentence each.

    Raises:
        DataError: The labels were not read, a label is in no training row, scores are of other rows, or a
            column cannot be sliced by.
    """
    truth = read_labels(rows)
    require_same_rows(scores, rows, "the scores")
    right = read_answers(scores) == truth
    tests = {}
    baselines = {}
    if train is not None:
        require_known_labels(train, rows)
        found = baseline_probabilities(train, rows)
        baselines = {name: evaluate(found[name], truth, resamples=RESAMPLES) for name in found}
        tests["TF-IDF"] = mcnemar(right, found["tfidf"].argmax(axis=1) == truth)
    for name, other in (against or {}).items():
        require_same_rows(other, rows, name)
        tests[name] = mcnemar(right, read_answers(other) == truth)
    return Evaluated(
        model=measure(scores, rows, resamples=RESAMPLES),
        baselines=baselines,
        mcnemar=tests,
        mistakes=find_mistakes(scores, rows),
        slices=find_slices(rows, right, columns),
        leakage=None if train is None else measure_leakage(train, rows, right),
        folds=folds,
        seeds=seeds,
        notes=tuple(notes),
    )


def evaluate_file(
    folder: Path,
    file: Path,
    options: Mapping[str, Any] | None = None,
    *,
    against: Path | None = None,
    folds: int | None = None,
    seeds: int | None = None,
    columns: Sequence[str] = (),
    show: bool = True,
    on_fold: Callable[[Fold], None] | None = None,
    on_seed: Callable[[int, Metrics], None] | None = None,
) -> dict[str, Evaluated]:
    """Evaluate a run on a labelled table, and write `metrics.json` and the rows' scores into its folder.

    The baselines are trained, and leakage is looked for, on the run's training table, where that is still
    what it was. Everything that can be refused is refused before the model is loaded.

    Args:
        folder: The run's folder.
        file: The labelled table.
        options: Options that replace the run's, such as `mode`.
        against: Another run's folder, or a scores file of the same rows, for McNemar's test.
        folds: In how many folds to cross-validate the run's options on its training table; None for none.
        seeds: From how many seeds to train on its training table; None for none.
        columns: Columns to slice the table by, in addition to the slices that every table has.
        show: Whether to show progress.
        on_fold: Called with each fold as soon as it is judged.
        on_seed: Called with each seed and its metrics as soon as they are there.

    Returns:
        The table's name -> the results on it.

    Raises:
        ConfigError: The folder is no run, or its training table is needed and is gone or has changed.
        DataError: A table or the scores to test against cannot be read as they are, or do not go together.
        OutputError: The folder cannot be written into.
    """
    run = Run.load(folder, options)
    _require_writable(folder)
    rows = read_dataset(file, run.config.task)
    require_plain_ids(rows.ids, rows.name)
    require_columns(rows, columns)
    train, notes = training_rows(run)
    if train is not None:
        require_known_labels(train, rows)
    if folds is not None:
        next(_needed(train, notes, "--folds").folds(folds, run.config.train.seed))
    if seeds is not None:
        _needed(train, notes, "--seeds")
        require_seeds(seeds)
    watched = None
    if (folds or seeds) and run.config.validation_file is not None:
        watched = read_dataset(run.config.validation_file, run.config.task)
    if (folds or seeds) and run.calibration is not None:
        notes.append("the run is calibrated; the adapters of folds and seeds are not")
    # The other run first, so that its model is freed before this one's is loaded.
    others = {} if against is None else {str(against): _scores_of(against, rows, show)}
    scores = run.score(rows, show=show)
    folded = seeded = None
    if train is not None and seeds is not None:
        seeded = seed_spread(run.session, train, rows, seeds, validation=watched, show=show, on_seed=on_seed)
    if train is not None and folds is not None:
        folded = cross_validate(run.session, train, folds, validation=watched, show=show, on_fold=on_fold)
    evaluated = assess(
        scores, rows, train, columns=columns, against=others, folds=folded, seeds=seeded, notes=notes
    )
    write_evaluation(run, {file.stem: EvaluatedTable(rows, scores, evaluated)})
    return {file.stem: evaluated}


def write_evaluation(run: Run, tables: Mapping[str, EvaluatedTable]) -> None:
    """Write `metrics.json`, and beside it a file with each table's rows; see `kerastune.evaluated_scores`.

    Args:
        run: The run that scored.
        tables: Each table by the name under which `metrics.json` has it.

    Raises:
        OutputError: A file cannot be written.
    """
    said = {}
    for name, table in tables.items():
        save_evaluated(run.folder / scores_name(name), table.scores, table.rows)
        described = describe_table(run, table.rows, scores_name(name))
        said[name] = {"table": described, **table.evaluated.as_dict()}
    write_metrics(run.folder, said)


def _needed(train: Dataset | None, notes: Sequence[str], flag: str) -> Dataset:
    if train is None:
        raise ConfigError(f"{flag}: {notes[0]}; put it back, or train anew")
    return train


def _require_writable(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot write: {error.strerror}; {METRICS} goes there, see to its permissions"
        ) from error


def _scores_of(against: Path, rows: Dataset, show: bool) -> Scores:
    if against.is_dir():
        run = Run.load(against)
        if run.config.task != rows.task.name:
            raise ConfigError(
                f"{against}: expected a run of the task {rows.task.name!r}, received one of "
                f"{run.config.task!r}; choose another --against"
            )
        return stored_scores(run, rows) or run.score(rows, show=show)
    scores = load_scores(against, rows.task)
    require_same_rows(scores, rows, str(against))
    return scores
