"""Training on texts: the same tokens and the same loss on both stacks, for each family that chats."""

import json

import numpy as np
import pytest

import kerastune as kt
from kerastune.adapter_card import read_card
from kerastune.batching import make_batch
from kerastune.chat.reading import read_dialogues
from kerastune.cli import main
from kerastune.errors import AdapterError, ConfigError, DataError, TemplateError
from kerastune.fine_tuning import train
from kerastune.run import Run
from kerastune.text_session import open_text_session
from tests.chat.conftest import FAMILY_OF, TEXTS, TURN_END

STACKS = ("keras", "hf")


def options(files, stack="keras", **more):
    return {"task": "chat", "model": str(files.path), "stack": stack, "rank": 4, "dtype": "float32", **more}


def session(files, **more):
    return open_text_session(kt.RunConfig().with_options(options(files, **more)))


@pytest.mark.parametrize("architecture", FAMILY_OF)
def test_both_stacks_have_the_same_loss_on_dialogues(chat_model, chat_file, architecture):
    """Token losses before, and the loss of the first two steps, in which both adapters have learnt alike."""
    files, found = chat_model(architecture), []
    for stack in STACKS:
        opened = session(files, stack=stack, learning_rate=0.01)
        prepared = opened.prepare(read_dialogues(chat_file))
        examples = prepared.examples
        batch = make_batch(
            examples,
            rows=len(examples),
            length=max(map(len, examples)),
            pad_id=prepared.pad_id,
            answers=max(len(one.trained) for one in examples),
        )
        assert batch.weight == sum(len(one.trained) for one in examples)
        opened.stack.add_lora(opened.config.lora, 0)
        opened.stack.start_training(opened.config.train)
        steps = [opened.stack.train_step([batch], 0.01) for _ in range(2)]
        found.append((batch, opened.stack.token_losses(batch), steps))
    (batch, keras, keras_steps), (other, hf, hf_steps) = found
    for name in ("token_ids", "padding_mask", "answer_positions", "answer_ids", "answer_weights"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(other, name))
    np.testing.assert_allclose(keras, hf, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(keras_steps, hf_steps, rtol=1e-5)
    assert keras_steps[1] < keras_steps[0]
    assert (keras[batch.answer_weights == 0] == 0).all()


@pytest.fixture(scope="module")
def chat_run(chat_model, chat_file, tmp_path_factory):
    """A run of twelve steps on six dialogues, on the Hugging Face stack."""
    folder = tmp_path_factory.mktemp("runs") / "chat"
    return train(
        read_dialogues(chat_file),
        out=folder,
        validation=read_dialogues(chat_file),
        show=False,
        **options(chat_model("gemma3"), stack="hf", epochs=4, batch_size=2, learning_rate=0.02),
    )


def test_a_run_learns_and_is_loaded_again(chat_run):
    history = [json.loads(line) for line in (chat_run.folder / "history.jsonl").read_text().splitlines()]
    watched = [entry["validation_loss"] for entry in history if "validation_loss" in entry]
    assert watched[-1] < 0.8 * watched[0]
    card = read_card(chat_run.folder / "adapter")
    assert (card.task, card.template, card.labels, card.label_words) == ("chat", "gemma", (), ())
    assert "<start_of_turn>" in card.chat_template
    manifest = json.loads((chat_run.folder / "manifest.json").read_text())
    assert (manifest["train"]["rows"], "left_out" in manifest["train"]) == (6, False)
    again = Run.load(chat_run.folder, {"stack": "keras"}).text_session
    before = again.stack.get_adapter()
    for module, factors in chat_run.text_session.stack.get_adapter().items():
        np.testing.assert_allclose(factors.a, before[module].a, atol=1e-6)
    assert again.encoder.tokenizer.special_ids[TURN_END["gemma"]] in again.encoder.stop_ids


def test_an_adapter_is_refused_for_another_chat_template(chat_run):
    with pytest.raises(AdapterError, match="trained with another chat template"):
        Run.load(chat_run.folder, {"template": "zephyr"}).text_session  # noqa: B018


def test_what_is_for_labels_says_so_in_a_line(chat_run, chat_file, tiny_run):
    with pytest.raises(
        TemplateError, match=r"^task 'chat' has no labels, which are needed here; its runs are for"
    ):
        Run.load(chat_run.folder).session  # noqa: B018
    with pytest.raises(TemplateError, match=r"^task 'chat' has no labels"):
        kt.read_dataset(chat_file, "chat")
    with pytest.raises(TemplateError, match="'review-sentiment' has labels and no texts"):
        tiny_run.text_session  # noqa: B018


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shots": 2}, "shots: expected 0 for task 'chat'"),
        ({"verbalizer": "0/1"}, "verbalizer: expected none for task 'chat'"),
        ({"loss_on": "label"}, "loss_on: expected 'assistant' or 'all' for task 'chat', received 'label'"),
    ],
)
def test_options_of_tasks_with_labels_are_refused(chat_model, chat_file, wrong, message):
    with pytest.raises(ConfigError, match=message):
        session(chat_model("gemma3"), **wrong).prepare(read_dialogues(chat_file))


def test_labels_are_no_assistant(tiny_model, reviews, tmp_path):
    with pytest.raises(
        ConfigError, match="loss_on: expected 'label', 'completion' or 'all' for a task with labels"
    ):
        train(reviews, out=tmp_path / "run", model=str(tiny_model.path), loss_on="assistant", show=False)


def test_rows_that_do_not_fit(chat_model, chat_file):
    opened = session(chat_model("gemma3"), max_length=16)
    rows = read_dialogues(chat_file)
    lengths = [len(one) for one in session(chat_model("gemma3")).prepare(rows).examples]
    assert max(lengths) > 16 > min(lengths)
    with pytest.raises(
        DataError, match=r"chat.jsonl, line \d: row 'm\d', the last exchange .*alone take \d+ tokens"
    ):
        opened.prepare(rows)
    prepared = opened.prepare(read_dialogues(chat_file, skip_bad_rows=True))
    assert 0 < len(prepared.examples) < 6
    assert len(prepared.examples) + len(prepared.left) == 6
    assert all("--skip" not in message and "raise max_length" in message for message in prepared.left)


def test_default_lengths_are_the_tasks(chat_model, tiny_model):
    assert session(chat_model("gemma3")).encoder.max_length == 512  # the model's own context
    assert kt.TrainSpec().max_length is None
    assert kt.make_encoder(kt.RunConfig(), tiny_model).max_length == 256


def test_evaluation_before_and_after(chat_run, chat_file, capsys):
    """The stored run, measured by the command on its own rows: it has learnt them."""
    words = ["evaluate", str(chat_run.folder), "--input", str(chat_file), "--max-new-tokens", "12"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    (found,) = json.loads((chat_run.folder / "metrics.json").read_text(encoding="utf-8")).values()
    assert found["before"]["rows"] == found["after"]["rows"] == 6
    assert found["after"]["perplexity"] < 0.5 * found["before"]["perplexity"]
    # The very number that training watched.
    history = [json.loads(line) for line in (chat_run.folder / "history.jsonl").read_text().splitlines()]
    best = min(entry["validation_loss"] for entry in history if "validation_loss" in entry)
    assert found["after"]["perplexity"] == pytest.approx(np.exp(best), rel=1e-4)
    assert found["after"]["tokens"] <= 12
    assert [sample["id"] for sample in found["samples"]] == [f"m{n}" for n in range(6)]
    assert {"prompt", "reference", "before", "after"} < found["samples"][0].keys()
    assert "tok:char" in found["definitions"]["bleu"]
    for said in ("before", "after", "never stopped", TEXTS[1]):
        assert said in printed
    assert main([*words, "--folds", "3"]) == 2
    assert "--folds: is for tasks with labels" in capsys.readouterr().err


def test_preview_marks_what_is_trained(chat_model, chat_file, capsys):
    words = [
        "preview",
        "--task",
        "chat",
        "--model",
        str(chat_model("gemma3").path),
        "--input",
        str(chat_file),
    ]
    assert main([*words, "--row", "3"]) == 0
    printed = "".join(capsys.readouterr().out.split("\n"))
    for answer in (TEXTS[1], TEXTS[3]):
        assert f"⟦{answer.replace(' ', '·')}<end_of_turn>⟧" in printed
    assert printed.count("⟦<end_of_turn>/") == 2
    assert f"⟦{TEXTS[0]}" not in printed


def test_bad_rows_on_the_command_line(chat_model, chat_file, tmp_path, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text(chat_file.read_text(encoding="utf-8") + '{"messages": []}\n', encoding="utf-8")
    words = ["train", "--task", "chat", "--model", str(chat_model("gemma3").path), "--train", str(bad)]
    words += ["--stack", "hf", "--epochs", "0", "--out"]
    assert main([*words, str(tmp_path / "run")]) == 2
    assert "bad.jsonl, line 7: expected a message of the user's" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*words, str(tmp_path / "run"), "--skip-bad-rows"]) == 0
    assert "left out" in (printed := capsys.readouterr().out)
    assert "bad.jsonl, line 7" in "".join(printed.split("\n"))
