"""The defaults on NSMC, movie reviews that are not this project's: a few hundred rows, and a few thousand.

NSMC (CC0) is not in the project; give the folder of `ratings_train.txt` and `ratings_test.txt`. Each seed
draws its training rows anew. Test rows whose text is in the training file are removed (1,571 of 50,000), and
of the others a fixed sample is scored. Options are chosen on rows of the training file that were held out
(`--on validation`), and only what was chosen is measured on the test sample (`--on test`).

    python benchmarks/nsmc.py --data nsmc --rows 2000 --stacks hf --on validation --set rank=4 --set epochs=2

Each stack runs in a process of its own. TF-IDF with logistic regression learns the same rows.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from side_by_side import at_least_one, machine, write_json

from kerastune.baselines import tfidf_baseline
from kerastune.config import RunConfig
from kerastune.dataset import Dataset, read_dataset
from kerastune.environment import peak_memory_gb
from kerastune.evaluation import measure, wilson_interval
from kerastune.fine_tuning import train_in_session
from kerastune.session import open_session

_HELD_OUT, _SAMPLE_SEED = 5_000, 0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one stack came to, a number a seed."""

    stack: str
    dtype: str
    accuracies: list[float]
    log_losses: list[float]
    tfidf: list[float]
    untrained: float
    train_seconds: list[float]
    score_seconds: list[float]
    scored_rows: int
    peak_memory_gb: float


def read_table(path: Path) -> pd.DataFrame:
    """Read a file of NSMC; the few rows that have no text are left out."""
    table = pd.read_csv(path, sep="\t", quoting=3, dtype=str, keep_default_na=False)
    table = table.rename(columns={"document": "comment"})
    return table[table["comment"].str.strip() != ""].reset_index(drop=True)


def draw(table: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """Draw rows without replacement, in a seeded order."""
    order = np.random.default_rng(seed).permutation(len(table))
    return table.iloc[order[:rows]].reset_index(drop=True)


def read_rows(args: argparse.Namespace, seed: int) -> tuple[Dataset, Dataset]:
    """The training rows of a seed, and the rows that are scored."""
    train = read_table(args.data / "ratings_train.txt")
    shuffled = draw(train, len(train), _SAMPLE_SEED)
    held_out, rest = shuffled[:_HELD_OUT], shuffled[_HELD_OUT:]
    if args.on == "test":
        test = read_table(args.data / "ratings_test.txt")
        scored = draw(test[~test["comment"].isin(set(train["comment"]))], args.scored_rows, _SAMPLE_SEED)
    else:
        scored = held_out[: args.scored_rows].reset_index(drop=True)
        rest = rest[~rest["comment"].isin(set(scored["comment"]))]
    return read_dataset(draw(rest, args.rows, seed)), read_dataset(scored)


def measure_stack(args: argparse.Namespace) -> Result:
    """Train and score once a seed, with the base loaded once."""
    chosen = dict(pair.split("=", 1) for pair in args.set)
    given = {"template": "movie-cloze", "stack": args.stacks[0], **{k: _value(v) for k, v in chosen.items()}}
    session = open_session(RunConfig().with_options(given))
    config, seen = session.config, []
    untrained = measure(session.score(read_rows(args, 0)[1]), read_rows(args, 0)[1]).accuracy
    for seed in range(args.seeds):
        train, scored = read_rows(args, seed)
        session.config = config.with_options({"seed": seed})
        with tempfile.TemporaryDirectory() as folder:
            run = train_in_session(session, train, Path(folder) / "run")
        began = time.perf_counter()
        metrics = measure(run.score(scored), scored)
        tfidf = float(np.mean(tfidf_baseline(train).predict(scored.texts) == scored.labels))
        train_seconds = run.trained.seconds if run.trained else 0.0
        seen.append((metrics, tfidf, train_seconds, time.perf_counter() - began))
        print(f"seed {seed}: {metrics.accuracy:.4f}, TF-IDF {tfidf:.4f}", file=sys.stderr, flush=True)
    return Result(
        stack=args.stacks[0],
        dtype=session.stack.info.dtype,
        accuracies=[metrics.accuracy for metrics, *_ in seen],
        log_losses=[metrics.log_loss or 0.0 for metrics, *_ in seen],
        tfidf=[tfidf for _, tfidf, *_ in seen],
        untrained=untrained,
        train_seconds=[seconds for *_, seconds, _ in seen],
        score_seconds=[seconds for *_, seconds in seen],
        scored_rows=args.scored_rows,
        peak_memory_gb=peak_memory_gb(),
    )


def _value(text: str) -> Any:
    """A flag's text as the number that it is, or as it stands; several targets have commas between them."""
    try:
        return json.loads(text)
    except ValueError:
        return tuple(text.split(",")) if "," in text else text


def main() -> None:
    """Run each stack and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of NSMC's two files")
    parser.add_argument(
        "--rows", type=at_least_one, default=2000, help="training rows (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=at_least_one, default=3, help="default: %(default)s")
    parser.add_argument("--stacks", nargs="+", choices=("keras", "hf"), default=["keras", "hf"])
    parser.add_argument("--on", choices=("validation", "test"), default="validation")
    parser.add_argument("--scored-rows", type=at_least_one, default=5000, help="default: %(default)s")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--side", action="store_true", help="run the one stack in this process")
    args = parser.parse_args()
    if args.side:
        write_json(args.json, asdict(measure_stack(args)))
        return
    results = []
    for stack in args.stacks:
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "side.json"
            words = [sys.executable, __file__, "--side", "--stacks", stack, "--json", result]
            for name in ("data", "rows", "seeds", "on", "scored_rows"):
                words += [f"--{name.replace('_', '-')}", getattr(args, name)]
            words += [word for pair in args.set for word in ("--set", pair)]
            subprocess.run([str(word) for word in words], check=True)
            results.append(Result(**json.loads(result.read_text(encoding="utf-8"))))
    table = Table()
    for column in ("", *(result.stack for result in results)):
        table.add_column(column, justify="left" if not column else "right")
    for name, cells in (
        ("accuracy, mean and sd", [_spread(result.accuracies) for result in results]),
        ("95 % interval of the mean", [_interval(result) for result in results]),
        ("log-loss", [f"{mean(result.log_losses):.3f}" for result in results]),
        ("TF-IDF", [_spread(result.tfidf) for result in results]),
        ("untrained", [f"{result.untrained:.3f}" for result in results]),
        ("seconds to train", [f"{mean(result.train_seconds):.0f}" for result in results]),
        ("seconds to score", [f"{mean(result.score_seconds):.0f}" for result in results]),
        ("peak memory (GB)", [f"{result.peak_memory_gb:.2f}" for result in results]),
        ("dtype", [result.dtype for result in results]),
    ):
        table.add_row(name, *cells)
    console = Console(markup=False, highlight=False)
    chosen = f"; {', '.join(args.set)}" if args.set else ""
    console.print(
        f"NSMC: {args.rows} training rows, {args.scored_rows} {args.on} rows, seeds: {args.seeds}{chosen}"
    )
    console.print(table)
    if args.json:
        content = {"rows": args.rows, "on": args.on, "set": args.set, "machine": machine()}
        write_json(args.json, {**content, "results": [asdict(result) for result in results]})


def _spread(values: list[float]) -> str:
    return f"{mean(values):.3f}" + (f" +- {stdev(values):.3f}" if len(values) > 1 else "")


def _interval(result: Result) -> str:
    right = round(mean(result.accuracies) * result.scored_rows)
    return "{:.3f} to {:.3f}".format(*wilson_interval(right, result.scored_rows))


if __name__ == "__main__":
    main()
