"""The systems that courses and blogs describe, each by its commands, on the family that it is of."""

import io
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from kerastune.adapter import read_peft
from kerastune.batching import make_batch
from kerastune.chat.reading import read_dialogues
from kerastune.cli import main
from kerastune.decoding import answers
from kerastune.preference.reading import read_pairs
from kerastune.run import Run
from kerastune.speaker import open_speaker
from tests.chat.conftest import TEXTS
from tests.chat.test_quantising import WIDE

STACKS = ("keras", "hf")


@pytest.fixture
def run_command(capsys, monkeypatch):
    """Type a command, with lines on its standard input; what it printed."""

    def run(*words, lines=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        status = main([str(word) for word in words])
        said = capsys.readouterr()
        assert status == 0, said.err
        return said.out

    return run


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory):
    """Four pairs, one of them with a low score."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [
        {
            "id": f"p{n}",
            "prompt": TEXTS[n % 3],
            "chosen": TEXTS[1],
            "rejected": TEXTS[3],
            "chosen_score": score,
        }
        for n, score in enumerate((9, 8, 3, 8))
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("stack", "quantize"), [("hf", "nf4"), ("keras", "int8")])
def test_chat_tuning_then_dpo_on_a_quantised_llama(
    stack, quantize, chat_model, chat_file, pairs_file, run_command, tmp_path, monkeypatch
):
    """TinyLlama's rows: tuned in few bits, DPO on top, both merged in their order, then talked with."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    monkeypatch.setenv("KERASTUNE_CACHE", str(tmp_path / "cache"))
    files, sft, dpo = chat_model("tinyllama", **WIDE), tmp_path / "sft", tmp_path / "dpo"
    base = ["--stack", stack, "--dtype", "float32", "--learning-rate", "0.01"]
    lora = ["--rank", "64", "--alpha", "128", "--targets", "all"]
    run_command(
        *("train", "--task", "chat", "--train", chat_file, "--model", files.path, "--out", sft, *base, *lora),
        *(
            "--quantize",
            quantize,
            "--batch-size",
            "1",
            "--accumulate",
            "4",
            "--max-length",
            "512",
            "--epochs",
            "1",
        ),
    )
    said = run_command(
        *("train", "--task", "preference", "--method", "dpo", "--from", sft, "--train", pairs_file),
        *("--out", dpo, "--min-chosen-score", "8", "--beta", "0.1", "--epochs", "2", *base),
    )
    assert "3 pairs kept, 1 dropped" in said
    steps = [entry for entry in history(dpo) if "step" in entry]
    assert steps[0]["loss"] == pytest.approx(np.log(2), abs=1e-3)
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.01

    # What answers is what was trained: the quantised base with both adapters.
    trained, talking = Run.load(dpo).preference_session, open_speaker(str(dpo))
    assert talking.stack.info.dtype == f"{quantize}, float32"
    pairs = read_pairs(pairs_file)
    (example, *_) = trained.prepare(pairs).examples
    batch = make_batch([example.chosen], rows=1, length=64, pad_id=0, answers=40)
    expected, found = (one.stack.token_losses(batch) for one in (trained, talking))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    talking.stack.remove_adapter()  # and beneath it is the first one still
    beneath = open_speaker(str(sft)).stack.token_losses(batch)
    np.testing.assert_allclose(talking.stack.token_losses(batch), beneath, atol=1e-5)
    assert np.abs(beneath - expected).max() > 1e-3

    merged = tmp_path / "merged"
    said = run_command("merge", sft, dpo, "--out", merged, "--dtype", "float32")
    assert f"trained on a base in {quantize}, merged into the base's own unquantised weights" in " ".join(
        said.split()
    )
    name = "model.layers.1.mlp.down_proj"
    deltas = [
        one.alpha / one.rank * one.b @ one.a
        for one in (read_peft(run / "adapter")[name] for run in (sft, dpo))
    ]
    weights = [load_file(path / "model.safetensors")[f"{name}.weight"] for path in (files.path, merged)]
    np.testing.assert_allclose(weights[1] - weights[0], sum(deltas), atol=1e-5)

    short = ["--max-new-tokens", "4"]
    said = run_command("generate", dpo, TEXTS[0], *short)
    prompt = trained.encoder.prompt_ids(pairs.values[0].chosen.before_answer)
    (written,) = answers(trained.stack, [prompt], talking.spec(max_new_tokens=4))
    assert said == trained.encoder.tokenizer.decode(written.token_ids) + "\n"
    assert run_command("chat", dpo, *short, lines=f"{TEXTS[0]}\n종료\n") == said


@pytest.mark.parametrize("stack", STACKS)
def test_questions_to_contexts_by_a_gemma_3(stack, chat_model, run_command, tmp_path):
    """Rank 16, alpha 32, four attention projections; the end is learnt, and no newline is added."""
    rows = [{"context": TEXTS[n], "question": TEXTS[n + 1]} for n in (0, 2)]
    table, run = tmp_path / "qa.jsonl", tmp_path / "run"
    table.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    run_command(
        *("train", "--task", "context-question", "--train", table, "--out", run, "--stack", stack),
        *("--model", chat_model("gemma3").path, "--rank", "16", "--alpha", "32", "--epochs", "20"),
        *("--targets", "q_proj,k_proj,v_proj,o_proj", "--learning-rate", "0.02", "--dtype", "float32"),
    )
    adapter = read_peft(run / "adapter")
    assert {name.rsplit(".", 1)[1] for name in adapter} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert {(one.rank, one.alpha) for one in adapter.values()} == {(16, 32)}
    out = tmp_path / "answers.jsonl"
    run_command("generate", run, "--input", table, "--out", out, "--max-new-tokens", "40")
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(one["answer"].strip(), one["stopped"]) for one in found] == [
        (row["question"], True) for row in rows
    ]
    encoder = open_speaker(str(run)).encoder
    for dialogue in read_dialogues(table, "context-question").dialogues:
        encoded = encoder.encode(dialogue)
        assert encoder.prompt_ids(dialogue.before_answer) == encoded.prompt_ids
        assert encoded.ids[encoded.trained[-1]] == encoder.tokenizer.eos_id != encoder.tokenizer.pad_id


@pytest.mark.parametrize(("stack", "quantize"), [("hf", "nf4"), ("keras", "int4")])
def test_talking_with_a_llama_3_in_4_bits(stack, quantize, chat_model, chat_file, run_command):
    """The assistant's header is there, both ends stop, the penalty works, and padding changes nothing."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    model = chat_model("llama3", **WIDE).path
    shown = run_command("preview", "--task", "chat", "--model", model, "--input", chat_file, "--row", "2")
    shown = "".join(shown.split("\n"))
    assert f"<|start_header_id|>system<|end_header_id|>↵↵{TEXTS[6].replace(' ', '·')}<|eot_id|>" in shown
    assert f"<|start_header_id|>assistant<|end_header_id|>↵↵⟦{TEXTS[3].replace(' ', '·')}<|eot_id|>⟧" in shown
    options = {"stack": stack, "quantize": quantize, "dtype": "float32"}
    speaker = open_speaker(str(model), options, chat=True, template="llama3")
    special = speaker.tokenizer.special_ids
    assert speaker.spec().stop_ids == (special["<|eot_id|>"], special["<|end_of_text|>"])
    prompts = [speaker.prompt_ids(text, 8, "a prompt") for text in (TEXTS[0], "?", TEXTS[6])]
    assert speaker.tokenizer.decode(prompts[1]).endswith("assistant\n\n")
    spec = speaker.spec(max_new_tokens=12)
    together = answers(speaker.stack, prompts, spec)
    assert together == [answers(speaker.stack, [prompt], spec)[0] for prompt in prompts]
    penalised = answers(speaker.stack, prompts, speaker.spec(max_new_tokens=12, repetition_penalty=1e9))
    for prompt, before, after in zip(prompts, together, penalised, strict=True):
        assert len(set(after.token_ids)) == len(after.token_ids)
        assert not set(after.token_ids) & set(prompt)
        assert before != after


@pytest.mark.parametrize("stack", STACKS)
def test_a_gemma_in_16_bits_answers_at_length(stack, chat_model, run_command):
    """The length is the answer's, whatever the prompt's."""
    model = chat_model("gemma").path
    words = ["generate", model, " ".join(TEXTS[:4]), "?", "--template", "gemma", "--stack", stack]
    said = run_command(*words, "--dtype", "bfloat16", "--max-new-tokens", "33")
    rows = [json.loads(line) for line in said.splitlines()]
    assert len(rows) == 2
    assert all(row["tokens"] == 33 or row["stopped"] for row in rows)
    with pytest.raises(AssertionError, match="float16 overflows in gemma3_text; choose bfloat16 or float32"):
        run_command("generate", chat_model("gemma3").path, "?", "--stack", stack, "--dtype", "float16")
