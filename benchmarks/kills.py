"""Kill real processes at random points, start them again, and compare with what was never killed.

Each round, on each stack: training is killed by the clock and at a random change of the disk, scoring and
the writing of the submission likewise, and so is the conversion of a GGUF file. What was killed is started
again with the same command until it ends. The adapter, the submission and the converted model must have the
same bytes as those of a process that nobody killed, and nothing half-written may lie about.

    python benchmarks/kills.py --rounds 20

The processes are forked off one that has the libraries imported, so that a round costs seconds. The models
are small and random.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

ROWS = 2600
_TRIES = 4
_LEFT = re.compile(r"\..+\.[a-z0-9_]{8}|\.lock")
# Changes of the disk, as Python's audit events name them.
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod")


class Stage:
    """One thing that is done in a process of its own.

    Args:
        name: Its name in the table.
        folder: Where its files go; emptied before each round.
        work: What the process does.
        result: The hash of what is to come out.
    """

    def __init__(self, name: str, folder: Path, work: Callable[[], int], result: Callable[[], str]) -> None:
        self.name, self.folder, self.work, self.result = name, folder, work, result
        self.expected = ""
        self.anew()
        self.changes = int(self.run(count=True) or 0)
        begun = time.monotonic()
        self.anew()
        self.run()
        self.seconds = time.monotonic() - begun
        self.expected = result()

    def anew(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def run(
        self, *, kill_after: float | None = None, kill_at: int | None = None, count: bool = False
    ) -> int | None:
        """Run the work in a process; None where it was killed, else, counted, its changes of the disk."""
        log = self.folder.parent / "log.txt"
        child = os.fork()
        if not child:
            _become(self.work, log, self.folder, kill_at)
        if kill_after is not None:
            end = time.monotonic() + kill_after
            while time.monotonic() < end:
                if os.waitpid(child, os.WNOHANG) != (0, 0):
                    return 0
                time.sleep(0.002)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return None
        # What was killed at its very end is finished, and refuses to be done again.
        if os.WEXITSTATUS(status) and (not self.expected or self.result() != self.expected):
            raise SystemExit(f"{self.name}: ended with {os.WEXITSTATUS(status)}:\n{log.read_text()[-2000:]}")
        return int((self.folder.parent / "changes.txt").read_text()) if count else 0

    def round(self, draw: random.Random, by_clock: bool) -> int:
        """Kill, start again, compare; how many kills there were.

        Raises:
            SystemExit: The result is another, or something was left behind.
        """
        kills = tries = 0
        self.anew()
        while kills < 2 and tries < _TRIES:  # what was resumed is killed once more
            tries += 1
            how: dict[str, Any] = (
                {"kill_after": draw.uniform(0, self.seconds)}
                if by_clock
                else {"kill_at": draw.randrange(max(self.changes, 1))}
            )
            if self.run(**how) is None:
                kills += 1
            elif kills:
                break
            else:  # it was done sooner than that
                self.anew()
        else:
            self.run()
        if self.result() != self.expected:
            raise SystemExit(f"{self.name}: another result after {kills} kills, the last one {how}")
        if left := [path.name for path in self.folder.rglob("*") if _LEFT.fullmatch(path.name)]:
            raise SystemExit(f"{self.name}: left behind after {kills} kills, the last one {how}: {left}")
        return kills


def _become(work: Callable[[], int], log: Path, folder: Path, kill_at: int | None) -> None:
    """The child: do the work, count changes of the disk under a folder, and be killed at one of them."""
    changes = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        writing = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not (writing or event in _CHANGES) or not str(arguments[0]).startswith(str(folder)):
            return
        if changes == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        changes += 1

    status = 1
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.addaudithook(watch)
        status = work()
        (folder.parent / "changes.txt").write_text(str(changes))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def sha256(*paths: Path) -> str:
    """Hash files; `missing` where one is not there."""
    if not all(path.is_file() for path in paths):
        return "missing"
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def stages(stack: str, work: Path) -> list[tuple[Stage, bool]]:
    """The stages of a stack, each with whether it is killed by the clock."""
    from kerastune.cli import main
    from kerastune.models import resolve_model
    from tests.conftest import COMMENTS, CORPUS, LABELS, write_tokenizer_folder
    from tests.tiny_gguf import write_gguf
    from tests.tiny_models import write_model

    model, table, many = work / "model", work / "train.tsv", work / "test.tsv"
    model.mkdir(parents=True)
    write_tokenizer_folder(model, CORPUS)
    write_model(model, "gemma3", len(json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]))
    rows = [f"{text}\t{label}" for text, label in zip(COMMENTS, LABELS, strict=True)] * 4
    table.write_text("id\tcomment\tlabel\n" + "".join(f"r{n}\t{row}\n" for n, row in enumerate(rows)))
    many.write_text(
        "id\tcomment\n" + "".join(f"t{n}\t{COMMENTS[n % len(COMMENTS)]} {n % 97}\n" for n in range(ROWS))
    )
    write_gguf(work / "tiny.gguf")
    run, scored, cache = work / "train" / "run", work / "score", work / "convert" / "cache"
    words = ["--model", model, "--stack", stack, "--max-length", 96, "--batch-size", 5, "--epochs", 2,
             "--rank", 4, "--checkpoint-steps", 2, "--validation", table]  # fmt: skip
    training = ["train", "--train", table, "--out", run, *words]
    adapter = [run / "adapter" / name for name in ("adapter_model.safetensors", "adapter_config.json")]

    def trained() -> str:
        return sha256(*adapter) if (run / "manifest.json").is_file() else "no manifest"

    def converted() -> str:
        found = sorted(path for path in cache.glob("models/*/*") if path.is_file())
        return sha256(*found) if found else "missing"

    def call(*arguments: Any) -> Callable[[], int]:
        return lambda: main(list(map(str, arguments)))

    train = Stage("training", run.parent, call(*training), trained)
    finished = work / "finished"
    shutil.copytree(run, finished)
    submission = scored / "s.tsv"
    scoring = ["score", scored / "run", "--input", many, "--out", submission]

    class Scoring(Stage):
        def anew(self) -> None:
            super().anew()
            shutil.copytree(finished, scored / "run")

    manifest = submission.with_name("s.tsv.manifest.json")
    score = Scoring("scoring", scored, call(*scoring), lambda: sha256(submission, manifest))
    convert = Stage(
        "conversion", cache.parent, lambda: _convert(resolve_model, work / "tiny.gguf", cache), converted
    )
    return [
        (train, True), (train, False), (score, True), (score, False), (convert, True), (convert, False),
    ]  # fmt: skip


def _convert(resolve_model: Any, source: Path, cache: Path) -> int:
    resolve_model(str(source), cache_dir=cache)
    return 0


def run_stack(stack: str, rounds: int, seed: int) -> dict[str, Any]:
    """Do the rounds on one stack; what was killed how often."""
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    with tempfile.TemporaryDirectory(prefix="kerastune_kills_") as folder:
        os.environ["KERASTUNE_CACHE"] = str(Path(folder) / "cache")
        _import(stack)
        begun, draw, kills = time.monotonic(), random.Random(seed), Counter[str]()
        todo = stages(stack, Path(folder))
        for number in range(rounds):
            for stage, by_clock in todo:
                kills[f"{stage.name}, {'by the clock' if by_clock else 'at a change of the disk'}"] += (
                    stage.round(draw, by_clock)
                )
            print(f"{stack}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return {
        "stack": stack,
        "rounds": rounds,
        "kills": dict(kills),
        "kills in all": sum(kills.values()),
        "seconds": round(time.monotonic() - begun),
    }


def _import(stack: str) -> None:
    """Import what the children need, and start nothing that a fork would tear."""
    import pandas  # noqa: F401
    import sklearn  # noqa: F401

    if stack == "keras":
        from kerastune.keras_stack.backend import import_keras
        from kerastune.models.cache import cache_root

        import_keras("jax", cache_root())
        import kerastune.keras_stack.loss  # noqa: F401
    else:
        import peft  # noqa: F401
        import torch
        import transformers  # noqa: F401

        import hf_bridge.training  # noqa: F401

        torch.set_num_threads(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stacks", default="keras,hf")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    stacks = args.stacks.split(",")
    if args.here:
        print(json.dumps(run_stack(stacks[0], args.rounds, args.seed)))
        return
    for stack in stacks:  # a process each: a fork takes one stack's libraries, and no other's threads
        words = ["--here", "--stacks", stack, "--rounds", str(args.rounds), "--seed", str(args.seed)]
        subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()
