"""Many prompts answered into a file: in order, alike in any batch, and gone on with after a kill."""

import json
from types import SimpleNamespace

import pytest

from kerastune.config import RunConfig
from kerastune.decoding import GenerationSpec
from kerastune.errors import ConfigError, OutputError
from kerastune.generating import generate, generate_file
from kerastune.prompts import prompts_of
from tests.talking import PAD, STOP, ByteTokenizer, TableStack

PROMPTS = prompts_of(["세 번째로 긴 프롬프트", "짧다", "a", "가장 긴 것은 이것입니다", "b", "짧지 않다", "c"])
SPEC = GenerationSpec(max_new_tokens=9, stop_ids=(STOP,), pad_id=PAD, temperature=1.0)


class Killed(BaseException):
    """What nothing catches."""


class Stack(TableStack):
    """Dies at a batch."""

    dies_at: int | None = None

    def start_decoding(self, prompts, spec):
        if len(self.batches) == self.dies_at:
            raise Killed
        return super().start_decoding(prompts, spec)


def speaker(dies_at=None, **provenance):
    stack, tokenizer = Stack(), ByteTokenizer()
    stack.dies_at = dies_at
    return SimpleNamespace(
        stack=stack,
        tokenizer=tokenizer,
        config=RunConfig(),
        provenance={"base model": "0", "adapter": "", **provenance},
        prompt_ids=lambda prompt, *_: tuple(tokenizer.encode(prompt)),
    )


def answer(out, talks, spec=SPEC, **options):
    return generate_file(talks, PROMPTS, spec, out, batch_size=3, show=False, **options)


def test_rows_are_in_the_prompts_order(tmp_path):
    done = answer(tmp_path / "out.jsonl", speaker())
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["prompt"] for row in rows] == [prompt.content for prompt in PROMPTS]
    assert [list(row) for row in rows] == [["id", "prompt", "answer", "tokens", "stopped"]] * 7
    assert done.rows == 7
    assert done.stopped == sum(row["stopped"] for row in rows)
    assert all(row["tokens"] == 9 for row in rows if not row["stopped"])
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]
    assert generate(speaker(), PROMPTS, SPEC, batch_size=2, show=False) == rows


@pytest.mark.parametrize("torn", [b"", b'{"place": 3, "id'])
@pytest.mark.parametrize("dies_at", [0, 1, 2])
def test_killed_and_started_again_it_ends_with_the_same_bytes(tmp_path, dies_at, torn):
    answer(tmp_path / "whole.jsonl", speaker())
    with pytest.raises(Killed):
        answer(tmp_path / "out.jsonl", speaker(dies_at))
    assert not (tmp_path / "out.jsonl").exists()
    partial = tmp_path / "out.jsonl.partial"
    if dies_at:
        partial.write_bytes(partial.read_bytes() + torn)
    resumed, talks = [], speaker()
    answer(tmp_path / "out.jsonl", talks, on_resume=lambda *counts: resumed.append(counts))
    assert resumed == ([(3 * dies_at, 7)] if dies_at else [])
    assert len(talks.stack.batches) == 3 - dies_at
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not partial.exists()


def test_unfinished_answers_of_something_else_are_refused(tmp_path):
    out = tmp_path / "out.jsonl"
    with pytest.raises(Killed):
        answer(out, speaker(1))
    with pytest.raises(ConfigError, match=r"unfinished answers with another adapter; .* or say --restart"):
        answer(out, speaker(adapter="other"))
    other = GenerationSpec(max_new_tokens=8, stop_ids=(STOP,), pad_id=PAD)
    with pytest.raises(ConfigError, match="holds unfinished answers with another options"):
        answer(out, speaker(), other)
    assert answer(out, speaker(), other, restart=True).rows == 7


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(OutputError, match="is a folder; expected the name of a file, such as"):
        answer(tmp_path, speaker())
