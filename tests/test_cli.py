"""The command line, in process."""

import json
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from kerastune import pull
from kerastune.adapter import read_peft
from kerastune.cli import main
from kerastune.config_file import read_config
from tests.test_imports import HEAVY

COMMANDS = [
    ["run"], ["train"], ["score"], ["ensemble"], ["evaluate"], ["calibrate"], ["preview"], ["convert"],
    ["merge"], ["report"], ["card"], ["push"], ["verbalizers"], ["data", "report"], ["data", "pull", "tarr"],
]  # fmt: skip


@pytest.fixture
def kerastune(capsys, monkeypatch, tmp_path):
    """Call a command in an empty folder; its status, what it printed and what it complained of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words):
        status = main(list(map(str, words)))
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_help_lists_the_commands(kerastune):
    status, out, _ = kerastune("--help")
    assert status == 0
    assert all(command[0] in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_an_example(kerastune, command):
    status, out, _ = kerastune(*command, "--help")
    assert status == 0
    assert f"Example: kerastune {' '.join(command)}" in out


def test_called_with_nothing_it_shows_the_help(kerastune):
    status, out, err = kerastune()
    assert (status, err) == (2, "")
    assert "Usage: kerastune" in out


def test_help_loads_nothing_heavy():
    code = "import sys; from kerastune.cli import main; main(['--help']); print('LOADED', *sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in answer.stdout.partition("LOADED")[2].split()}
    assert "typer" in loaded
    assert not loaded & (HEAVY | {"pandas", "click"})


def test_as_a_module():
    answer = subprocess.run(
        [sys.executable, "-m", "kerastune", "score"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith("kerastune: Missing option '--input'")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["foo"], "No such command 'foo'"),
        (["train"], "Missing option '--out'"),
        (["train", "--out"], "Option '--out' requires an argument"),
        (["train", "--out", "a"], "no training table; give one with --train FILE, or train_file in the TOML"),
        (["train", "--ou", "a"], "No such option: --ou"),
        (["train", "--out", "a", "--rank", "x"], "Invalid value for '--rank'"),
        (["train", "--out", "a", "--rank", "0"], "rank: expected 1 or more, received 0"),
        (["train", "--out", "a", "--targets", " query , valeu"], "no layer 'valeu' can be adapted; did"),
        (["train", "--out", "a", "--targets", ""], "targets: expected one layer name or more, received ()"),
        (["train", "--out", "a", "--config", "c.toml"], "c.toml: cannot read: No such file or directory"),
        (["score", "runs/x", "--input", "x.tsv"], "runs/x: no folder of a run: it has no config.toml"),
        (["preview", "--input", "x.tsv"], "x.tsv: no such file"),
        (["convert", "x.lora.h5", "--out", "a"], "x.lora.h5: expected a .lora.h5 file or an "),
        (["convert", "x", "--out", "a", "--backend", "flax"], "backend: expected 'jax' or 'tensorflow' or"),
        (["merge", "x", "--out", "a"], "x: there is no such folder; expected an adapter's or a run's"),
        (["merge", "x", "--out", "a", "--format", "gguf"], "format: expected 'hf' or 'keras', received"),
        (["merge", "x", "--out", "a", "--dtype", "int8"], "dtype: expected 'auto' or 'float32' or"),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_line(kerastune, tmp_path, words, said):
    status, out, err = kerastune(*words)
    assert (status, out) == (2, "")
    assert err.startswith("kerastune: ")
    assert said in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_on_request(kerastune):
    status, _, err = kerastune("--traceback", "preview", "--input", "x.tsv")
    assert status == 2
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("kerastune: x.tsv: no such file")


def test_an_error_of_our_own_says_so(kerastune, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("kerastune.row_preview.preview_file", broken)
    status, _, err = kerastune("preview", "--input", "x.tsv")
    assert status == 1
    assert err == (
        "kerastune: ZeroDivisionError: two lines; this is an error of kerastune, --traceback shows where\n"
    )


def test_interrupted(kerastune, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("kerastune.row_preview.preview_file", interrupted)
    status, _, err = kerastune("preview", "--input", "x.tsv")
    assert (status, err.strip()) == (130, "kerastune: interrupted")


def test_an_unknown_option_in_toml_has_its_near_name(kerastune, tmp_path):
    (tmp_path / "c.toml").write_text("[train]\nepoch = 2\n")
    status, _, err = kerastune("train", "--config", "c.toml", "--out", "a")
    assert status == 2
    assert err == "kerastune: c.toml: train: unknown option 'epoch'; did you mean 'epochs'?\n"


def test_report(kerastune, tiny_model, reviews_file):
    status, out, _ = kerastune(
        "data", "report", "--train", reviews_file, "--test", reviews_file, "--model", tiny_model.path,
        "--max-length", 24,
    )  # fmt: skip
    assert status == 0
    assert "0: 5, 1: 5" in out
    assert "longer than 24 tokens" in out
    assert "[yellow]" not in out


def test_preview(kerastune, tiny_model, reviews_file):
    words = ["preview", "--input", reviews_file, "--row", 1, "--model", tiny_model.path]
    status, out, _ = kerastune(*words, "--template", "movie-cloze")
    assert status == 0
    assert "id r1, template movie-cloze" in out
    assert "⟦·별로⟧" in out


def test_pull_offline(kerastune, monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port  # free again below: nobody listens there
    monkeypatch.setitem(pull.pull_tarr.__kwdefaults__, "base_url", f"http://127.0.0.1:{port}")
    monkeypatch.setitem(pull.pull_tarr.__kwdefaults__, "wait_s", 0.0)
    status, _, err = kerastune("data", "pull", "tarr", "--out", "tarr")
    assert status == 2
    assert re.fullmatch(r"kerastune: http://\S+: cannot be fetched: .*see to the network.*\n", err)
    assert list(tmp_path.iterdir()) == []


def test_train_score_evaluate(kerastune, tiny_model, reviews_file, tmp_path):
    (tmp_path / "options.toml").write_text(
        f"train_file = {json.dumps(str(reviews_file))}\n[model]\nmodel = {json.dumps(str(tiny_model.path))}\n"
        "[train]\nepochs = 7\nbatch_size = 5\naccumulate = 1\nmax_length = 96\n"
    )
    status, out, _ = kerastune(
        "train", "--config", "options.toml", "--epochs", 1, "--targets", "query, v_proj", "--rank", 2,
        "--validation", reviews_file, "--out", "run",
    )  # fmt: skip
    assert status == 0
    assert "10 rows x 1 epoch(s), 2 steps of 5 x 1 rows" in out
    assert "kept epoch 1, validation loss" in out
    assert "going on from the checkpoint" not in out
    config = read_config(tmp_path / "run" / "config.toml")
    assert (config.train.epochs, config.train.batch_size, config.lora.rank) == (1, 5, 2)
    assert config.lora.targets == ("query", "v_proj")

    status, out, _ = kerastune("score", "run", "--input", reviews_file)
    assert status == 0
    (submission,) = tmp_path.glob("*.txt")
    assert re.fullmatch(r"tarr_my_submit_\d{8}_\d{6}\.txt", submission.name)
    assert f"{submission.name}: 10 rows, written, read back and compared" in out
    table = pd.read_csv(submission, sep="\t", dtype=str)
    assert list(table["id"]) == [f"r{number}" for number in range(10)]

    status, out, _ = kerastune("evaluate", "run", "--input", reviews_file, "--score-batch-size", 5)
    assert status == 0
    measured = json.loads((tmp_path / "run" / "metrics.json").read_text())["reviews"]
    assert {"model", "tfidf", "majority"} <= set(measured)
    assert measured["leakage"]["exact"] == 10  # judged on the rows that it was trained on
    labels = [row.rsplit("\t", 1)[1] for row in reviews_file.read_text().splitlines()[1:]]
    right = sum(found == label for found, label in zip(table["label"], labels, strict=True))
    assert measured["model"]["accuracy"] == right / 10
    assert f"{right / 10:.3f} (" in out


def test_a_run_that_goes_on_says_so(kerastune, tiny_run, reviews_file, monkeypatch, tmp_path):
    def killed(*_, **__):
        raise KeyboardInterrupt

    words = ["train", "--train", reviews_file, "--model", tiny_run.config.model.model, "--out", "run",
             "--epochs", 1, "--batch-size", 5, "--max-length", 96]  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr("kerastune.fine_tuning.write_adapter", killed)
        assert kerastune(*words)[0] == 130
    status, _, err = kerastune("score", "run", "--input", reviews_file)
    assert status == 2
    assert (
        err
        == "kerastune: run: its training has not ended; start it again as before to go on, with --out run\n"
    )
    status, out, _ = kerastune(*words)
    assert status == 0
    assert "going on from the checkpoint that is there" in out
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["training"]["loss"] > 0


def test_a_run_is_merged_and_converted(kerastune, tiny_run, reviews_file):
    status, out, err = kerastune("merge", tiny_run.folder, "--out", "merged", "--input", reviews_file)
    assert status == 0, err
    assert out.startswith(
        "merged: hf format, float32 weights\nlogits before and after on 8 rows: largest diff"
    )
    status, out, err = kerastune("convert", tiny_run.folder, "--out", "it.lora.h5", "--compact", 2)
    assert status == 0, err
    modules = len(read_peft(tiny_run.folder / "adapter"))
    assert out.startswith(f"it.lora.h5: {modules} layers, rank 2\nleft out (relative Frobenius norm): ")
    assert "\nload it with: backbone.enable_lora(2, ['" in out
    status, out, err = kerastune(
        "convert", "it.lora.h5", "--model", tiny_run.config.model.model, "--out", "back"
    )
    assert status == 0, err
    assert out == f"back: {modules} layers, rank 2 and 8\n"  # four query heads
