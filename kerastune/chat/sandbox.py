"""Jinja for templates that came with a model, in a sandbox: they can change nothing and reach nothing."""

import json
from collections.abc import Callable
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kerastune.errors import TemplateError, one_line


class _Generation(Extension):
    """`{% generation %}` marks the assistant's text for transformers; here it is that text alone."""

    tags = {"generation"}  # noqa: RUF012 - the attribute is Jinja's

    def parse(self, parser: Parser) -> list[Node]:
        """Take the tag off its body."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def compile_template(source: str, name: str) -> Callable[..., str]:
    """Compile a chat template as transformers does, so that it gives the same text.

    `strftime_now` is not defined: templates that would write today's date into a prompt take a date of their
    own instead, so that training and inference say the same.

    Args:
        source: The Jinja template.
        name: What messages call it.

    Returns:
        A function from the template's variables to text.

    Raises:
        TemplateError: The template is no Jinja, or, when it renders, refuses the messages or fails.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    try:
        template = environment.from_string(source)
    except (jinja2.TemplateError, SyntaxError, ValueError, RecursionError, OverflowError) as error:
        raise TemplateError(
            f"chat template {name!r}: cannot be read as Jinja: {error}; choose a named one with --template"
        ) from error

    def render(**variables: Any) -> str:
        try:
            return str(template.render(**variables))
        except Exception as error:  # a stranger's program: it can fail in any way that there is
            raise TemplateError(
                f"chat template {name!r}: does not render these messages: {one_line(error)}; choose a named "
                "one with --template, or change the messages"
            ) from error

    return render


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    # Not Jinja's own, which escapes for HTML.
    return json.dumps(value, ensure_ascii=False, indent=indent)
