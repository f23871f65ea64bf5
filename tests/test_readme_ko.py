"""The Korean README is in step with the English one: sections, code, tables and every figure."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A number with its thousands, decimals and exponent; the minutes and seconds around it are words.
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)*(?:e-\d+)?")
SPAN, LINK = re.compile(r"`([^`]+)`"), re.compile(r"\]\(([^)]+)\)")


def sections(name):
    """Each section's level and text, without fenced code."""
    text = FENCE.sub("", (ROOT / name).read_text(encoding="utf-8"))
    parts = re.split(r"^(#+) (.*)$", text, flags=re.MULTILINE)[1:]
    return [(len(level), title, body) for level, title, body in zip(*[iter(parts)] * 3, strict=True)]


ENGLISH, KOREAN = sections("README.md"), sections("README.ko.md")
PAIRS = list(zip(ENGLISH, KOREAN, strict=False))


def tables(body):
    lines = [line.strip("|").split("|") for line in body.splitlines() if line.startswith("|")]
    return [[NUMBER.findall(cell) for cell in line] for line in lines if set("".join(line)) - set("-: ")]


def code(name):
    """The blocks; of a shell script its words, since comments are in the reader's language."""
    blocks = FENCE.findall((ROOT / name).read_text(encoding="utf-8"))
    return [
        (language, [shlex.split(line, comments=True) for line in text.replace("\\\n", "").splitlines()])
        if language == "bash"
        else (language, text)
        for language, text in blocks
    ]


def test_the_sections_are_the_same():
    assert [level for level, _, _ in KOREAN] == [level for level, _, _ in ENGLISH]


def test_the_code_is_the_same():
    assert code("README.ko.md") == code("README.md")


@pytest.mark.parametrize(("english", "korean"), PAIRS, ids=[english[1] for english, _ in PAIRS])
def test_the_figures_are_the_same(english, korean):
    assert tables(korean[2]) == tables(english[2])
    assert set(NUMBER.findall(korean[2])) == set(NUMBER.findall(english[2]))


@pytest.mark.parametrize(("english", "korean"), PAIRS, ids=[english[1] for english, _ in PAIRS])
def test_links_and_names_in_code_are_the_same(english, korean):
    expected, found = (
        {" ".join(said.split()) for said in [*SPAN.findall(body), *LINK.findall(body)]}
        for body in (english[2], korean[2])
    )
    languages, shape = {"README.md", "README.ko.md"}, {"[rows, labels]", "[행, 라벨]"}
    assert found - languages - shape == expected - languages - shape


def test_it_is_korean():
    letters = re.findall(r"[가-힣]", (ROOT / "README.ko.md").read_text(encoding="utf-8"))
    assert len(letters) > 2000
