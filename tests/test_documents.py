"""What README and docs show: commands that the command line takes, and snippets that run."""

import dataclasses
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest
import typer

import kerastune as kt
from kerastune.cli.main import app
from kerastune.config import LoraSpec, ModelSpec, RunConfig, ScoreSpec, TrainSpec
from kerastune.config_file import read_config
from kerastune.models import resolve

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("README*.md")), ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
# Fences may be indented, as they are in lists and admonitions.
BLOCK = re.compile(r"^( *)```(\w+)([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(kerastune [^`]+)`")
OPTIONS = {
    field.name for kind in (ModelSpec, LoraSpec, TrainSpec, ScoreSpec) for field in dataclasses.fields(kind)
} | {"task", "template", "verbalizer"}
# What `-m kerastune` may stand behind, with options of its own.
LAUNCHERS = ("python", "torchrun", "accelerate")
# Snippets that are run elsewhere, or take too long here; all of them are compiled.
ELSEWHERE = {
    "PeftModel": "run by test_readme.py, or in need of a base from the hub",
    "cross_val_score": "trains fifteen times",
}


def blocks(page: Path, language: str) -> Iterator[tuple[str, str]]:
    """A page's blocks of a language: what stands behind the language's name, and the code."""
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        indent, name, rest, code = found.groups()
        if name == language:
            yield rest.strip(), "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))


def commands(script: str) -> Iterator[list[str]]:
    """The words of each call of kerastune in a shell script, without comments."""
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        starts = [0, *(place + 1 for place, word in enumerate(words) if word in ("&&", "|", ";"))]
        for start, stop in zip(starts, [*(place - 1 for place in starts[1:]), len(words)], strict=True):
            call = words[start:stop]
            if "-m" in call and call[0] in LAUNCHERS:
                call = call[call.index("-m") + 1 :]
            if call[:1] == ["kerastune"]:
                yield call[1:]


def leaves(command):
    """Every command of the tree that does something itself."""
    children = getattr(command, "commands", None)
    if children is None:
        yield command
    else:
        for child in children.values():
            yield from leaves(child)


@pytest.fixture(scope="module")
def parse():
    """The command line's own parser, up to where a command would begin: the options that it took."""
    command = typer.main.get_command(app)
    taken: dict[str, object] = {}
    for leaf in leaves(command):
        leaf.callback = lambda **values: taken.update(values)

    def parse(words: list[str]) -> dict[str, object]:
        taken.clear()
        command.main(words, prog_name="kerastune", standalone_mode=False)
        # What a command says of an option itself is that of its dataclass: a value must be one of its own.
        named = {name: value for name, value in taken.items() if name in OPTIONS and value is not None}
        if isinstance(named.get("targets"), str):
            named["targets"] = tuple(named["targets"].split(","))
        RunConfig().with_options({name: value for name, value in named.items() if value != "auto"})
        return dict(taken)

    return parse


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_one(page, parse):
    for _, script in blocks(page, "bash"):
        for words in commands(script):
            try:
                parse(words)
            except Exception as error:
                pytest.fail(f"kerastune {shlex.join(words)}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_a_sentence_is_one(page, parse):
    """A sentence may leave out what it is not about, but no option that it names may be wrong."""
    for said in INLINE.findall(page.read_text(encoding="utf-8")):
        words = [word.strip("[]") for word in shlex.split(said)[1:] if word not in ("...", "COMMAND")]
        try:
            parse(words)
        except Exception as error:
            if not str(error).startswith("Missing ") and type(error).__name__ != "NoArgsIsHelpError":
                pytest.fail(f"{said}: {error}")


def test_the_parser_sees_what_is_wrong(parse):
    assert parse(["train", "--out", "a", "--rank", "4"])["rank"] == 4
    for words in (
        ["trian"], ["train", "--out", "a", "--rnak", "4"], ["train", "--out", "a", "--rank", "x"],
        ["train"], ["train", "--out", "a", "--stack", "jax"], ["score", "a", "b", "--input", "x"],
    ):  # fmt: skip
        with pytest.raises(Exception, match=r"."):
            parse(words)


def test_the_reading_of_a_page_finds_the_calls():
    script = "a && kerastune run --rank 4 \\\n  --epochs 2  # why\npython -m kerastune score x | head\n"
    assert list(commands(script)) == [["run", "--rank", "4", "--epochs", "2"], ["score", "x"]]
    assert list(commands("torchrun --nproc-per-node 2 -m kerastune score x")) == [["score", "x"]]
    found = [words for _, text in blocks(ROOT / "README.md", "bash") for words in commands(text)]
    assert ["run"] in found
    assert len(found) > 15


def test_the_page_of_commands_has_them_all():
    page = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `kerastune ([a-z ]+)`", page, flags=re.MULTILINE)
    group = typer.main.get_command(app)

    def names(command, before=()):
        children = getattr(command, "commands", None)
        if children is None:
            yield " ".join(before)
        else:
            for name, child in children.items():
                yield from names(child, (*before, name))

    assert sorted(listed) == sorted(names(group))


def test_the_page_of_python_has_every_public_name():
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^::: kerastune\.(\w+)$", page, flags=re.MULTILINE))
    assert listed == set(kt.__all__) - {"KerastuneError"} | {"errors"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_toml_file_is_read(page, tmp_path):
    for number, (_, text) in enumerate(blocks(page, "toml")):
        tomllib.loads(text)
        path = tmp_path / f"{number}.toml"
        path.write_text(text, encoding="utf-8")
        read_config(path)


def snippets(page: Path) -> list[CodeType]:
    """A page's Python that is run here; what is marked `notest` or listed above is only compiled."""
    run = []
    for number, (rest, code) in enumerate(blocks(page, "python")):
        compiled = compile(code, f"{page.name}, snippet {number + 1}", "exec")
        if rest != "notest" and not any(word in code for word in ELSEWHERE):
            run.append(compiled)
    return run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_snippet_runs(page, monkeypatch, tmp_path, request):
    codes = snippets(page)
    if not codes:
        return
    # A newcomer's folder, with a small model where the packaged one would be.
    reviews = tmp_path / "data" / "reviews"
    reviews.mkdir(parents=True)
    if any("train" in code.co_names for code in codes):
        tiny, table = request.getfixturevalue("tiny_model"), request.getfixturevalue("reviews_file")
        monkeypatch.setattr(resolve, "packaged_folder", lambda _: tiny.path)
        for name in ("train", "test", "validation"):
            (reviews / f"{name}.tsv").write_bytes(table.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "snippet"}
    for code in codes:
        exec(code, names)
    if "scores" in names:
        assert names["scores"].probabilities.shape == (10, 2)
        assert any(tmp_path.glob("submission*.tsv"))


def test_the_contributors_page_fits_a_screen():
    lines = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 160
