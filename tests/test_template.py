"""Templates render a row's values as they are, and refuse what they would have to guess."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerastune.errors import TemplateError
from kerastune.template import TEMPLATES, Rendered, Template, get_template


@given(first=st.text(), second=st.text())
def test_values_are_rendered_verbatim(first, second):
    template = Template(name="two", prompt="{{a}} {x}|{y}|{x}\n", completion="{answer}")
    assert (
        template.render_prompt({"x": first, "y": second})
        == "{a} " + first + "|" + second + "|" + first + "\n"
    )


def test_braces_in_values_are_text():
    template = Template(name="t", prompt="Q: {x}", completion=" {a}!")
    assert template.render({"x": "{y} {0} {{"}, "{x}") == Rendered("Q: {y} {0} {{", " {x}!")


def test_slots_in_order_each_once():
    assert Template(name="t", prompt="{b}{a}{b}", completion="{c}").slots == ("b", "a")


@pytest.mark.parametrize("slot", ["{x!r}", "{x:>9}", "{x.y}", "{x[0]}", "{}", "{0}", "{ x }"])
def test_only_plain_slots(slot):
    with pytest.raises(TemplateError, match=r"expected slots such as \{comment\}"):
        Template(name="t", prompt=f"Q: {slot}", completion="{a}")


@pytest.mark.parametrize("prompt", ["{x", "x}", "{x!}"])
def test_unbalanced_braces(prompt):
    with pytest.raises(TemplateError, match="template 't'"):
        Template(name="t", prompt=prompt, completion="{a}")


def test_prompt_needs_a_slot():
    with pytest.raises(TemplateError, match=r"has no slot such as \{comment\}"):
        Template(name="t", prompt="{{x}}", completion="{a}")


@pytest.mark.parametrize("completion", ["", "yes", "{a}{b}"])
def test_completion_needs_one_slot(completion):
    with pytest.raises(TemplateError, match="one slot in the completion"):
        Template(name="t", prompt="{x}", completion=completion)


def test_missing_value_is_named():
    with pytest.raises(TemplateError, match=r"slot {x}.*there are: y"):
        Template(name="t", prompt="{x}", completion="{a}").render_prompt({"y": "1"})


def test_named_templates_byte_for_byte():
    values = {"comment": "짜요", "instruction": "짜요", "context": "짜요"}
    assert {name: template.render(values, "0") for name, template in TEMPLATES.items()} == {
        "restaurant-cloze": ("음식점 리뷰: 짜요\n한마디로 말해 이 가게는", " 0"),
        "movie-cloze": ("영화평: 짜요\n한마디로 말해 이 영화는", " 0"),
        "instruction": ("Instruction:\n짜요\n\nResponse:\n", "0"),
        "context-question": ("### context: 짜요\n### question:", " 0"),
    }


def test_get_template():
    own = Template(name="t", prompt="{x}", completion="{a}")
    assert get_template(own) is own
    assert get_template("instruction") is TEMPLATES["instruction"]
    with pytest.raises(TemplateError, match="unknown template 'instruktion'; there are: restaurant-cloze, "):
        get_template("instruktion")
