"""Prompts from files: each with its place, and what is no prompt refused with its line."""

import io
import json

import pytest

from kerastune.errors import ConfigError, DataError
from kerastune.prompts import prompts_of, read_prompts
from kerastune.text_task import get_text_task


def written(folder, name, *lines):
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_lines_and_words(tmp_path):
    found = read_prompts(written(tmp_path, "p.txt", "안녕?", '  "따옴표'))
    assert [(one.id, one.content) for one in found] == [("1", "안녕?"), ("2", '  "따옴표')]
    assert [one.content for one in read_prompts(io.StringIO("a\nb"))] == ["a", "b"]
    assert [one.shown for one in prompts_of(["하나", "둘"])] == ["하나", "둘"]


def test_json_lines_hold_prompts_and_dialogues(tmp_path):
    messages = [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "네!"}]
    rows = [{"id": "가", "prompt": "하나"}, {"messages": messages[:1]}, {"messages": messages, "id": 7}]
    found = read_prompts(written(tmp_path, "p.jsonl", *map(json.dumps, rows)))
    assert [one.id for one in found] == ["가", "2", "7"]
    # The answer that a training row has is the model's to write.
    assert [one.shown for one in found] == ["하나", messages[:1], messages[:1]]


def test_the_columns_of_the_runs_task(tmp_path):
    task = get_text_task("context-question")
    path = written(tmp_path, "p.jsonl", '{"context": "주장"}', '{"context": "다른 주장", "question": "왜?"}')
    shown = [one.shown for one in read_prompts(path, task)]
    assert shown == [[{"role": "user", "content": text}] for text in ("주장", "다른 주장")]


@pytest.mark.parametrize(
    ("name", "lines", "said"),
    [
        ("p.txt", ["하나", "", "둘"], "p.txt, line 2: empty; write a prompt, or delete it"),
        ("p.txt", [], "p.txt: expected one prompt at least, received none"),
        ("p.jsonl", ['{"prompt": "a"}', '{"prompt": '], "p.jsonl, line 2, column 12: not JSON"),
        ("p.jsonl", ['{"prompt": ""}'], "p.jsonl, line 1: expected 'prompt' with a text or 'messages'"),
        ("p.jsonl", ['{"text": "a"}'], "p.jsonl, line 1: expected 'prompt' with a text or 'messages'"),
        ("p.jsonl", ['{"messages": []}'], "p.jsonl, line 1: expected a message of the user's"),
        ("p.jsonl", ['{"messages": "a"}'], "p.jsonl, line 1: 'messages': expected a list, received str"),
        ("p.jsonl", ['{"prompt": "a", "id": 1}'] * 2, "p.jsonl, line 2: the id '1' is already"),
        ("p.csv", ["a"], "p.csv: expected a file of .txt or .jsonl, received '.csv'"),
    ],
)  # fmt: skip
def test_what_is_no_prompt_is_named(tmp_path, name, lines, said):
    with pytest.raises((DataError, ConfigError)) as caught:
        read_prompts(written(tmp_path, name, *lines))
    assert str(caught.value).startswith(f"{tmp_path}/{said}")
    assert "\n" not in str(caught.value)
