"""What is printed of an evaluation: metrics with their intervals, tests, slices, leakage, errors, folds."""

from collections.abc import Mapping
from typing import Any

from kerastune.console import say
from kerastune.cross_validation import CrossValidated, Fold, SeedSpread, Spread
from kerastune.evaluated_scores import METRICS
from kerastune.evaluating import Evaluated
from kerastune.evaluation import RESAMPLES, Interval, LeakageEffect, McNemar, Metrics, Mistake, Slice

_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "mcc": "MCC",
    "roc_auc": "ROC AUC",
    "log_loss": "log-loss",
}
_BASELINES = {"tfidf": "TF-IDF", "majority": "majority"}
_MOST_MISTAKES, _MOST_PAIRS, _MOST_CHARACTERS = 10, 5, 200


def print_evaluated(evaluated: Mapping[str, Evaluated]) -> None:
    """Print what a run came to on each table."""
    for name, found in evaluated.items():
        say(_metrics(name, found))
        say(
            "the accuracy's interval is Wilson's, those of the others are percentiles of "
            f"{RESAMPLES:,} bootstrap resamples; '-' is undefined"
        )
        model = found.model
        say(f"confusion (a row a true label) {[list(row) for row in model.confusion]}")
        if model.invalid_rate is not None:
            say(f"{model.invalid_rate:.1%} of the generated answers were no label")
        for against, test in found.mcnemar.items():
            say(_mcnemar(against, test))
        if found.slices:
            say(_slices(found.slices))
        if found.leakage is not None:
            _print_leakage(found.leakage)
        if found.mistakes:
            say(_mistakes(found.mistakes))
        if found.folds is not None:
            say(_folds(found.folds))
        if found.seeds is not None:
            say(_seeds(name, found.seeds))
        for note in found.notes:
            say(f"note: {note}")
    say(f"all of it is in {METRICS} of the run's folder")


def print_fold(fold: Fold) -> None:
    """Print a fold as soon as it is judged."""
    say(f"fold {fold.fold}: accuracy {fold.model.accuracy:.3f}, TF-IDF {fold.tfidf.accuracy:.3f}")


def print_seed(seed: int, metrics: Metrics) -> None:
    """Print what a seed came to as soon as it is judged."""
    say(f"seed {seed}: accuracy {metrics.accuracy:.3f}")


def _metrics(name: str, found: Evaluated) -> Any:
    measured = {"model": found.model} | {
        title: found.baselines[key] for key, title in _BASELINES.items() if key in found.baselines
    }
    table = _table(f"{name}, {found.model.rows} rows (95 % interval)", "", *measured)
    for key, title in _NAMES.items():
        table.add_row(title, *(_metric(metrics, key) for metrics in measured.values()))
    return table


def _metric(metrics: Metrics, name: str) -> str:
    value = getattr(metrics, name)
    interval = metrics.interval if name == "accuracy" else metrics.intervals.get(name)
    return "-" if value is None else _with_interval(value, interval)


def _with_interval(value: float, interval: Interval | None) -> str:
    return f"{value:.3f}" + ("" if interval is None else " ({:.3f} to {:.3f})".format(*interval))


def _mcnemar(against: str, test: McNemar) -> str:
    how = "exact binomial" if test.statistic is None else f"chi-squared {test.statistic:.2f}"
    return (
        f"McNemar against {against}: right on {test.only_first} rows where that is wrong, wrong on "
        f"{test.only_second} where that is right; p = {test.p_value:.2g} ({how})"
    )


def _slices(slices: tuple[Slice, ...]) -> Any:
    table = _table("slices", "", "", "rows", "accuracy (95 % interval)")
    last = None
    for part in slices:
        if last not in (None, part.slice):
            table.add_section()
        shown = "" if part.slice == last else part.slice
        table.add_row(shown, _plain(part.value), str(part.rows), _with_interval(part.accuracy, part.interval))
        last = part.slice
    return table


def _print_leakage(leakage: LeakageEffect) -> None:
    say(
        f"leakage: {leakage.exact} rows have a text of {leakage.train}, {leakage.near} more nearly "
        f"(trigram Jaccard {leakage.threshold:g} or more)"
    )
    if not leakage.pairs:
        return
    if leakage.accuracy_without is None:
        say("accuracy without leaked rows: there are no others")
    else:
        without = _with_interval(leakage.accuracy_without, leakage.interval_without)
        say(f"accuracy with leaked rows {leakage.accuracy:.3f}, without {without}")
    table = _table(
        f"leaked rows, {min(len(leakage.pairs), _MOST_PAIRS)} of {leakage.exact + leakage.near}",
        "Jaccard", "id", "text", "in train", "its text",
    )  # fmt: skip
    for pair in leakage.pairs[:_MOST_PAIRS]:
        table.add_row(
            f"{pair.similarity:.2f}",
            _plain(pair.id),
            _plain(pair.text),
            _plain(pair.train_id),
            _plain(pair.train_text),
        )
    say(table)


def _mistakes(mistakes: tuple[Mistake, ...]) -> Any:
    table = _table("the most confident errors", "confidence", "label", "predicted", "id", "text")
    for mistake in mistakes[:_MOST_MISTAKES]:
        predicted = "no label" if mistake.predicted is None else str(mistake.predicted)
        table.add_row(
            f"{mistake.confidence:.3f}",
            str(mistake.label),
            predicted,
            _plain(mistake.id),
            _plain(mistake.text),
        )
    return table


def _folds(folds: CrossValidated) -> Any:
    table = _table(
        f"{len(folds.folds)} folds of the training table", "fold", "rows", "accuracy", "macro F1", "TF-IDF"
    )
    for fold in folds.folds:
        table.add_row(
            str(fold.fold),
            str(fold.model.rows),
            f"{fold.model.accuracy:.3f}",
            f"{fold.model.macro_f1:.3f}",
            f"{fold.tfidf.accuracy:.3f}",
        )
    table.add_section()
    table.add_row(
        "mean +- sd",
        "",
        _spread(folds.model["accuracy"]),
        _spread(folds.model["macro_f1"]),
        _spread(folds.tfidf["accuracy"]),
    )
    return table


def _seeds(name: str, seeds: SeedSpread) -> Any:
    table = _table(f"{len(seeds.runs)} seeds on {name}", "seed", *_NAMES.values())
    for seed, metrics in seeds.runs.items():
        values = (getattr(metrics, key) for key in _NAMES)
        table.add_row(str(seed), *("-" if value is None else f"{value:.3f}" for value in values))
    table.add_section()
    table.add_row("mean +- sd", *(_spread(seeds.model[key]) for key in _NAMES))
    return table


def _spread(found: Spread | None) -> str:
    return "-" if found is None else f"{found.mean:.3f} +- {found.sd:.3f}"


def _table(title: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _plain(text: str) -> Any:
    """Text of a table as a terminal may show it: on a line, not endless, and without control characters."""
    from rich.text import Text

    shown = "".join(sign if sign.isprintable() or sign == "\u200d" else " " for sign in text)
    return Text(shown if len(shown) <= _MOST_CHARACTERS else f"{shown[:_MOST_CHARACTERS]}…")
