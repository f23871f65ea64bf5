"""The notebooks: what is checked in is whole and tidy, and each one runs from a clean kernel."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
#: Small settings, with which each notebook takes seconds.
SMALL = {
    "KERASTUNE_ROWS": "24",
    "KERASTUNE_TEST_ROWS": "24",
    "KERASTUNE_FOLDS": "2",
    "KERASTUNE_NEW_TOKENS": "8",
}
# A home folder of any system, and what begins a token of the hubs.
ABSOLUTE = re.compile(r"/(?:home|root|Users|tmp|work|content|kaggle|usr|opt)/|[A-Z]:\\\\|file://")
TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{8,}|\bKGAT_\w+|\bghp_\w+")


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_the_list_names_each_notebook():
    listed = (NOTEBOOKS[0].parent / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\w+\.ipynb)\)", listed) == [path.name for path in NOTEBOOKS]


@each
def test_links_between_notebooks_lead_somewhere(path):
    text = "".join(cell.source for cell in read(path).cells)
    for name in re.findall(r"\]\((\w+\.ipynb)\)", text):
        assert (path.parent / name).is_file()


@each
def test_a_notebook_is_whole_and_tidy(path):
    notebook, text = read(path), path.read_text(encoding="utf-8")
    nbformat.validate(notebook)
    top, sources = notebook.cells[0].source, [cell.source for cell in code_of(notebook)]
    # What a reader sees first: a title, both badges for this very file, the goal and the time.
    assert top.startswith(f"# {int(path.name[:2])}. ")
    assert f"colab.research.google.com/github/kerastune/kerastune/blob/main/notebooks/{path.name}" in top
    assert (
        f"kaggle.com/kernels/welcome?src=https://github.com/kerastune/kerastune/blob/main/notebooks/{path.name}"
        in top
    )
    assert "이 노트북이 끝나면" in top
    assert "걸리는 시간" in top
    assert "English summary" in top
    # The install cell comes before anything is imported, pinned, quiet, and only where it is needed.
    assert 'find_spec("kerastune") is None' in sources[0]
    assert re.search(r"%pip install -q .*kerastune@v\d+\.\d+\.\d+", sources[0])
    assert "KERASTUNE_MODEL" in "".join(sources[1:4])
    assert notebook.cells[-1].source.startswith("## 연습 문제")
    assert not ABSOLUTE.search(text.replace("https://", "")), ABSOLUTE.search(text.replace("https://", ""))
    assert not TOKEN.search(text)


@each
def test_a_notebook_holds_the_outputs_of_one_whole_run(path):
    cells = code_of(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    assert path.stat().st_size < 400_000


@each
def test_a_notebook_runs_from_a_clean_kernel(path, tiny_model, tmp_path, monkeypatch):
    for name, value in (SMALL | {"KERASTUNE_MODEL": str(tiny_model.path)}).items():
        monkeypatch.setenv(name, value)
    # The kernel finds this very checkout, whatever folder it runs in.
    monkeypatch.setenv("PYTHONPATH", str(path.parent.parent))
    notebook = read(path)
    client = NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert all(cell.execution_count for cell in code_of(notebook))
    assert len(list((tmp_path / "runs").glob(f"{path.name[:2]}_*"))) == (path.name[:2] != "05")
