"""kerastune generate and chat as a user types them: through a pipe and through a terminal."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from kerastune.cli import main

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
OPTIONS = ["--stack", "hf", "--dtype", "float32", "--max-new-tokens", "6"]


@pytest.fixture(scope="module")
def talker(make_tiny_model):
    """A small random model that has a chat template; what it says is nonsense."""
    files = make_tiny_model(3)
    settings = json.loads((files.path / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["chat_template"] = CHAT_TEMPLATE
    (files.path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return str(files.path)


def test_generate_writes_json_lines_and_says_them_again(talker, tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("국물이 진하고\n가격도 착하고 맛도\n", encoding="utf-8")
    words = ["generate", talker, "--input", str(prompts), *OPTIONS, "--temperature", "1"]
    assert main([*words, "--out", str(tmp_path / "out.jsonl")]) == 0
    assert "2 answers" in capsys.readouterr().out
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == ["국물이 진하고", "가격도 착하고 맛도"]
    assert all(json.loads(line)["tokens"] <= 6 for line in lines)
    assert main([*words, "--batch-size", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == lines  # the draws are the same in any batch


def test_bad_input_is_one_line(talker, make_tiny_model, tmp_path, capsys):
    def said(*words):
        assert main([*words]) == 2
        captured = capsys.readouterr().err
        assert captured.count("\n") == 1
        return captured

    empty = tmp_path / "empty.txt"
    empty.write_text("하나\n\n둘\n", encoding="utf-8")
    assert f"{empty}, line 2: empty" in said("generate", talker, "--input", str(empty))
    long = said("generate", talker, "국물이 " * 600, *OPTIONS)
    assert re.search(r"prompt 1: \d+ tokens, and 6 for the answer, are more than the context of 512", long)
    assert "unknown model 'nosuch'" in said("generate", "nosuch", "a")
    plain = str(make_tiny_model(3).path)
    assert "has no chat template of its own; choose one with --template" in said("chat", plain)
    assert "temperature: expected a finite number, 0 or more" in said("chat", talker, "--temperature", "-1")
    assert "received both" in said("generate", talker, "a", "--input", str(empty))


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "LC_ALL": "C.UTF-8"}


def test_chat_through_a_terminal_and_a_pipe(talker):
    """Korean is typed, mended with the backspace key, and said; Ctrl-C empties the line, Ctrl-D ends."""
    command = [sys.executable, "-m", "kerastune", "chat", talker, *OPTIONS]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), start_new_session=True
    )
    os.close(theirs)
    screen = ""

    def wait_for(pattern, seconds=120):
        nonlocal screen
        end = time.monotonic() + seconds
        while not re.search(pattern, screen):
            assert time.monotonic() < end, screen
            if select.select([ours], [], [], 0.2)[0]:
                screen += ESCAPES.sub("", os.read(ours, 4096).decode(errors="replace"))
        screen = ""

    try:
        wait_for(">")
        os.write(ours, "국물이 짠\x7f진하고\r".encode())
        wait_for("진하고.*\n[^>]*>")
        os.write(ours, "버릴 줄\x03/help\r".encode())
        wait_for("/reset")
        os.write(ours, "/system 짧게\r".encode())
        wait_for("the instruction is set")
        os.write(ours, "종료\r".encode())
        assert process.wait(60) == 0
    finally:
        process.kill()
        os.close(ours)
    piped = subprocess.run(
        command,
        input="국물이 진하고\n\n종료\n",
        capture_output=True,
        text=True,
        env=environment(),
        timeout=300,
    )
    assert piped.returncode == 0
    assert len(piped.stdout.splitlines()) >= 1
    assert "\x1b" not in piped.stdout
