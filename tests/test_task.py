"""Tasks name fields and labels, and refuse labels that cannot be told apart."""

from dataclasses import replace

import pytest

from kerastune.errors import TemplateError
from kerastune.task import TASKS, SubmissionSchema, get_task
from kerastune.template import Template, get_template

TASK = get_task("review-sentiment")


def test_the_default_task():
    assert (TASK.labels, TASK.label_column, TASK.id_column) == ((0, 1), "label", "id")
    assert TASK.fields == ("comment",)
    assert TASK.words() == ("별로", "최고")
    assert TASK.words("0/1") == ("0", "1")
    assert set(get_template(TASK.template).slots) <= set(TASK.slots)


def test_values_fill_the_slots_of_either_template():
    row = {"comment": "짜요"}
    assert TASK.values(get_template("restaurant-cloze"), row) == {"comment": "짜요"}
    assert TASK.values(get_template("instruction"), row) == {"instruction": "짜요"}


def test_slot_that_the_task_does_not_fill():
    template = Template(name="t", prompt="{comment}{menu}", completion="{a}")
    with pytest.raises(TemplateError, match=r"slot {menu}.*fills: comment, instruction"):
        TASK.values(template, {"comment": "짜요"})


@pytest.mark.parametrize("labels", [(), (0,), (0, 0), (1, "1")])
def test_labels_differ(labels):
    verbalizers = {"v": tuple(f"w{number}" for number in range(len(labels)))}
    with pytest.raises(TemplateError, match="expected two labels or more"):
        replace(TASK, labels=labels, verbalizers=verbalizers, verbalizer="v")


@pytest.mark.parametrize("words", [("최고",), ("최고", "최고"), ("", "최고"), ("a", "b", "c")])
def test_verbalizer_says_each_label_in_its_own_word(words):
    with pytest.raises(TemplateError, match="verbalizer 'v' must say each of the labels"):
        replace(TASK, verbalizers={"v": words}, verbalizer="v")


def test_default_verbalizer_exists():
    with pytest.raises(TemplateError, match="no verbalizer 'x'; there are: 별로/최고, "):
        replace(TASK, verbalizer="x")


def test_alias_is_for_a_label():
    assert replace(TASK, aliases={"positive": 1}).aliases == {"positive": 1}
    with pytest.raises(TemplateError, match="alias 'positive' is for 2"):
        replace(TASK, aliases={"positive": 2})


def test_get_task():
    assert get_task(TASK) is TASK is TASKS["review-sentiment"]
    with pytest.raises(TemplateError, match="unknown task 'reviews'; there are: review-sentiment"):
        get_task("reviews")


def test_a_submission_has_the_id_the_fields_and_the_label_unless_told():
    assert replace(TASK, submission=SubmissionSchema()).submission_columns == ("id", "comment", "label")
    assert replace(TASK, submission=SubmissionSchema(columns=("label", "id"))).submission_columns == (
        "label",
        "id",
    )


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (
            {"columns": ("id", "comment")},
            "a submission needs the column 'label', its columns are id, comment",
        ),
        ({"columns": ("id", "label", "id")}, "columns must differ, received id, label, id; name each once"),
    ],
)
def test_submissions_that_would_miss_something(schema, said):
    with pytest.raises(TemplateError, match=said):
        replace(TASK, submission=SubmissionSchema(**schema))


def test_integer_labels_that_are_none():
    with pytest.raises(
        TemplateError, match=r"a submission's labels are integers, the labels are \('a', 'b'\)"
    ):
        replace(TASK, labels=("a", "b"), submission=SubmissionSchema(label_type="integer"))
