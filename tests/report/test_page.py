"""The page says what the data say, and nothing in the data becomes a part of it."""

import base64
import dataclasses
import io
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from fontTools.ttLib import TTFont

from kerastune.calibration import brier_score, expected_calibration_error
from kerastune.dataset import read_dataset
from kerastune.evaluating import assess
from kerastune.evaluation import INVALID
from kerastune.report import ReportContent, fonts
from kerastune.report.history import History
from kerastune.report.page import render
from kerastune.scoring import Scores
from kerastune.task import Task
from tests.report.conftest import TEXTS, TRICKY
from tests.report.reading import Page


@pytest.fixture(scope="session")
def page(one):
    return render(one)


@pytest.fixture(scope="session")
def pair(two):
    return render(two)


def words(cell):
    return cell.split()


def test_the_metrics_are_those_of_the_data(page, one):
    model, table = one.runs[0].evaluated.model, Page(page).tables["metrics"]
    assert table[0] == ["", "Accuracy", "Macro F1", "MCC", "ROC AUC", "Log-loss"]
    row = next(row for row in table if row[0] == "mine")
    low, high = model.interval
    assert words(row[1]) == [f"{model.accuracy:.3f}", f"{low:.3f}", "to", f"{high:.3f}"]
    for cell, name in zip(row[2:], ("macro_f1", "mcc", "roc_auc", "log_loss"), strict=True):
        low, high = model.intervals[name]
        assert words(cell) == [f"{getattr(model, name):.3f}", f"{low:.3f}", "to", f"{high:.3f}"]
    tfidf = one.runs[0].evaluated.baselines["tfidf"]
    assert words(next(row for row in table if row[0] == "TF-IDF")[1])[0] == f"{tfidf.accuracy:.3f}"
    assert {row[0] for row in table[1:]} == {"mine", "TF-IDF", "Majority"}


def test_trust_slices_and_labels_are_those_of_the_data(page, one):
    run, tables = one.runs[0], Page(page).tables
    truth = one.rows.labels
    assert tables["trust-table"][1][1:3] == [
        f"{expected_calibration_error(run.probabilities, truth):.4f}",
        f"{brier_score(run.probabilities, truth):.4f}",
    ]
    for row, part in zip(tables["slices-table"][1:], run.evaluated.slices, strict=True):
        assert row[1:3] == [part.value, str(part.rows)]
        assert words(row[3])[0] == f"{part.accuracy:.3f}"
    hits = (run.predicted == 1) & (truth == 1)
    precision, recall = hits.sum() / (run.predicted == 1).sum(), hits.sum() / (truth == 1).sum()
    assert [cell.strip() for cell in tables["by-label"][2]] == [
        "1 (최고)", "60", f"{precision:.3f}", f"{recall:.3f}",
        f"{2 * precision * recall / (precision + recall):.3f}",
    ]  # fmt: skip


def test_the_errors_are_the_wrong_rows_the_most_confident_first(page, one):
    run = one.runs[0]
    wrong = np.flatnonzero(run.predicted != one.rows.labels)
    order = sorted(wrong, key=lambda row: -run.probabilities[row].max())
    rows = Page(page).tables["errors-table"][1:]
    assert [row[4] for row in rows] == [one.rows.ids[row] for row in order]
    assert [row[0] for row in rows] == [f"{run.probabilities[row].max():.3f}" for row in order]


def test_what_was_run_is_there(page):
    facts = {row[0]: row[1] for row in Page(page).tables["facts"] if len(row) == 2}
    assert facts["Backend"] == "jax"
    assert facts["Trainable"] == "3,796,992"
    assert facts["Prompt"] == "음식점 리뷰: {comment}\n한마디로 말해 이 가게는"
    assert facts["keras"] == "3.15.1"
    assert facts["Base fingerprint"] == "ba5e" * 16
    assert re.fullmatch("[0-9a-f]{64}", facts["Adapter"])


def test_epochs_are_there(page):
    assert Page(page).tables["epochs"][1:] == [
        ["mine", "1", "20", "1.0000", "0.7000"],
        ["mine", "2", "40", "0.5000", "0.3500"],
    ]


def test_two_runs_stand_side_by_side_with_mcnemar(pair, two):
    tables, first = Page(pair).tables, two.runs[0]
    test = first.evaluated.mcnemar["hf_torch"]
    a, b = (run.predicted == two.rows.labels for run in two.runs)
    row = next(row for row in tables["mcnemar"] if row[0] == "hf_torch")
    assert row[1:5] == [str(int(count.sum())) for count in (a & b, a & ~b, ~a & b, ~a & ~b)]
    assert row[5] in (f"{test.p_value:.3f}", "< 0.001")
    assert {row[0] for row in tables["metrics"][1:]} == {"keras_jax", "hf_torch", "TF-IDF", "Majority"}
    assert len(tables["errors-table"]) == 1 + int((~(a & b)).sum())
    seed = next(row for row in tables["facts"] if row[0] == "Seed")
    assert seed[1:] == ["0", "3"]
    assert 'class="differs">3</td>' in pair


def test_three_labels_read_out_of_generated_text(one):
    labels = ("나쁨", "보통", "좋음")
    task = Task(
        name="three", slots={"comment": "comment"}, label_column="label", labels=labels,
        verbalizers={"plain": labels}, verbalizer="plain", template="restaurant-cloze",
    )  # fmt: skip
    frame = pd.DataFrame({"id": range(6), "comment": TEXTS[:6], "label": labels * 2})
    rows = read_dataset(frame, task)
    log_probabilities = np.log(np.full((6, 3), 0.1) + 0.7 * np.eye(3)[rows.labels])
    generated = np.array([0, 1, 2, 0, INVALID, 1])
    scores = Scores(rows.ids, labels, log_probabilities, generated)
    run = dataclasses.replace(
        one.runs[0], card={}, history=History((), ()), evaluated=assess(scores, rows, None),
        probabilities=scores.probabilities, predicted=generated,
    )  # fmt: skip
    page = render(ReportContent(rows=rows, runs=(run,), data=None))
    read = Page(page)
    assert read.tables["metrics"][0] == ["", "Accuracy", "Macro F1", "MCC"]
    assert [row[1:4] for row in read.tables["errors-table"][1:]] == [
        ["no label", "보통", TEXTS[4]],
        ["보통", "좋음", TEXTS[5]],
    ]
    assert "16.7% of the generated answers were no label" in page
    assert any("true 좋음 predicted 보통: 1" in label for label in read.labels)


def test_a_review_is_text_and_never_markup(page, one):
    assert any(TRICKY in text for text in one.rows.texts)
    read = Page(page)
    shown = {row[3] for row in read.tables["errors-table"][1:]}
    assert any(text.startswith(TRICKY) for text in shown)
    assert len(read.scripts) == 1
    assert "alert" not in read.scripts[0]


def test_the_page_refers_to_nothing_outside(page, pair):
    for text in (page, pair):
        outside = [address for address in Page(text).addresses if not address.startswith(("#", "data:"))]
        assert outside == []
        assert not re.search(r"url\((?!#|data:)|@import|https?:", text)


def test_ids_are_of_one_element_each(pair):
    ids = re.findall(r'\bid="([^"]+)"', pair)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', pair)) <= set(ids)


def test_the_same_data_make_the_same_bytes(page, one):
    assert render(one) == page


def test_figures_say_their_numbers(page, one):
    [confusion] = [label for label in Page(page).labels if label.startswith("Confusion")]
    counts = one.runs[0].evaluated.model.confusion
    assert f"true 0 (별로) predicted 1 (최고): {counts[0][1]}" in confusion


def test_the_page_brings_the_glyphs_of_its_reviews(page):
    found = re.findall(r"data:font/woff;base64,([^)]+)\)", page)
    assert len(found) == 2  # regular and bold
    for font in found:
        glyphs = TTFont(io.BytesIO(base64.b64decode(font))).getBestCmap()
        assert {ord(character) for text in TEXTS for character in text} <= set(glyphs)


def test_figures_are_drawn_with_a_font_that_has_hangul(one):
    typeface = fonts.find_typeface()
    assert typeface.shows("".join(map(chr, range(ord("가"), ord("힣") + 1))) + "ㅋㅋㅠㅠ 0 (별로)")
    assert not typeface.shows("맛있다 👏")
    from matplotlib.font_manager import findfont, get_font

    drawn_with = get_font(findfont(typeface.family, fallback_to_default=False))
    assert all(drawn_with.get_char_index(ord(character)) for character in "별로최고")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that is missing
        render(one)


def test_without_a_font_labels_are_ascii_and_the_log_says_so(one, monkeypatch, caplog):
    monkeypatch.setattr(fonts, "_candidates", lambda _: iter(()))
    fonts.find_typeface.cache_clear()
    try:
        with warnings.catch_warnings(), caplog.at_level("WARNING"):
            warnings.simplefilter("error")
            page = render(one)
    finally:
        fonts.find_typeface.cache_clear()
    assert "no font with Hangul was found" in caplog.text
    assert "pip install 'kerastune[report]'" in caplog.text
    assert "@font-face" not in page
