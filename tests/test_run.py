"""Runs of the tiny Gemma 3, from rows to a submission, on Keras and JAX."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

import kerastune as kt
from kerastune import training
from kerastune.errors import AdapterError, ConfigError
from kerastune.training import fit


def copy(run, folder):
    shutil.copytree(run.folder, folder)
    return folder


@pytest.fixture(scope="module")
def scores(tiny_run, reviews_file):
    return tiny_run.score(kt.read_dataset(reviews_file), show=False)


def test_the_folder_holds_what_was_done(tiny_run, tiny_model, reviews_file):
    names = {entry.name for entry in tiny_run.folder.iterdir()}
    assert names == {"config.toml", "adapter", "history.jsonl", "manifest.json"}
    assert kt.read_config(tiny_run.folder / "config.toml") == tiny_run.config
    manifest = json.loads((tiny_run.folder / "manifest.json").read_text())
    assert manifest["train"]["rows"] == 10
    assert manifest["train"]["sha256"] == kt.read_dataset(reviews_file).sha256
    assert manifest["base_fingerprint"] == tiny_model.fingerprint
    assert (manifest["training"]["steps"], manifest["stack"]["backend"]) == (4, "jax")
    losses = [json.loads(line) for line in (tiny_run.folder / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in losses if "step" in line] == [1, 2, 3, 4]


def test_loaded_again_it_scores_the_same(tiny_run, scores, reviews_file):
    again = kt.Run.load(tiny_run.folder).score(kt.read_dataset(reviews_file, labelled=False), show=False)
    np.testing.assert_allclose(again.probabilities, scores.probabilities, atol=1e-6)
    np.testing.assert_allclose(again.probabilities.sum(axis=1), 1)


def test_one_seed_gives_one_adapter(tiny_run, train_tiny):
    def content(run):
        return (run.folder / "adapter" / "adapter_model.safetensors").read_bytes()

    assert content(train_tiny()) == content(tiny_run) != content(train_tiny(seed=1))


def test_a_run_killed_after_a_checkpoint_goes_on_to_the_same_adapter(
    tiny_run, train_tiny, tmp_path, monkeypatch
):
    def killed_in_the_second_epoch(stack, *args, **options):
        take, steps = stack.train_step, []

        def step(*given):
            steps.append(given)
            if len(steps) == 3:
                raise KeyboardInterrupt
            return take(*given)

        stack.train_step = step
        return fit(stack, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr("kerastune.fine_tuning.fit", killed_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(tmp_path / "run")
    with pytest.raises(ConfigError, match="training has not ended; start it again as before"):
        kt.Run.load(tmp_path / "run")
    config = (tmp_path / "run" / "config.toml").read_bytes()
    with pytest.raises(AdapterError, match="the checkpoint is of other training rows, options or another"):
        train_tiny(tmp_path / "run", alpha=1.0)
    assert (tmp_path / "run" / "config.toml").read_bytes() == config
    plans = []
    run = train_tiny(tmp_path / "run", on_plan=plans.append)
    assert plans[0].resumed
    for name in ("adapter_model.safetensors", "kerastune.json"):
        assert (run.folder / "adapter" / name).read_bytes() == (
            tiny_run.folder / "adapter" / name
        ).read_bytes()
    assert not (run.folder / "checkpoint").exists()


def test_the_submission_reads_back_in_order(tiny_run, scores, reviews_file, tmp_path):
    rows = kt.read_dataset(reviews_file)
    path = tiny_run.write_submission(scores, rows, tmp_path / "s.tsv")
    table = pd.read_csv(path, sep="\t", dtype=str)
    assert list(table.columns) == ["id", "comment", "label"]
    assert tuple(table["id"]) == rows.ids
    assert tuple(table["label"]) == tuple(map(str, scores.predicted_labels))
    kt.check_submission(path, rows)
    manifest = json.loads((tmp_path / "s.tsv.manifest.json").read_text())
    assert manifest["extra"]["adapter_sha256"] == tiny_run.provenance()["adapter_sha256"]


def test_metrics_are_sklearns(tiny_run, scores, reviews_file):
    rows = kt.read_dataset(reviews_file)
    measured = tiny_run.evaluate(rows, show=False)
    assert measured.accuracy == metrics.accuracy_score(rows.labels, scores.predicted)
    assert measured.macro_f1 == pytest.approx(
        metrics.f1_score(rows.labels, scores.predicted, average="macro")
    )
    assert measured.log_loss == pytest.approx(metrics.log_loss(rows.labels, scores.probabilities), abs=1e-6)


def test_rows_read_without_labels_cannot_be_measured(tiny_run, reviews_file):
    with pytest.raises(ConfigError, match="was read without its labels"):
        tiny_run.evaluate(kt.read_dataset(reviews_file, labelled=False), show=False)


def test_generated_labels_and_their_fallback(tiny_run, scores, reviews_file):
    run = kt.Run.load(tiny_run.folder, {"mode": "generate", "score_batch_size": 10})
    rows = kt.read_dataset(reviews_file)
    generated = run.score(rows, show=False)
    np.testing.assert_allclose(generated.probabilities, scores.probabilities, atol=1e-6)
    invalid = generated.generated == -1
    assert generated.invalid_rate == invalid.mean()
    np.testing.assert_array_equal(generated.predicted[invalid], scores.predicted[invalid])
    np.testing.assert_array_equal(generated.predicted[~invalid], generated.generated[~invalid])
    assert run.provenance(generated)["invalid_rate"] == generated.invalid_rate


def test_a_finished_run_is_not_written_over(tiny_run, train_tiny):
    with pytest.raises(ConfigError, match="holds a finished run; choose another folder with --out"):
        train_tiny(tiny_run.folder)


def test_a_folder_with_files_of_ones_own_is_not_written_into(train_tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "config.toml").write_text("# mine")
    with pytest.raises(ConfigError, match=r"holds thesis\.txt, which is of no run; choose a new folder"):
        train_tiny(tmp_path)
    with pytest.raises(ConfigError, match=r"thesis\.txt: is a file; choose a new folder"):
        train_tiny(tmp_path / "thesis.txt")
    assert (tmp_path / "config.toml").read_text() == "# mine"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"template": "movie-cloze"}, "another prompt: expected"),
        ({"verbalizer": "부정/긍정"}, r"another label words: expected \('별로', '최고'\)"),
    ],
)
def test_other_words_than_those_of_training_are_refused(tiny_run, reviews, options, what):
    with pytest.raises(AdapterError, match=what) as caught:
        kt.Run.load(tiny_run.folder, options).score(reviews, show=False)
    assert "\n" not in str(caught.value)


def test_another_base_is_refused(tiny_run, make_tiny_model, reviews):
    other = make_tiny_model(seed=8)
    with pytest.raises(AdapterError) as caught:
        kt.Run.load(tiny_run.folder, {"model": str(other.path)}).score(reviews, show=False)
    message = str(caught.value)
    assert f"another base model: expected '{tiny_run.config.model.model} (" in message
    assert f"received '{other.path} (" in message


def test_folders_that_are_no_run(tiny_run, tmp_path):
    with pytest.raises(ConfigError, match=r"no folder of a run: it has no config\.toml; give the folder"):
        kt.Run.load(tmp_path)
    with pytest.raises(ConfigError, match=r"is it .*/a/one\?"):
        kt.Run.load(copy(tiny_run, tmp_path / "a" / "one").parent)
    with pytest.raises(ConfigError, match="mode: expected 'likelihood' or 'generate', received 'foo'"):
        kt.Run.load(tiny_run.folder, {"mode": "foo"})


def test_the_planned_lengths_are_those_that_are_trained(train_tiny, tmp_path, monkeypatch):
    """Of a label the first token is trained, so that what follows it makes no program longer."""
    plans, trained = {}, {}
    real = training.training_steps
    words = "별로라서 다시는 가고 싶지 않은 집/최고라서 언제든지 다시 가고 싶은 집"
    for loss_on in ("label", "completion"):

        def steps(*examples, lengths, loss_on=loss_on, **options):
            trained[loss_on] = lengths
            return real(*examples, lengths=lengths, **options)

        monkeypatch.setattr(training, "training_steps", steps)
        options = {"stack": "hf", "epochs": 1, "verbalizer": words, "loss_on": loss_on}
        planned = plans.setdefault(loss_on, [])
        train_tiny(tmp_path / loss_on, on_plan=planned.append, **options)
        assert [plan.lengths for plan in planned] == [trained[loss_on]]
    assert trained["label"][-1] < trained["completion"][-1]
