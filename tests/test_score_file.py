"""Scoring a table with a run: killed by the system at many points, it ends with the same bytes."""

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest

import kerastune as kt
from kerastune import score_file as module
from kerastune.cli import main
from kerastune.errors import ConfigError, DataError
from kerastune.run import Run
from kerastune.saved_scores import load_scores
from kerastune.score_file import score_file
from kerastune.scoring import CHUNK
from kerastune.stack import StackInfo
from tests.conftest import COMMENTS

ROWS = 5000
WRITTEN = ("run/scores.tsv", "s.tsv", "s.tsv.manifest.json")

# The packages are imported once; every attempt is a process of its own, which the system kills for good.
SCRIPT = """
import json, os, pathlib, signal
import hf_bridge, kerastune.console, peft, torch
import transformers.models.gemma3.modeling_gemma3
from kerastune.cli import main
from kerastune.run import Run

def attempt(folder, dies_in=None, at=0):
    process = os.fork()
    if not process:
        os.chdir(folder)
        if dies_in is not None:
            where, name = dies_in
            whole, calls = getattr(where, name), []
            def dying(*given, **options):
                calls.append(name)
                if len(calls) == at:
                    if name == "write":
                        whole(given[0], bytes(given[1])[: len(given[1]) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
                return whole(*given, **options)
            setattr(where, name, dying)
        os._exit(main(["score", "run", "--input", "../test.tsv", "--out", "s.tsv"]))
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

def rows():
    found = pathlib.Path("killed/run/scores.partial")
    return found.read_bytes().count(b"\\n") - 1 if found.exists() else None

stack = hf_bridge.HfStack
points = [((stack, "load_adapter"), 1), ((os, "write"), 1), ((stack, "label_logits"), 70), ((os, "write"), 1),
          ((stack, "label_logits"), 90), ((os, "write"), 1),
          ((Run, "write_submission"), 1), ((pathlib.Path, "replace"), 3), (None, 0)]
ends = [attempt("whole")]
for dies_in, at in points:
    ends.append((attempt("killed", dies_in, at), rows()))
print(json.dumps(ends))
"""


@pytest.fixture(scope="module")
def hf_run(train_tiny):
    return train_tiny(stack="hf")


def long_table(path):
    rows = [f"k{n}\t{COMMENTS[n % 10]} {COMMENTS[n // 10 % 10][: n % 13]} {n}" for n in range(ROWS)]
    path.write_text("\n".join(["id\tcomment", *rows]) + "\n", encoding="utf-8")


def test_killed_at_many_points_it_ends_with_the_same_bytes(hf_run, tmp_path):
    long_table(tmp_path / "test.tsv")
    for name in ("whole", "killed"):
        shutil.copytree(hf_run.folder, tmp_path / name / "run")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=tmp_path,
        env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
    )
    assert done.returncode == 0, done.stderr
    assert "going on: 2,048 of 5,000 rows were scored before" in done.stdout
    assert "going on: 5,000 of 5,000 rows were scored before" in done.stdout
    whole, *ends = json.loads(done.stdout.splitlines()[-1])
    assert whole == 0
    assert [status for status, _ in ends] == [-9] * (len(ends) - 1) + [0]
    half = CHUNK // 2
    rows = [rows for _, rows in ends]
    assert rows[:3] == [-1, -1, CHUNK]  # an empty file, half a first line, a chunk
    assert CHUNK + half - 50 < rows[3] < CHUNK + half + 50  # half of the next
    assert rows[4] == 2 * CHUNK
    assert 2 * CHUNK < rows[5] < ROWS
    assert rows[6:] == [ROWS, ROWS, None]
    for name in WRITTEN:
        content = (tmp_path / "killed" / name).read_bytes()
        assert content == (tmp_path / "whole" / name).read_bytes()
        assert content.count(b"\n") > 20
    scores = load_scores(tmp_path / "killed" / "run" / "scores.tsv")
    assert scores.ids == tuple(f"k{n}" for n in range(ROWS))
    assert len(set(scores.log_probabilities[:, 0].tolist())) > ROWS / 2


class Killed(BaseException):
    """Nothing more is done."""


class Echo:
    """A stack whose logits are the prompts' lengths."""

    dtype = "float32"

    @property
    def info(self):
        return StackInfo("keras", "jax", "cpu", self.dtype, 1, 1)

    def load_adapter(self, factors):
        pass

    def label_logits(self, batch, *_):
        return batch.padding_mask.sum(axis=1)[:, None] * [0.1, 0.2]


@pytest.fixture
def scored(tiny_run, reviews_file, tmp_path, monkeypatch):
    """Score the ten reviews with a quick stack in chunks of four; `stop` ends it after so many chunks."""
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    for place in ("scoring", "partial_scores"):
        monkeypatch.setattr(f"kerastune.{place}.CHUNK", 4)
    stack = Echo()
    monkeypatch.setattr("kerastune.session.load_stack", lambda *_: stack)

    def call(out=None, file=reviews_file, stop=None, dtype="float32", options=None, **more):
        stack.dtype, found = dtype, []
        with monkeypatch.context() as patched:
            append = module.PartialScores.append

            def counted(partial, chunk):
                if len(found) == stop:
                    raise Killed
                append(partial, chunk)
                found.append(chunk.ids[0])

            patched.setattr(module.PartialScores, "append", counted)
            try:
                return found, score_file(tmp_path / "run", file, out, options, show=False, **more)
            except Killed:
                return found, None

    return call


def test_a_default_name_is_kept_over_a_kill(scored, tmp_path, monkeypatch):
    assert scored(stop=1) == (["r0"], None)

    class Later:
        @staticmethod
        def now():
            pytest.fail("a second name was made")

    monkeypatch.setattr(module, "datetime", Later)
    resumed = []
    found, submitted = scored(on_resume=lambda *rows: resumed.append(rows))
    assert (found, resumed) == (["r4", "r8"], [(4, 10)])
    assert submitted.path.parent == tmp_path
    assert [path.name for path in tmp_path.glob("*.txt")] == [submitted.path.name]
    assert not (tmp_path / "run" / "scores.partial").exists()


def test_restart_scores_every_row(scored):
    scored(stop=2)
    assert scored(restart=True)[0] == ["r0", "r4", "r8"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"options": {"score_batch_size": 7}}, "with another options; start that command again"),
        ({"dtype": "bfloat16"}, "with another dtype; start that command again"),
        ({"file": "data"}, "with another input; start that command again"),
    ],
)
def test_unfinished_scores_of_something_else_are_refused(scored, reviews_file, tmp_path, changed, said):
    scored(stop=1)
    before = (tmp_path / "run" / "scores.partial").read_bytes()
    if "file" in changed:
        changed = {"file": tmp_path / "other.tsv"}
        changed["file"].write_text(reviews_file.read_text(encoding="utf-8") + "x\t또 올게요\t1\n", "utf-8")
    with pytest.raises(ConfigError, match=f"scores.partial: holds unfinished scores {said}"):
        scored(**changed)
    assert (tmp_path / "run" / "scores.partial").read_bytes() == before
    assert scored()[0] == ["r4", "r8"]


def test_an_adapter_trained_again_is_another(scored, tmp_path):
    scored(stop=1)
    weights = tmp_path / "run" / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ConfigError, match="with another adapter; start that"):
        scored()


def test_the_numbers_are_those_of_the_whole_and_the_model_is_not_loaded_for_none(
    scored, tmp_path, reviews_file, monkeypatch
):
    run = Run.load(tmp_path / "run")
    expected = run.score(kt.read_dataset(reviews_file), show=False)
    with monkeypatch.context() as patched:
        patched.setattr(Run, "write_submission", lambda *_, **__: (_ for _ in ()).throw(Killed))
        assert scored()[1] is None
    monkeypatch.setattr(Run, "session", property(lambda _: pytest.fail("the model was loaded")))
    found, submitted = scored()
    assert found == []
    saved = load_scores(tmp_path / "run" / "scores.tsv")
    assert saved.log_probabilities.tolist() == expected.log_probabilities.tolist()
    assert submitted.rows == 10


def test_a_calibration_is_applied_to_the_whole_at_the_end(scored, tmp_path, monkeypatch):
    scored(stop=1)

    class Flip:
        def apply_to_scores(self, scores):
            return kt.Scores(scores.ids, scores.labels, scores.log_probabilities[:, ::-1])

    raw = scored(out=tmp_path / "raw.tsv")[1]
    plain = load_scores(tmp_path / "run" / "scores.tsv")
    scored(stop=1)
    monkeypatch.setattr(Run, "calibration", Flip())
    flipped = scored(out=tmp_path / "flipped.tsv")[1]
    assert load_scores(tmp_path / "run" / "scores.tsv").log_probabilities.tolist() == (
        plain.log_probabilities[:, ::-1].tolist()
    )
    assert {line[-1] for line in raw.path.read_text(encoding="utf-8").splitlines()[1:]} == {"1"}
    assert {line[-1] for line in flipped.path.read_text(encoding="utf-8").splitlines()[1:]} == {"0"}


def test_a_manifest_names_all_that_made_it(scored, tmp_path):
    (tmp_path / "run" / "adapter" / "calibration.json").write_text("{}")
    with pytest.raises(kt.KerastuneError, match=r"calibration\.json"):
        scored()
    (tmp_path / "run" / "adapter" / "calibration.json").unlink()
    path = scored(out=tmp_path / "s.csv", format="tsv")[1].path
    assert path.read_text(encoding="utf-8").startswith("id\tcomment\tlabel\nr0\t")
    manifest = json.loads((tmp_path / "s.csv.manifest.json").read_text(encoding="utf-8"))
    assert (manifest["format"], manifest["label_counts"]) == ("tsv", {"1": 10})
    made_of = manifest["extra"]
    assert {"adapter_sha256", "config_sha256", "base_fingerprint", "versions"} < made_of.keys()
    assert made_of["options"]["score"] == {"mode": "likelihood", "score_batch_size": 32}
    assert "numpy" in made_of["versions"]


def test_a_sample_is_checked_before_anything_is_scored(scored, tmp_path):
    sample = tmp_path / "sample.csv"
    sample.write_text("label,id\n0,r1\n0,r0\n" + "".join(f"0,r{n}\n" for n in range(2, 10)), "utf-8")
    with pytest.raises(DataError, match="line 2 is 'r1' where 'r0' was expected; give the sample that"):
        scored(sample=sample)
    assert not (tmp_path / "run" / "scores.partial").exists()
    sample.write_text("label,id\n" + "".join(f"0,r{n}\n" for n in range(10)), "utf-8")
    path = scored(sample=sample)[1].path
    assert path.suffix == ".csv"
    assert path.read_text() == "label,id\n" + "".join(f"1,r{n}\n" for n in range(10))


def test_ids_that_no_scores_file_can_hold(scored, tmp_path):
    table = tmp_path / "test.csv"
    table.write_text('id,comment\n"a\tb",맛있어요\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the id 'a\\tb' has a tab or a line break"):
        scored(file=table)


def test_a_disk_that_is_full_at_the_end_costs_no_scores(scored, tmp_path, monkeypatch):

    def full(path, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path), None, str(target))

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace", full)
        with pytest.raises(kt.KerastuneError, match=r"scores\.tsv: cannot write: No space left on device"):
            scored(out=tmp_path / "s.tsv")
    assert scored()[0] == []
    assert (tmp_path / "s.tsv").read_text(encoding="utf-8").count("\n") == 11


@pytest.mark.usefixtures("scored")
def test_a_read_only_run(monkeypatch, capsys, reviews_file):
    opened = os.open

    def refuses(path, *args, **options):
        if str(path).endswith("scores.partial"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", refuses)
    assert main(["score", "run", "--input", str(reviews_file), "--out", "s.tsv"]) == 2
    assert capsys.readouterr().err == (
        "kerastune: run/scores.partial: cannot write: Read-only file system; "
        "a run's folder takes its scores, see to its permissions\n"
    )
