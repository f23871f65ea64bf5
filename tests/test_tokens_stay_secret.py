"""Nothing that is written or printed holds a token: run folders, caches, logs, submissions, tracebacks."""

import logging

import pytest

from kerastune.cli import main

SECRETS = {
    "HF_TOKEN": "hf_FAKEfake0123456789abcdef",
    "HUGGING_FACE_HUB_TOKEN": "hf_FAKEother0123456789",
    "KAGGLE_USERNAME": "fakeuser-4711",
    "KAGGLE_KEY": "FAKEkey0123456789abcdef",
    "KAGGLE_API_TOKEN": "KGAT_FAKE0123456789",
}


@pytest.fixture
def _log_afresh():
    """The log file is chosen once for a process: choose it again here, and leave the process as it was."""
    own, root = logging.getLogger("kerastune"), logging.getLogger()
    before = own.handlers[:], root.handlers[:]
    own.handlers.clear()
    yield
    for handler in root.handlers:
        if handler not in before[1]:
            handler.close()
    own.handlers[:], root.handlers[:] = before
    logging.captureWarnings(False)


@pytest.mark.usefixtures("_log_afresh")
def test_nothing_that_is_written_or_printed_holds_a_token(
    tmp_path, monkeypatch, capfd, tiny_model, reviews_file
):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KERASTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    train = ["--train", reviews_file, "--max-length", 96, "--batch-size", 5, "--rank", 2]
    commands = [
        (["train", "--model", tiny_model.path, "--out", "run", *train], 0),
        (["evaluate", "run", "--input", reviews_file], 0),
        (["score", "run", "--input", reviews_file, "--out", "s.tsv"], 0),
        (["--traceback", "train", "--model", "nobody/nothing", "--out", "other", *train], 2),
        (["--traceback", "score", "run", "--input", "none.tsv"], 2),
    ]
    for words, status in commands:
        assert main([str(word) for word in words]) == status, capfd.readouterr().err
    logging.getLogger("somebody").warning("a library's warning")
    printed = capfd.readouterr()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert tmp_path / "cache" / "kerastune.log" in files
    assert {"manifest.json", "s.tsv", "adapter_model.safetensors", "metrics.json"} <= {p.name for p in files}
    assert "Traceback" in printed.err
    for value in SECRETS.values():
        assert value not in printed.out + printed.err
        assert not [path for path, content in files.items() if value.encode() in content]
