"""The encoder that a task's dialogues are said with: a chat template's, or that of one plain exchange."""

from typing import Protocol

from kerastune.chat.encoding import make_chat_encoder
from kerastune.chat.exchange import ExchangeEncoder
from kerastune.chat.messages import Dialogue
from kerastune.chat.named_templates import NAMED_TEMPLATES
from kerastune.chat.template import OWN
from kerastune.encoding import Encoded
from kerastune.errors import TemplateError
from kerastune.models import ModelFiles
from kerastune.template import TEMPLATES, get_template
from kerastune.tokenizer import Tokenizer, load_tokenizer


class DialogueEncoder(Protocol):
    """What turns dialogues into token ids, for training and generation alike."""

    @property
    def name(self) -> str:
        """The template's name."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""

    @property
    def max_length(self) -> int:
        """The most tokens of a dialogue."""

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """All tokens that end an answer."""

    def encode(self, dialogue: Dialogue, example_id: str = "") -> Encoded:
        """Encode a dialogue in which the assistant has the last word, for training."""

    def fit(self, dialogue: Dialogue, example_id: str = "") -> Dialogue:
        """What `encode` keeps of a dialogue that is too long."""

    def prompt_ids(self, dialogue: Dialogue) -> tuple[int, ...]:
        """The ids behind which the model answers a dialogue in which the user has the last word."""

    def marked(self, dialogue: Dialogue) -> list[tuple[str, bool]]:
        """The rendered text in parts, each with whether it is trained."""


def make_dialogue_encoder(
    files: ModelFiles, *, template: str | None, max_length: int, last_turn_alone: bool = False
) -> DialogueEncoder:
    """Make the encoder of a model's dialogues.

    Args:
        files: The model.
        template: A chat template's name, a plain template's name, or a plain prompt with one slot; None is
            the model's own chat template, or the named one that it knows the tokens of.
        max_length: The most tokens of a dialogue; never more than the model's context.
        last_turn_alone: Whether the last answer alone is trained.

    Raises:
        TemplateError: There is no template of that name, or it is none for this model.
    """
    if template is None or template == OWN or template in NAMED_TEMPLATES:
        return make_chat_encoder(
            files, template=template, max_length=max_length, last_turn_alone=last_turn_alone
        )
    if template not in TEMPLATES and "{" not in template:
        raise TemplateError(
            f"unknown template {template!r}; there are chat templates: {OWN}, {', '.join(NAMED_TEMPLATES)}; "
            f"and plain ones: {', '.join(TEMPLATES)}"
        )
    context = files.config.get("max_position_embeddings")
    return ExchangeEncoder(
        template=get_template(template),
        tokenizer=load_tokenizer(files),
        max_length=min(max_length, context) if isinstance(context, int) else max_length,
    )
