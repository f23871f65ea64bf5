"""Runs on pairs: an adapter under another, the reference and its cache, evaluation and merging."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kerastune.chat.reading import read_dialogues
from kerastune.config import RunConfig
from kerastune.errors import AdapterError, ConfigError, ModelError
from kerastune.exporting import export
from kerastune.fine_tuning import train
from kerastune.merging import merge
from kerastune.preference import session as preference_session
from kerastune.preference.evaluating import evaluate_pairs_file
from kerastune.preference.reading import read_pairs
from kerastune.run import ADAPTER, Run
from kerastune.training_state import HISTORY
from tests.tiny_models import PRESET_GEMMA3

PAIRS = [
    ("국물이 어때요?", "진하고 맛있어요", "그냥 별로", 9),
    ("직원은요?", "친절하세요", "불친절하고 늦게 나와요", 8),
    ("또 갈까요?", "또 올게요 최고", "다시는 안 가요 ㅠㅠ", 7),
    ("양은 어때요?", "양이 많아요", "양이 적어요!!", 9),
    ("가격은요?", "가격도 착하고 좋아요", "비싸기만 해요", 5),
    ("분위기는요?", "분위기가 좋고 최고", "보람이 없고", 8),
]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """A cache of these tests' own: an earlier run of them must leave no reference to be found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERASTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    keys = ("prompt", "chosen", "rejected", "chosen_score")
    rows = [
        {"id": f"p{n}", **dict(zip(keys, pair, strict=True)), "rejected_score": 2}
        for n, pair in enumerate(PAIRS)
    ]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(make_tiny_model):
    return make_tiny_model(seed=11, **PRESET_GEMMA3)


@pytest.fixture(scope="module")
def options(model):
    return {
        "model": str(model.path), "dtype": "float32", "batch_size": 3, "rank": 4, "targets": ("all",),
        "epochs": 3, "learning_rate": 0.01, "show": False,
    }  # fmt: skip


@pytest.fixture(scope="module")
def sft(options, tmp_path_factory) -> Run:
    """A chat run on the chosen answers, by the Hugging Face stack."""
    path = tmp_path_factory.mktemp("sft") / "chat.jsonl"
    rows = [
        json.dumps({"prompt": prompt, "completion": chosen}, ensure_ascii=False)
        for prompt, chosen, *_ in PAIRS
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return train(read_dialogues(path), out=path.parent / "run", stack="hf", **options | {"epochs": 1})


@pytest.fixture(scope="module")
def tuned(sft, pairs_file, options, tmp_path_factory):
    """A DPO run on top of the chat run, by each stack; made when first asked for."""
    made: dict[str, Run] = {}

    def make(stack: str) -> Run:
        if stack not in made:
            made[stack] = train(
                read_pairs(pairs_file),
                out=tmp_path_factory.mktemp("dpo") / stack,
                stack=stack,
                from_run=str(sft.folder),
                beta=0.5,
                **options,
            )
        return made[stack]

    return make


def history(run: Run) -> list[dict]:
    return [json.loads(line) for line in (run.folder / HISTORY).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("stack", ["hf", "keras"])
def test_dpo_on_top_of_a_run(tuned, pairs_file, stack, sft):
    run = tuned(stack)
    steps = [entry for entry in history(run) if "step" in entry]
    assert steps[0]["loss"] == pytest.approx(np.log(2), abs=1e-4)
    assert steps[0]["reward_margin"] == pytest.approx(0, abs=1e-4)
    assert steps[-1]["preference_accuracy"] == 1
    assert steps[-1]["reward_margin"] > 0.5
    difference = steps[-1]["chosen_reward"] - steps[-1]["rejected_reward"]
    assert steps[-1]["reward_margin"] == pytest.approx(difference)
    (link,) = run.preference_session.card.beneath
    assert link.run == str(sft.folder)

    evaluated = evaluate_pairs_file(run.folder, pairs_file, show=False)
    assert evaluated.rewards.accuracy == 1
    assert evaluated.accuracy_interval[1] == 1
    low, high = evaluated.margin_interval
    assert 0 < low < evaluated.rewards.margin < high
    gained = evaluated.after.chosen - evaluated.before.chosen
    assert evaluated.rewards.chosen == pytest.approx(0.5 * gained, abs=1e-4)
    said = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))
    assert said["pairs"]["preference"]["preference_accuracy"] == 1


def test_the_stacks_train_alike(tuned):
    ours, theirs = ([entry.get("loss") for entry in history(tuned(name))] for name in ("hf", "keras"))
    assert len(ours) == len(theirs) == 9
    for mine, other in zip(ours, theirs, strict=True):
        assert mine is other is None or mine == pytest.approx(other, abs=1e-3)


@pytest.mark.parametrize("format", ["hf", "keras"])
def test_merged_in_order_equals_the_stack(tuned, sft, tmp_path, format):
    merged = merge([sft.folder, tuned("hf").folder], tmp_path / "merged", format=format, dtype="float32")
    assert merged.relative < 1e-4
    (alone,) = [merge(sft.folder, tmp_path / "alone", format="hf")]
    assert alone.relative < 1e-3


def test_the_wrong_order_is_refused(tuned, sft, tmp_path):
    dpo = tuned("hf").folder
    for sources, message in (
        ([dpo, sft.folder], "in the order of their training: .*run .*hf"),
        ([dpo], "not on top of what is named before it"),
        ([sft.folder, sft.folder], "was trained on the base"),
    ):
        with pytest.raises(AdapterError, match=message):
            merge(sources, tmp_path / "no", format="hf")
    assert not (tmp_path / "no").exists()


def test_the_export_of_a_chain_says_how_it_is_merged(tuned, sft, tmp_path):
    dpo = tuned("hf").folder
    message = f"was trained on top of {sft.folder}; merge them first, by kerastune merge {sft.folder} {dpo} "
    with pytest.raises(AdapterError, match=message):
        export(str(dpo), tmp_path / "no.gguf")
    assert not list(tmp_path.iterdir())


def test_a_chain_that_is_missing_or_changed_is_refused(tuned, sft, tmp_path):
    run = tmp_path / "dpo"
    shutil.copytree(tuned("hf").folder, run)
    config = (run / "config.toml").read_text(encoding="utf-8")
    moved = tmp_path / "moved"
    shutil.copytree(sft.folder, moved)
    weights = moved / ADAPTER / "adapter_model.safetensors"
    save_file({name: value * 1.5 for name, value in load_file(weights).items()}, weights)
    (run / "config.toml").write_text(config.replace(str(sft.folder), str(moved)), encoding="utf-8")
    with pytest.raises(AdapterError, match="another chain of adapters beneath it"):
        _ = Run.load(run).preference_session
    shutil.rmtree(moved)
    with pytest.raises(ConfigError, match="expected the folder of a finished run"):
        _ = Run.load(run).preference_session


def test_the_reference_is_computed_once(sft, pairs_file, options, tmp_path, monkeypatch):
    computed = []
    real = preference_session.answer_log_probabilities

    def counted(*arguments, **named):
        computed.append(arguments[2])
        return real(*arguments, **named)

    monkeypatch.setattr(preference_session, "answer_log_probabilities", counted)
    rows = read_pairs(pairs_file).take([0, 1, 2])
    short = options | {"epochs": 1, "stack": "hf", "from_run": str(sft.folder), "rank": 2}
    first = train(rows, out=tmp_path / "first", **short)
    assert computed == ["reference"]
    second = train(rows, out=tmp_path / "second", **short)
    assert computed == ["reference"]
    assert history(first)[0]["loss"] == history(second)[0]["loss"]
    train(rows, out=tmp_path / "bare", **short | {"from_run": None})
    train(rows.take([0, 1]), out=tmp_path / "fewer", **short)
    train(rows, out=tmp_path / "orpo", method="orpo", **short)
    assert computed == ["reference"] * 3


def test_a_wrong_reference_is_found_out(sft, pairs_file, options, tmp_path):
    rows = read_pairs(pairs_file).take([3, 4, 5])
    short = options | {"epochs": 1, "stack": "hf", "from_run": str(sft.folder)}
    run = train(rows, out=tmp_path / "right", **short)
    session = run.preference_session
    path = session.reference_cache.path(session.encode(rows)[0])
    (values,) = load_file(path).values()
    values[:, 0] -= 3
    save_file({"log_probabilities": values}, path)
    with pytest.raises(ModelError, match=r"expected ln 2 = 0\.69315: the reference is not"):
        train(rows, out=tmp_path / "wrong", **short)
    path.write_bytes(b"damaged")
    train(rows, out=tmp_path / "mended", **short)


def test_validation_and_filter(pairs_file, options, tmp_path):
    plans = []
    rows = read_pairs(pairs_file)
    run = train(
        rows,
        out=tmp_path / "run",
        validation=rows.take([0, 1]),
        min_chosen_score=8,
        on_plan=plans.append,
        stack="hf",
        **options | {"epochs": 2},
    )
    assert plans[0].rows == 4
    assert "filter    4 pairs kept, 2 dropped, whose chosen score is under 8" in plans[0].notes
    ended = [entry for entry in history(run) if "mean_loss" in entry]
    assert ended[0]["validation_loss"] > ended[1]["validation_loss"]
    assert ended[1]["validation_accuracy"] == 1


def test_options_of_pairs_are_for_pairs(reviews, tmp_path, tiny_model):
    with pytest.raises(ConfigError, match="are for task 'preference'"):
        train(reviews, out=tmp_path / "run", model=str(tiny_model.path), method="orpo")
    with pytest.raises(ConfigError, match="beta: expected a finite number more than 0"):
        RunConfig().with_options({"beta": 0.0})
    with pytest.raises(ConfigError, match="label_smoothing: expected 0 for method 'orpo'"):
        RunConfig().with_options({"method": "orpo", "label_smoothing": 0.1})
    assert replace(RunConfig().preference, beta=0.2).loss.beta == 0.2
