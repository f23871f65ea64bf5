"""`kerastune calibrate`: fit a calibration to a run on held-out rows, and keep it with the adapter."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerastune.calibration import Calibration, FittedOn, check_methods, content_free_rows, fit_calibration
from kerastune.dataset import Dataset, read_dataset
from kerastune.environment import sha256_of_files
from kerastune.errors import DataError
from kerastune.run import ADAPTER, MANIFEST, Run


def calibrate(
    run: Run,
    dataset: Dataset,
    methods: Sequence[str] | None = None,
    *,
    tune_threshold: bool = True,
    priors: str | Sequence[float] = "uniform",
    unlabelled: Dataset | None = None,
    show: bool = True,
) -> Calibration:
    """Fit a calibration to a run's scores of held-out rows; from then on the run's scores are calibrated.

    Args:
        run: A finished run. A calibration that it has is replaced.
        dataset: Validation rows: neither those of the training nor those of the test. Without labels only
            contextual and batch can be fitted, and nothing is measured.
        methods: What is fitted. One of `"contextual"` (divide by what content-free inputs get) and `"batch"`
            (take the mean over the rows), one of `"temperature"` and `"bias"` (a temperature and a bias a
            label), and `"prior"`. None chooses `"bias"` where each label has rows enough, else
            `"temperature"`.
        tune_threshold: Whether to tune the decision for the task's metric too; see `fit_calibration`.
        priors: For prior: `"uniform"`, a share a label, or `"em"` to estimate those of `unlabelled`.
        unlabelled: For batch and `priors="em"`: the rows that will be scored. Their labels are not read.
        show: Whether to show progress.

    Returns:
        The calibration, which is also written to the adapter's folder.

    Raises:
        ConfigError: Methods or priors are refused, or lack what they need.
        DataError: The rows are those of the training, or their labels are of one class only.
        OutputError: The folder cannot be written.
    """
    _refuse_training_rows(run, dataset)
    # Before anything is scored: what is refused should not cost that.
    chosen = None if methods is None else check_methods(methods)
    if dataset.labels is not None and len(set(dataset.labels.tolist())) == 1:
        only = dataset.task.labels[dataset.labels[0]]
        raise DataError(
            f"{dataset.name}: all {len(dataset)} rows have the label {only!r}; calibration needs rows of two "
            "labels or more"
        )
    content_free = None
    if chosen is not None and "contextual" in chosen:
        content_free = run.score(content_free_rows(dataset), calibrated=False, show=False).log_probabilities
    others = None if unlabelled is None else run.score(unlabelled, calibrated=False, show=show)
    fit = fit_calibration(
        run.score(dataset, calibrated=False, show=show).log_probabilities,
        dataset.labels,
        chosen,
        metric=dataset.task.metric,
        tune_threshold=tune_threshold,
        content_free=content_free,
        unlabelled=None if others is None else others.log_probabilities,
        priors=priors,
    )
    card = run.session.card
    calibration = Calibration(
        labels=card.labels,
        label_words=card.label_words,
        methods=fit.methods,
        scale=fit.scale,
        bias=tuple(fit.bias.tolist()),
        decision_offsets=tuple(fit.decision_offsets.tolist()),
        fitted_on=FittedOn(
            rows=len(dataset),
            source=dataset.name,
            sha256=dataset.sha256,
            metric=dataset.task.metric,
            reason=fit.reason,
            before=fit.before,
            after=fit.after,
        ),
    )
    calibration.save(run.folder / ADAPTER)
    return calibration


def calibrate_file(
    folder: Path,
    file: Path,
    options: Mapping[str, Any],
    methods: Sequence[str] | None = None,
    *,
    labelled: bool = True,
    tune_threshold: bool = True,
    priors: str | Sequence[float] = "uniform",
    unlabelled: Path | None = None,
) -> Calibration:
    """Calibrate a run on a table, as `calibrate` does.

    Args:
        folder: The run's folder.
        file: The table.
        options: Options that replace the run's, such as `backend`.
        methods: See `calibrate`.
        labelled: Whether the table's labels are read.
        tune_threshold: See `calibrate`.
        priors: See `calibrate`.
        unlabelled: A table of the rows that will be scored.
    """
    # Only likelihoods are calibrated: text that a run generates besides would be for nothing.
    run = Run.load(folder, {"mode": "likelihood", **options})
    return calibrate(
        run,
        read_dataset(file, run.config.task, labelled=labelled),
        methods,
        tune_threshold=tune_threshold,
        priors=priors,
        unlabelled=read_dataset(unlabelled, run.config.task, labelled=False) if unlabelled else None,
    )


def _refuse_training_rows(run: Run, dataset: Dataset) -> None:
    """Refuse rows of the table that the run was trained on; parts of it that were held out may be used."""
    if dataset.sha256 is None or not run.config.train.epochs or not (run.folder / MANIFEST).is_file():
        return
    manifest = json.loads((run.folder / MANIFEST).read_text(encoding="utf-8"))
    trained, rows = manifest["train"]["sha256"], manifest["train"]["rows"]
    named = run.config.train_file
    if dataset.sha256 == trained and dataset.source is not None and dataset.source.is_file():
        # `Dataset.split` gives parts of one file: together they have no more rows than it.
        whole = len(read_dataset(dataset.source, dataset.task, labelled=False))
        refused = rows + len(dataset) > whole
    else:
        refused = dataset.sha256 == trained or (
            named is not None and Path(named).is_file() and dataset.sha256 == sha256_of_files([Path(named)])
        )
    if refused:
        raise DataError(
            f"{dataset.name}: has the rows that {run.folder} was trained on, of which the model is surer "
            "than of any others; calibrate on rows that were held out"
        )
