"""The estimator, as scikit-learn uses one."""

import copy
import json
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks as checks

import kerastune as kt
from kerastune import shared_models
from kerastune.errors import AdapterError, ConfigError, DataError, TemplateError
from tests.conftest import COMMENTS, LABELS

WORDS = {"bad": "별로", "good": "최고"}
CLASSES = np.array(["bad", "good"])[LABELS]
TRAIN = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-2, "max_length": 128}
UNTRAINED = TRAIN | {"epochs": 0}


@pytest.fixture(scope="module")
def make(tiny_model):
    """Make an unfitted estimator on the tiny Gemma 3."""

    def make(**changes) -> kt.LLMClassifier:
        options = {
            "stack": "hf",
            "dtype": "float32",
            "train": TRAIN,
            "lora": {"rank": 2},
            "verbalizer": WORDS,
        }
        return kt.LLMClassifier(str(tiny_model.path), **options | changes)

    return make


@pytest.fixture(scope="module")
def fitted(make):
    return make().fit(COMMENTS, CLASSES)


def test_scikit_learn_checks_it():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        results = checks.check_estimator(kt.LLMClassifier(), on_skip=None)
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    assert any(result["status"] == "passed" for result in results)
    # It gives the numeric checks up for whatever takes texts, its own vectorizers too.
    assert any("requires input" in str(one.message) for one in said)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_estimator_cloneable,
        checks.check_estimator_repr,
        checks.check_estimator_tags_renamed,
        checks.check_valid_tag_types,
        checks.check_no_attributes_set_in_init,
        checks.check_do_not_raise_errors_in_init_or_set_params,
        checks.check_mixin_order,
        checks.check_parameters_default_constructible,
        checks.check_get_params_invariance,
        checks.check_set_params,
    ],
)
def test_what_scikit_learn_can_check_without_numbers(check):
    check("LLMClassifier", kt.LLMClassifier())


def test_probabilities_predictions_and_decisions_agree(fitted):
    probabilities = fitted.predict_proba(COMMENTS)
    assert fitted.classes_.tolist() == ["bad", "good"]
    assert probabilities.shape == (10, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.predict(COMMENTS), fitted.classes_[probabilities.argmax(axis=1)])
    odds = fitted.decision_function(COMMENTS)
    np.testing.assert_allclose(odds, np.log(probabilities[:, 1] / probabilities[:, 0]), rtol=1e-9)
    assert fitted.score(COMMENTS, CLASSES) == np.mean(fitted.predict(COMMENTS) == CLASSES)


def test_it_learns_and_says_what_it_did(make):
    trained = make(train=TRAIN | {"epochs": 16}).fit(COMMENTS, CLASSES)
    assert trained.score(COMMENTS, CLASSES) >= 0.9
    steps = [line for line in trained.history_ if "step" in line]
    assert len(steps) == 48
    assert steps[-1]["loss"] < steps[0]["loss"]


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, lambda texts: np.array(texts, object)])
def test_texts_of_any_container_say_the_same(fitted, kind):
    np.testing.assert_array_equal(fitted.predict_proba(kind(COMMENTS)), fitted.predict_proba(COMMENTS))


def test_fitting_again_gives_the_same_and_keeps_the_parameters(make, fitted):
    estimator = make()
    before = copy.deepcopy(estimator.get_params())
    again = estimator.fit(COMMENTS, CLASSES)
    assert again is estimator
    assert estimator.get_params() == before
    np.testing.assert_array_equal(again.predict_proba(COMMENTS), fitted.predict_proba(COMMENTS))


def test_the_same_classes_by_any_name_train_the_same(make, fitted):
    for labels in (LABELS, np.array(LABELS, np.int8), np.array(LABELS) == 1, np.array(LABELS, float)):
        words = dict(zip(np.unique(labels).tolist(), WORDS.values(), strict=True))
        other = make(verbalizer=words).fit(COMMENTS, labels)
        assert other.classes_.dtype == np.asarray(labels).dtype
        # The class names do not stand in the prompt, their words do.
        np.testing.assert_array_equal(other.predict_proba(COMMENTS), fitted.predict_proba(COMMENTS))


def test_estimators_of_one_model_load_it_once_and_take_turns(make, monkeypatch):
    kt.release_models()
    loads = []
    load = shared_models.load_stack
    monkeypatch.setattr(shared_models, "load_stack", lambda *args: loads.append(args) or load(*args))
    first, second = make().fit(COMMENTS, CLASSES), make(train=TRAIN | {"seed": 9}).fit(COMMENTS, CLASSES)
    bare = make(train=UNTRAINED).fit(COMMENTS, CLASSES)
    alone = second.predict_proba(COMMENTS)
    said = first.predict_proba(COMMENTS)
    untrained = bare.predict_proba(COMMENTS)
    assert np.abs(said - alone).max() > 1e-4
    assert np.abs(said - untrained).max() > 1e-4
    np.testing.assert_array_equal(second.predict_proba(COMMENTS), alone)
    np.testing.assert_array_equal(first.predict_proba(COMMENTS), said)
    assert len(loads) == 1


def test_folds_pipelines_and_searches(make):
    estimator = make(verbalizer=["별로", "최고"])
    predicted = cross_val_predict(estimator, COMMENTS, CLASSES, cv=2, method="predict_proba")
    assert predicted.shape == (10, 2)
    first_half = clone(estimator).fit(COMMENTS[5:], CLASSES[5:]).predict_proba(COMMENTS[:5])
    assert np.isclose(predicted, np.vstack([first_half, first_half])).all(axis=1).any()
    shout = FunctionTransformer(lambda texts: [text + "!" for text in texts])
    pipeline = make_pipeline(shout, make()).fit(COMMENTS, CLASSES)
    np.testing.assert_array_equal(
        pipeline.predict_proba(COMMENTS), pipeline[-1].predict_proba([text + "!" for text in COMMENTS])
    )
    search = GridSearchCV(estimator, {"lora": [{"rank": 1}, {"rank": 2}], "score_batch_size": [4]}, cv=2)
    search.fit(COMMENTS, CLASSES)
    assert search.best_params_["lora"] in ({"rank": 1}, {"rank": 2})
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_scikit_learns_own_calibration_takes_it(fitted):
    calibrated = CalibratedClassifierCV(FrozenEstimator(fitted), method="sigmoid").fit(COMMENTS, CLASSES)
    odds, found = fitted.decision_function(COMMENTS), calibrated.predict_proba(COMMENTS)[:, 1]
    # A sigmoid of the odds: rows keep their order, or all turn it around.
    assert abs(np.corrcoef(np.argsort(np.argsort(odds)), np.argsort(np.argsort(found)))[0, 1]) > 0.999


def test_calibration_changes_probabilities_and_not_their_order(make):
    estimator = make().fit(COMMENTS, CLASSES)
    before = estimator.predict_proba(COMMENTS)[:, 1]
    after = estimator.calibrate(COMMENTS, CLASSES, ["temperature"]).predict_proba(COMMENTS)[:, 1]
    assert np.abs(before - after).max() > 1e-4
    assert (np.argsort(before) == np.argsort(after)).all()
    loss = [-np.log(np.where(CLASSES == "good", p, 1 - p)).mean() for p in (before, after)]
    assert loss[1] < loss[0] + 1e-3  # the fit adds a row that holds it back


def test_without_training_and_with_shots(make):
    bare = make(train=UNTRAINED).fit(COMMENTS, CLASSES)
    assert bare.adapter_ == {}
    assert bare.history_ == []
    shown = make(train=TRAIN | {"epochs": 0, "shots": 1}).fit(COMMENTS, CLASSES)
    others = [text for text in COMMENTS if text not in [s.fields["text"] for s in shown.shots_.shots]]
    assert len(others) == 8
    assert np.abs(shown.predict_proba(others) - bare.predict_proba(others)).max() > 1e-5
    trained = make(train=TRAIN | {"shots": 1}).fit(COMMENTS, CLASSES)
    assert sum("step" in line for line in trained.history_) == 2  # 8 rows of 10: none is its own answer


def test_three_classes_and_a_task_of_ours(make):
    classes = np.array(["c", "a", "b", "a", "c", "b", "a", "b", "c", "a"])
    three = make(verbalizer=["가", "나", "다"]).fit(COMMENTS, classes)
    assert three.classes_.tolist() == ["a", "b", "c"]
    assert three.decision_function(COMMENTS).shape == (10, 3)
    ours = make(task="review-sentiment", verbalizer=None).fit(COMMENTS, LABELS)
    assert ours.classes_.tolist() == [0, 1]
    assert set(ours.predict(COMMENTS)) <= {0, 1}


def test_words_that_begin_alike_are_told(make):
    with pytest.warns(UserWarning, match="begin with the same token"):
        make(train=UNTRAINED, verbalizer=["최고다", "최고로"]).fit(COMMENTS, CLASSES)


def test_copies_and_files_predict_the_same(make, fitted, tmp_path):
    expected = fitted.predict_proba(COMMENTS)
    for other in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        np.testing.assert_array_equal(other.predict_proba(COMMENTS), expected)
    for name, estimator in {
        "trained": fitted,
        "calibrated": make(verbalizer=["별로", "최고"]).fit(COMMENTS, LABELS).calibrate(COMMENTS, LABELS),
        "shots": make(train=TRAIN | {"epochs": 0, "shots": 1}, verbalizer=["별로", "최고"]).fit(
            COMMENTS, LABELS
        ),
        "task": make(task="review-sentiment", verbalizer="부정/긍정").fit(COMMENTS, LABELS),
    }.items():
        texts = ["또 갈게요", "별로예요"]
        loaded = kt.LLMClassifier.load(estimator.save(tmp_path / name))
        np.testing.assert_array_equal(loaded.predict_proba(texts), estimator.predict_proba(texts))
        np.testing.assert_array_equal(loaded.predict(texts), estimator.predict(texts))
        assert clone(loaded).fit(COMMENTS, LABELS if name != "trained" else CLASSES).classes_.tolist() == (
            estimator.classes_.tolist()
        )
    assert (tmp_path / "trained" / "adapter" / "adapter_config.json").is_file()


def test_both_stacks_fit_alike(make):
    keras = make(stack="keras").fit(COMMENTS, CLASSES)
    np.testing.assert_allclose(
        keras.predict_proba(COMMENTS), make().fit(COMMENTS, CLASSES).predict_proba(COMMENTS), atol=1e-3
    )


def test_a_validation_table_keeps_the_best_epoch(make):
    watched = make(train=TRAIN | {"epochs": 2}).fit(COMMENTS, CLASSES, COMMENTS[:4], CLASSES[:4])
    epochs = [line for line in watched.history_ if "step" not in line]
    assert [line["validation_loss"] is not None for line in epochs] == [True, True]


@pytest.mark.parametrize(
    ("texts", "classes", "error", "said"),
    [
        (
            ["좋아요", None],
            ["a", "b"],
            DataError,
            "row 2, column 'text': expected text, received a missing value",
        ),
        (["좋아요", float("nan")], ["a", "b"], DataError, "expected text, received a missing value"),
        (["좋아요", 3], ["a", "b"], DataError, "expected text, received 3"),
        (["좋아요", " "], ["a", "b"], DataError, "row 2, column 'text': empty"),
        ("좋아요", ["a", "b"], DataError, "X: expected texts, one a row, received str"),
        ([["좋아요"], ["싫어요"]], ["a", "b"], DataError, "X: expected texts, one a row"),
        (["좋아요", "싫어요"], ["a"], DataError, "expected two classes or more"),
        (["좋아요", "싫어요"], ["a", "a"], DataError, "y: expected two classes or more, received"),
        (["좋아요", "싫어요", "네"], ["a", "b"], DataError, "y: expected 3 classes, one a text, received 2"),
        (["좋아요", "싫어요"], [0.5, 1.5], ValueError, "Unknown label type: continuous"),
    ],
)
def test_bad_texts_and_classes_are_refused(make, texts, classes, error, said):
    with pytest.raises(error, match=said):
        make(verbalizer=None).fit(texts, classes)


def test_a_fit_that_failed_is_none_and_options_set_later_change_nothing(make, fitted, monkeypatch):
    expected = fitted.predict_proba(COMMENTS)
    other = copy.deepcopy(fitted).set_params(model="nobody/nothing", train={"max_length": 40})
    np.testing.assert_array_equal(other.predict_proba(COMMENTS), expected)

    def fails(*_, **__):
        raise RuntimeError

    again = make().fit(COMMENTS, CLASSES)
    monkeypatch.setattr("kerastune.classifier.fit", fails)
    with pytest.raises(RuntimeError):
        again.fit(COMMENTS, CLASSES)
    with pytest.raises(NotFittedError):
        again.predict(COMMENTS)


def test_bad_parameters_are_refused_when_they_are_used(make, tmp_path, fitted):
    for changes, error, said in (
        ({"lora": {"rnak": 4}}, ConfigError, "lora: unknown option 'rnak'; did you mean 'rank'"),
        ({"train": {"epochs": -1}}, ConfigError, "train: epochs: expected a finite number, 0 or more"),
        ({"stack": "flax"}, ConfigError, "model: stack: expected 'keras' or 'hf', received 'flax'"),
        ({"verbalizer": {"bad": "별로"}}, TemplateError, "verbalizer: no word for class 'good'"),
        ({"verbalizer": ["별로"]}, TemplateError, "verbalizer: expected a word for each of the classes"),
        ({"verbalizer": ["별로", "별로"]}, TemplateError, "in a word of its own"),
        ({"task": "review-sentiment"}, ConfigError, "verbalizer: expected the name of one of task"),
    ):
        with pytest.raises(error, match=said):
            make(**changes).fit(COMMENTS, CLASSES)
    with pytest.raises(NotFittedError):
        make().predict(COMMENTS)
    with pytest.raises(DataError, match="y: expected one of 'bad', 'good', received 'fine'; fit has seen"):
        fitted.calibrate(COMMENTS, ["fine"] * 10)
    with pytest.raises(AdapterError, match=r"no estimator\.json; give the folder that save wrote"):
        kt.LLMClassifier.load(tmp_path)
    folder = fitted.save(tmp_path / "saved")
    table = json.loads((folder / "estimator.json").read_text(encoding="utf-8"))
    (folder / "estimator.json").write_text(json.dumps({**table, "classification": None}), encoding="utf-8")
    with pytest.raises(AdapterError, match=r"estimator\.json: damaged: TypeError"):
        kt.LLMClassifier.load(folder)
