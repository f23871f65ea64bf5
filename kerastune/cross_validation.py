"""How far a run's results vary: over folds of its training table (cross-validation), and over seeds.

The base model is loaded once: every training puts a fresh adapter on the session's stack.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerastune.baselines import baseline_probabilities
from kerastune.dataset import Dataset
from kerastune.errors import ConfigError
from kerastune.evaluation import Metrics, evaluate, measure
from kerastune.fine_tuning import train_in_session
from kerastune.scoring import Scores
from kerastune.session import Session

_SPREAD = ("accuracy", "macro_f1", "mcc", "roc_auc", "log_loss")


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How a metric varies.

    Args:
        mean: Its mean.
        sd: Its sample standard deviation (with n - 1 in the denominator).
        lowest: Its lowest value.
        highest: Its highest value.
    """

    mean: float
    sd: float
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class Fold:
    """The results of one fold, by a model that was trained on the other folds.

    Args:
        fold: Its number, from 1.
        train_rows: How many rows were trained on.
        model: The metrics on the fold's rows.
        tfidf: The metrics of the TF-IDF baseline, trained and measured on the same rows.
    """

    fold: int
    train_rows: int
    model: Metrics
    tfidf: Metrics


@dataclass(frozen=True, kw_only=True)
class CrossValidated:
    """The results of a cross-validation.

    Args:
        seed: The seed by which the rows were assigned to folds.
        folds: The folds.
    """

    seed: int
    folds: tuple[Fold, ...]

    @property
    def model(self) -> dict[str, Spread | None]:
        """How the metrics vary from fold to fold; see `spread`."""
        return spread([fold.model for fold in self.folds])

    @property
    def tfidf(self) -> dict[str, Spread | None]:
        """How the baseline's metrics vary from fold to fold."""
        return spread([fold.tfidf for fold in self.folds])

    def as_dict(self) -> dict[str, Any]:
        """All of it in the types of JSON."""
        return {
            "k": len(self.folds),
            "seed": self.seed,
            "folds": [
                {
                    "fold": fold.fold,
                    "train_rows": fold.train_rows,
                    "rows": fold.model.rows,
                    "model": fold.model.as_dict(),
                    "tfidf": fold.tfidf.as_dict(),
                }
                for fold in self.folds
            ],
            "summary": {"model": _spread_dict(self.model), "tfidf": _spread_dict(self.tfidf)},
        }


@dataclass(frozen=True, kw_only=True)
class SeedSpread:
    """The results of one training for each of several seeds, all measured on the same rows.

    Args:
        runs: Seed -> the metrics of its adapter.
    """

    runs: Mapping[int, Metrics]

    @property
    def model(self) -> dict[str, Spread | None]:
        """How the metrics vary from seed to seed; see `spread`."""
        return spread(list(self.runs.values()))

    def as_dict(self) -> dict[str, Any]:
        """All of it in the types of JSON."""
        return {
            "runs": [{"seed": seed, "model": metrics.as_dict()} for seed, metrics in self.runs.items()],
            "summary": _spread_dict(self.model),
        }


def spread(measured: Sequence[Metrics]) -> dict[str, Spread | None]:
    """Compute how metrics vary.

    Args:
        measured: The metrics of two trainings or more.

    Returns:
        A metric's name -> its spread; None where the metric is undefined in one of them.
    """
    found: dict[str, Spread | None] = {}
    for name in _SPREAD:
        values = [getattr(metrics, name) for metrics in measured]
        found[name] = None
        if None not in values:
            mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
            found[name] = Spread(mean=mean, sd=sd, lowest=min(values), highest=max(values))
    return found


def cross_validate(
    session: Session,
    dataset: Dataset,
    k: int,
    *,
    validation: Dataset | None = None,
    show: bool = True,
    on_fold: Callable[[Fold], None] | None = None,
) -> CrossValidated:
    """Cross-validate a session's options on a table; the session's adapter is replaced.

    Every row is scored once, by an adapter that was not trained on it. The folds are stratified: each has the
    table's share of each label. The options' seed decides which rows they hold.

    Args:
        session: The base model and the options.
        dataset: Labelled rows.
        k: How many folds, 2 or more.
        validation: Labelled rows to watch while training, as `train` does.
        show: Whether to show progress.
        on_fold: Called with each fold as soon as it is measured.

    Raises:
        ConfigError: `k` is less than 2.
        DataError: A label has fewer than k rows, or the labels were not read.
    """
    seed, folds = session.config.train.seed, []
    for number, (rows, held_out) in enumerate(dataset.folds(k, seed), start=1):
        scores = _train_and_score(session, rows, held_out, validation, show)
        tfidf = baseline_probabilities(rows, held_out)["tfidf"]
        fold = Fold(
            fold=number,
            train_rows=len(rows),
            model=measure(scores, held_out),
            tfidf=evaluate(tfidf, held_out.labels if held_out.labels is not None else ()),
        )
        folds.append(fold)
        if on_fold is not None:
            on_fold(fold)
    return CrossValidated(seed=seed, folds=tuple(folds))


def seed_spread(
    session: Session,
    train: Dataset,
    rows: Dataset,
    seeds: int,
    *,
    validation: Dataset | None = None,
    show: bool = True,
    on_seed: Callable[[int, Metrics], None] | None = None,
) -> SeedSpread:
    """Train by a session's options from several seeds, and measure each adapter on the same rows.

    The session's adapter is replaced. The seeds are the options' own and the numbers that follow it.

    Args:
        session: The base model and the options.
        train: Labelled rows to train on.
        rows: Labelled rows to measure on.
        seeds: How many seeds, 2 or more.
        validation: Labelled rows to watch while training, as `train` does.
        show: Whether to show progress.
        on_seed: Called with each seed and its metrics as soon as they are there.

    Raises:
        ConfigError: `seeds` is less than 2.
    """
    require_seeds(seeds)
    first = session.config.train.seed
    session.stack  # noqa: B018  # loaded now, so that the sessions of all seeds share it
    measured = {}
    for seed in range(first, first + seeds):
        seeded = replace(session, config=session.config.with_options({"seed": seed}))
        measured[seed] = measure(_train_and_score(seeded, train, rows, validation, show), rows)
        if on_seed is not None:
            on_seed(seed, measured[seed])
    return SeedSpread(runs=measured)


def require_seeds(seeds: int) -> None:
    """Refuse a number of seeds that has no spread.

    Raises:
        ConfigError: It is less than 2.
    """
    if seeds < 2:
        raise ConfigError(f"seeds: expected 2 or more, received {seeds}; one seed has no spread")


def _train_and_score(
    session: Session, train: Dataset, rows: Dataset, validation: Dataset | None, show: bool
) -> Scores:
    with tempfile.TemporaryDirectory(prefix="kerastune_") as folder:
        train_in_session(session, train, Path(folder) / "run", validation=validation, show=show)
        return session.score(rows, show=show)


def _spread_dict(spreads: Mapping[str, Spread | None]) -> dict[str, Any]:
    return {name: None if found is None else asdict(found) for name, found in spreads.items()}
