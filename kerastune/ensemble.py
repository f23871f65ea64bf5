"""An ensemble: several models' log-probabilities averaged, such as those of two stacks or of a few seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from kerastune.config_file import read_config
from kerastune.dataset import Dataset, read_dataset
from kerastune.environment import sha256_of_files, versions
from kerastune.errors import ConfigError
from kerastune.evaluation import Metrics, measure
from kerastune.run import CONFIG_TOML
from kerastune.saved_scores import load_scores
from kerastune.score_file import SCORES
from kerastune.scoring import Scores
from kerastune.submission import Format, require_ids, require_submittable, write_submission
from kerastune.task import Task, get_task


@dataclass(frozen=True)
class Ensembled:
    """An ensemble that was written.

    Args:
        submission: Its submission.
        scores: Its scores file.
        rows: How many rows it has.
        members: The scores files and their weights, which sum to 1.
        measured: Name -> metrics, of each member and of `"the ensemble"`; empty where labels were not read.
    """

    submission: Path
    scores: Path
    rows: int
    members: tuple[tuple[Path, float], ...]
    measured: tuple[tuple[str, Metrics], ...] = ()


def average_scores(members: Sequence[Scores], weights: Sequence[float] | None = None) -> Scores:
    """Average log-probabilities and normalise them again: the geometric mean of the probabilities.

    Args:
        members: Scores of the same rows and labels.
        weights: A weight more than 0 for each; alike when None. Only their proportions count.

    Raises:
        ConfigError: There are fewer than two members, or a weight is missing or not a number more than 0.

    Example:
        >>> from kerastune.scoring import Scores
        >>> certain, unsure = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
        >>> mean = average_scores([Scores(("a",), (0, 1), one) for one in (certain, unsure)])
        >>> mean.probabilities.round(6).tolist()
        [[0.75, 0.25]]
    """
    shares = _shares(weights, len(members))
    mean = sum(share * one.log_probabilities for share, one in zip(shares, members, strict=True))
    return Scores(members[0].ids, members[0].labels, mean - np.logaddexp.reduce(mean, axis=1, keepdims=True))


def parse_weights(text: str) -> list[float]:
    """Read weights with commas between them.

    Raises:
        ConfigError: One is no number.

    Example:
        >>> parse_weights("0.7, 0.3")
        [0.7, 0.3]
    """
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"weights: expected numbers with commas between them, received {text!r}") from error


def ensemble_files(
    sources: Sequence[Path],
    file: Path,
    out: Path,
    *,
    task: str | Task | None = None,
    weights: Sequence[float] | None = None,
    evaluate: bool = False,
    format: Format | None = None,
    sample: Path | None = None,
) -> Ensembled:
    """Average scores files and write a submission, its manifest, and the mean as `<out>.scores.tsv`.

    Args:
        sources: Scores files of the table, or folders of runs that scored it last.
        file: The table.
        out: The submission.
        task: The task; that of the first run among the sources, or else the default's, when None.
        weights: A weight more than 0 for each source; alike when None.
        evaluate: Whether to read the table's labels and measure each source and the mean.
        format: `"tsv"` or `"csv"`, over the extension.
        sample: A sample submission to follow.

    Raises:
        ConfigError: There are fewer than two sources, a run has scored nothing, or a weight is refused.
        DataError: A scores file is damaged, or its rows are not the table's in its order.
        OutputError: Something cannot be written.
    """
    shares = _shares(weights, len(sources))
    task = get_task(task or _task_of(sources))
    rows = read_dataset(file, task, labelled=evaluate)
    require_submittable(out, rows, format=format, sample=sample)
    files = [_scores_of(source) for source in sources]
    members = [_load(path, rows) for path in files]
    mean = average_scores(members, shares)
    saved = out.with_name(f"{out.name}.scores.tsv")
    mean.save(saved)
    weighted = tuple(zip(files, shares, strict=True))
    extra = {
        "ensemble": [
            {"scores": str(path), "sha256": sha256_of_files([path]), "weight": share}
            for path, share in weighted
        ],
        "scores": {"file": saved.name, "sha256": sha256_of_files([saved])},
        "versions": versions(),
    }
    write_submission(out, rows, mean.predicted_labels, format=format, sample=sample, extra=extra)
    measured: tuple[tuple[str, Metrics], ...] = ()
    if evaluate:
        named = [
            *((str(path), one) for path, one in zip(files, members, strict=True)),
            ("the ensemble", mean),
        ]
        measured = tuple((name, measure(scores, rows)) for name, scores in named)
    return Ensembled(out, saved, len(rows), weighted, measured)


def _shares(weights: Sequence[float] | None, members: int) -> list[float]:
    if members < 2:
        raise ConfigError(f"an ensemble is of two scores files or more, received {members}")
    if weights is None:
        return [1 / members] * members
    if len(weights) != members:
        raise ConfigError(f"weights: expected {members}, one a scores file, received {len(weights)}")
    for weight in weights:
        if not (isfinite(weight) and weight > 0):
            raise ConfigError(f"weights: expected finite numbers more than 0, received {weight}")
    total = sum(weights)
    return [weight / total for weight in weights]


def _task_of(sources: Sequence[Path]) -> str:
    runs = [source for source in sources if (source / CONFIG_TOML).is_file()]
    return read_config(runs[0] / CONFIG_TOML).task if runs else "review-sentiment"


def _scores_of(source: Path) -> Path:
    """The scores file that a source means: itself, or that of a run's folder."""
    if not source.is_dir():
        return source
    if not (source / SCORES).is_file():
        raise ConfigError(
            f"{source}: no {SCORES} in this folder; score the table with the run first: kerastune score "
            f"{source} --input FILE"
        )
    return source / SCORES


def _load(path: Path, rows: Dataset) -> Scores:
    scores = load_scores(path, rows.task)
    require_ids(
        scores.ids,
        rows.ids,
        name=str(path),
        of=rows.name,
        lines=range(2, len(scores.ids) + 2),
        way_out="average scores of this very table",
    )
    return scores
