"""TensorFlow, which KerasHub imports for its text layers: spared in a command's own process, nowhere else."""

import subprocess
import sys

import pytest

from kerastune import text_layers


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    text_layers.want_text_layers()


def in_a_process(code):
    """What a Python process of its own prints last."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-2:]


def test_a_command_scores_without_tensorflow(tiny_run, reviews_file, tmp_path):
    words = ["kerastune", "score", str(tiny_run.folder), "--input", str(reviews_file)]
    words += ["--out", str(tmp_path / "s.tsv")]
    found = in_a_process(
        f"import sys; sys.argv = {words!r}\n"
        "from kerastune.cli import main\n"
        "status = main()\n"
        "print(status, 'keras_hub' in sys.modules and sys.modules['tensorflow'])"
    )
    assert found == ["0", "None"]
    assert (tmp_path / "s.tsv").is_file()


def test_who_wants_the_text_layers_has_them(tmp_path):
    found = in_a_process(
        "import sys\n"
        "from pathlib import Path\n"
        "from kerastune.keras_stack.backend import import_keras\n"
        "from kerastune.text_layers import spare_text_layers, want_text_layers\n"
        "spare_text_layers(); want_text_layers()\n"
        f"import_keras('jax', Path({str(tmp_path)!r}))\n"
        "print(sys.modules['tensorflow'] is not None, sys.modules['tensorflow_text'] is not None)"
    )
    assert found == ["True", "True"]


@pytest.mark.parametrize(("backend", "hidden"), [("jax", True), ("torch", True), ("tensorflow", False)])
def test_the_backend_is_never_hidden(monkeypatch, backend, hidden):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.delitem(sys.modules, "tensorflow_text", raising=False)
    text_layers.spare_text_layers()
    text_layers.hide_what_is_spared(backend)
    assert [sys.modules.get(name, "there") for name in ("tensorflow", "tensorflow_text")] == (
        [None, None] if hidden else ["there", "there"]
    )
    for name in ("tensorflow", "tensorflow_text"):
        sys.modules.pop(name, None)
