"""Scoring a table with a run, from file to submission; killed at any point, it goes on where it was."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kerastune.atomic import clear_leftovers
from kerastune.dataset import Dataset, read_dataset
from kerastune.json_files import json_hash
from kerastune.partial_scores import PartialScores, open_partial, require_plain_ids
from kerastune.run import Run
from kerastune.submission import Format, default_submission_name, manifest_path, require_submittable

SCORES, PARTIAL = "scores.tsv", "scores.partial"


@dataclass(frozen=True)
class Submitted:
    """A submission that was written: its file, its rows, and how often generated text was no label."""

    path: Path
    rows: int
    invalid_rate: float | None


def score_file(
    folder: Path,
    file: Path,
    out: Path | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    format: Format | None = None,
    sample: Path | None = None,
    restart: bool = False,
    show: bool = True,
    on_resume: Callable[[int, int], None] | None = None,
) -> Submitted:
    """Score a table with a run and write its submission; the scores stay in the run's folder.

    Rows are scored a chunk at a time, and each chunk is on disk before the next one is begun. Started again
    after a kill with the same command, it goes on after the last chunk, to the same bytes.

    Args:
        folder: The run's folder.
        file: The table; a label column in it is not read.
        out: The submission; named by date and time when None, or as the scoring that is gone on with was.
        options: Options that replace the run's, such as `mode`.
        format: `"tsv"` or `"csv"`, over the extension.
        sample: A sample submission, whose rows must be the table's; its columns and format are followed.
        restart: Whether to score every row anew, whatever is there of an earlier scoring.
        show: Whether to show progress.
        on_resume: Called with the rows that have scores already and all rows, where there are some.

    Raises:
        ConfigError: The folder is no run, or holds unfinished scores of another file, adapter or options.
        DataError: The table or the sample cannot be read as it is, or they do not go together.
        OutputError: Something cannot be written; what was scored is kept.
    """
    run = Run.load(folder, options)
    calibration = run.calibration
    rows = read_dataset(file, run.config.task, labelled=False)
    require_plain_ids(rows.ids, rows.name)
    with open_partial(
        folder / PARTIAL,
        rows.ids,
        rows.task.labels,
        generates=run.config.score.mode == "generate",
        identity=_identity(run, rows),
        restart=restart,
    ) as partial:
        path = out or partial.out
        form = require_submittable(path, rows, format=format, sample=sample)
        path = path or Path(default_submission_name(datetime.now(), form.format))
        clear_leftovers(folder, SCORES)
        clear_leftovers(path.parent, path.name, manifest_path(path).name)
        if partial.rows and on_resume is not None:
            on_resume(partial.rows, len(rows))
        if not partial.complete:
            _score_the_rest(run, rows, partial, path, show)
        scores = partial.scores if calibration is None else calibration.apply_to_scores(partial.scores)
        scores.save(folder / SCORES)
        run.write_submission(scores, rows, path, format=format, sample=sample)
    return Submitted(path, len(rows), scores.invalid_rate)


def _score_the_rest(run: Run, rows: Dataset, partial: PartialScores, path: Path, show: bool) -> None:
    session = run.session
    with closing(session.score_chunks(rows, start=partial.rows, show=show)) as chunks:
        info = asdict(session.stack.info)
        partial.begin(path, {name: info[name] for name in ("stack", "backend", "device", "dtype")})
        for chunk in chunks:
            partial.append(chunk)


def _identity(run: Run, rows: Dataset) -> dict[str, str]:
    """What decides the numbers, before any calibration: that is applied to the whole at the end."""
    made_of = run.provenance()
    return {
        "input": str(rows.sha256),
        "base model": made_of["base_fingerprint"],
        "adapter": made_of["adapter_sha256"],
        "options": json_hash(asdict(run.config)),
        "versions": json_hash(made_of["versions"]),
    }
