"""Templates: a row's fields in, prompt text and completion text out, byte for byte the same everywhere.

One template object renders a row for training, scoring and generation, and travels in the adapter, so
that the prompt at inference is the prompt of training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import NamedTuple

from kerastune.errors import TemplateError


class Rendered(NamedTuple):
    """A rendered row: the text before the answer, and the answer."""

    prompt: str
    completion: str


@dataclass(frozen=True, kw_only=True)
class Template:
    """How a row becomes text. Slots are named in braces; `{{` and `}}` stand for literal braces.

    Args:
        name: The name by which flags, TOML and adapters call it.
        prompt: The text before the answer, with one slot or more, ending in the answer cue.
        completion: The answer, with exactly one slot.

    Raises:
        TemplateError: A slot is unnamed or has a conversion, or a slot is missing.

    Example:
        >>> template = Template(name="qa", prompt="Q: {question}\\nA:", completion=" {answer}")
        >>> template.slots
        ('question',)
        >>> template.render({"question": "Why {x}?"}, "Because.")
        Rendered(prompt='Q: Why {x}?\\nA:', completion=' Because.')
    """

    name: str
    prompt: str
    completion: str

    def __post_init__(self) -> None:
        """Check the slots."""
        if not self.slots:
            raise TemplateError(f"template {self.name!r}: the prompt has no slot such as {{comment}}")
        if len(_slots(self.name, self.completion)) != 1:
            raise TemplateError(
                f"template {self.name!r}: expected one slot in the completion, received {self.completion!r}"
            )

    @property
    def slots(self) -> tuple[str, ...]:
        """The prompt's slots in the order in which they first occur."""
        return _slots(self.name, self.prompt)

    def render_prompt(self, values: Mapping[str, str]) -> str:
        """Fill the prompt's slots.

        Args:
            values: A text for every slot; braces inside a text stay as they are.

        Raises:
            TemplateError: A slot has no value.
        """
        return _fill(self.name, self.prompt, values)

    def render_completion(self, answer: str) -> str:
        """Fill the completion's one slot with the answer."""
        (slot,) = _slots(self.name, self.completion)
        return _fill(self.name, self.completion, {slot: answer})

    def render(self, values: Mapping[str, str], answer: str) -> Rendered:
        """Render a whole row."""
        return Rendered(self.render_prompt(values), self.render_completion(answer))


def _slots(name: str, text: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(f"template {name!r}: {error} in {text!r}") from error
    for _, slot, spec, conversion in parts:
        if slot is None:
            continue
        if not slot.isidentifier() or spec or conversion:
            raise TemplateError(
                f"template {name!r}: expected slots such as {{comment}}, by name and with no conversion or "
                f"format, received the slot {slot!r} in {text!r}"
            )
        found[slot] = None
    return tuple(found)


def _fill(name: str, text: str, values: Mapping[str, str]) -> str:
    filled = []
    for literal, slot, _, _ in Formatter().parse(text):
        filled.append(literal)
        if slot is None:
            continue
        if slot not in values:
            raise TemplateError(
                f"template {name!r} has the slot {{{slot}}}, for which there is no value "
                f"(there are: {', '.join(values) or 'none'})"
            )
        filled.append(values[slot])
    return "".join(filled)


# A base model answers a cloze with words that it already uses; a bare 0/1 has to be learnt first.
TEMPLATES: Mapping[str, Template] = {
    template.name: template
    for template in (
        Template(
            name="restaurant-cloze",
            prompt="음식점 리뷰: {comment}\n한마디로 말해 이 가게는",
            completion=" {label}",
        ),
        Template(
            name="movie-cloze",
            prompt="영화평: {comment}\n한마디로 말해 이 영화는",
            completion=" {label}",
        ),
        Template(
            name="instruction",
            prompt="Instruction:\n{instruction}\n\nResponse:\n",
            completion="{response}",
        ),
        # The space is the answer's: most vocabularies merge one with the word that follows, and a prompt that
        # ends in it would have other ids than the text that was trained.
        Template(
            name="context-question",
            prompt="### context: {context}\n### question:",
            completion=" {question}",
        ),
    )
}


def literal_template(prompt: str) -> Template:
    r"""Make a template of a prompt's text; `\n` in it stands for a line break, as a shell passes one.

    The answer follows after a space, unless the prompt ends in white space of its own.

    Example:
        >>> literal_template(r"{comment}\nIn a word:").render({"comment": "Good!"}, "great")
        Rendered(prompt='Good!\nIn a word:', completion=' great')
    """
    prompt = prompt.replace("\\n", "\n")
    space = "" if prompt[-1:].isspace() else " "
    return Template(name="literal", prompt=prompt, completion=f"{space}{{label}}")


def get_template(template: str | Template) -> Template:
    """Look a template up by name; a `Template` comes back as it is, and a prompt's text as a template.

    Raises:
        TemplateError: There is no template of that name; the message lists those there are.
    """
    if isinstance(template, Template):
        return template
    if "{" in template:
        return literal_template(template)
    if template not in TEMPLATES:
        raise TemplateError(f"unknown template {template!r}; there are: {', '.join(TEMPLATES)}")
    return TEMPLATES[template]
