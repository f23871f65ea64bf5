"""The chat template: messages in, text out, in which a user's own text never becomes a control token.

A template's text holds control tokens such as `<end_of_turn>`; so may a content, where somebody typed one.
Before a template renders contents, what looks like a control token in them is broken by a code point that is
no character; afterwards the text is taken apart at the whole control tokens, which are the template's own,
and the breaks are taken out of the rest.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from kerastune.chat.messages import Dialogue, Message
from kerastune.chat.named_templates import NAMED_TEMPLATES
from kerastune.errors import ModelError, TemplateError
from kerastune.models import ModelFiles
from kerastune.models.files import read_json
from kerastune.tokenizer import Tokenizer

_BREAK = "\ufdd0"
#: The name of the template that a model's own files hold.
OWN = "own"


class Piece(NamedTuple):
    """A part of a rendered dialogue: plain text, or a control token."""

    text: str
    token_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """How messages become text.

    Args:
        name: A named template, or `"own"` for the one in the model's files.
        source: The Jinja template.
        tokenizer: The model's tokenizer, whose special tokens are the control tokens.
        variables: What else the template may write: `bos_token`, `eos_token` and such.

    Raises:
        TemplateError: The template is no Jinja; or, when it renders, refuses the messages or fails.
    """

    name: str
    source: str
    tokenizer: Tokenizer = field(repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def render(self, dialogue: Dialogue, *, add_generation_prompt: bool = False) -> str:
        """Render a dialogue as text, for people to read.

        Args:
            dialogue: The messages.
            add_generation_prompt: Whether the head of the assistant's next turn follows.
        """
        return plain(self.render_broken(dialogue, add_generation_prompt=add_generation_prompt))

    def render_broken(self, dialogue: Dialogue, *, add_generation_prompt: bool = False) -> str:
        """Render a dialogue with the control tokens that its contents hold broken, for `pieces`."""
        if not self.has_system_role:
            dialogue = dialogue.with_system_in_first_turn()
        return self._rendered(dialogue.messages, add_generation_prompt)

    def pieces(self, broken: str) -> Iterator[Piece]:
        """Take what `render_broken` returned apart into plain text and the template's control tokens."""
        ids = self.tokenizer.special_ids
        end = 0
        for match in self._control.finditer(broken):
            if match.start() > end:
                yield Piece(plain(broken[end : match.start()]))
            yield Piece(match[0], ids[match[0]])
            end = match.end()
        if end < len(broken):
            yield Piece(plain(broken[end:]))

    @cached_property
    def has_system_role(self) -> bool:
        """Whether the template says a system message; where not, it goes in front of the user's first."""
        probe = (Message("system", "0s0"), Message("user", "0u0"))
        try:
            return "0s0" in self._rendered(probe, add_generation_prompt=True)
        except TemplateError:
            return False

    @cached_property
    def turn_end_id(self) -> int:
        """The control token that ends the assistant's turns; training teaches it.

        Raises:
            TemplateError: The template ends them with none, so that no answer would ever stop.
        """
        probe = (Message("user", "0u0"), Message("assistant", "0a0"))
        after = self._rendered(probe, add_generation_prompt=False).partition("0a0")[2]
        for piece in self.pieces(after):
            if piece.token_id is not None:
                return piece.token_id
        raise TemplateError(
            f"chat template {self.name!r}: ends the assistant's turn with no control token that this model "
            f"knows, so no answer would stop; choose another with --template: {', '.join(NAMED_TEMPLATES)}"
        )

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """All tokens that end an answer: the template's, and every end that the model's files name."""
        return tuple(dict.fromkeys((self.turn_end_id, *self.tokenizer.end_ids)))

    def _rendered(self, messages: tuple[Message, ...], add_generation_prompt: bool) -> str:
        broken = [
            {"role": message.role, "content": self._control.sub(_broken, message.content)}
            for message in messages
        ]
        return self._jinja(
            messages=broken,
            add_generation_prompt=add_generation_prompt,
            tools=None,
            documents=None,
            **self.variables,
        )

    @cached_property
    def _jinja(self) -> Callable[..., str]:
        from kerastune.chat.sandbox import compile_template

        return compile_template(self.source, self.name)

    @cached_property
    def _control(self) -> re.Pattern[str]:
        # The longest first; one character cannot be broken.
        tokens = sorted((token for token in self.tokenizer.special_ids if len(token) > 1), key=len)
        return re.compile("|".join(map(re.escape, reversed(tokens))) or r"(?!)")


def plain(broken: str) -> str:
    """Take the breaks out of what `ChatTemplate.render_broken` returned."""
    return broken.replace(_BREAK, "")


def _broken(match: re.Match[str]) -> str:
    return match[0][0] + _BREAK + match[0][1:]


def own_template(files: ModelFiles) -> str | None:
    """The Jinja template in a model's own files; None where there is none: it was not made for chats."""
    return _own_source(files.path, _optional(files.path / "tokenizer_config.json"))


def load_chat_template(files: ModelFiles, tokenizer: Tokenizer, name: str | None = None) -> ChatTemplate:
    """Find a model's chat template.

    Args:
        files: The model.
        tokenizer: Its tokenizer.
        name: `"own"`, a named template, or None for the model's own where it has one, else for the first
            named one whose tokens the model knows.

    Raises:
        TemplateError: There is no template of that name, the model has none of its own, or the model lacks a
            token that the template needs.
    """
    settings = _optional(files.path / "tokenizer_config.json")
    own = own_template(files)
    if name is None:
        name = (
            OWN if own is not None else next(key for key in NAMED_TEMPLATES if not _lacking(key, tokenizer))
        )
    if name == OWN:
        if own is None:
            raise TemplateError(
                f"{files.name}: has no chat template of its own; choose one with --template: "
                f"{', '.join(NAMED_TEMPLATES)}"
            )
        source = own
    elif name in NAMED_TEMPLATES:
        if lacking := _lacking(name, tokenizer):
            raise TemplateError(
                f"chat template {name!r}: needs the token {lacking[0]}, which {files.name} does not know; "
                "leave --template out, or choose zephyr, which needs none of its own"
            )
        source = NAMED_TEMPLATES[name].source
    else:
        raise TemplateError(f"unknown chat template {name!r}; there are: {OWN}, {', '.join(NAMED_TEMPLATES)}")
    return ChatTemplate(
        name=name, source=source, tokenizer=tokenizer, variables=_variables(settings, tokenizer)
    )


def _lacking(name: str, tokenizer: Tokenizer) -> list[str]:
    return [token for token in NAMED_TEMPLATES[name].needs if token not in tokenizer.special_ids]


def _own_source(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The template in a model's files, as newer or older versions of transformers save it."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ModelError(f"{file}: cannot be read: {error}; fetch the model again") from error
    source = settings.get("chat_template")
    if isinstance(source, list):  # several, by name
        source = {one.get("name"): one.get("template") for one in source}.get("default")
    return source if isinstance(source, str) else None


def _variables(settings: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, str]:
    found = {}
    for role, number in (("bos", tokenizer.bos_id), ("eos", tokenizer.eos_id), ("pad", None), ("unk", None)):
        token = settings.get(f"{role}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token is None and number is not None:
            token = tokenizer.token_text(number)
        if token is not None:
            found[f"{role}_token"] = str(token)
    return found


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
