"""One exchange said by a plain template: a prompt with one slot, the answer, and the end token."""

from dataclasses import dataclass

from kerastune.chat.messages import Dialogue, Message
from kerastune.encoding import LONGEST_PIECE, Encoded
from kerastune.errors import EncodingError
from kerastune.graphemes import longest_start
from kerastune.template import Template
from kerastune.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ExchangeEncoder:
    """Turns dialogues of one exchange into token ids by a template of the project's own.

    The user's message fills the template's slot, after the system message where there is one. Trained are
    the answer and the model's end token.

    Args:
        template: A template whose prompt has one slot.
        tokenizer: The model's tokenizer.
        max_length: The most tokens of an exchange. One that is longer loses characters off the end of the
            user's message, whole graphemes at a time; never the template's text, never the answer.

    Raises:
        EncodingError: The template has several slots.
    """

    template: Template
    tokenizer: Tokenizer
    max_length: int = 1024

    def __post_init__(self) -> None:
        """Check that it is clear where the user's message goes."""
        if len(self.template.slots) != 1:
            raise EncodingError(
                f"template {self.template.name!r}: expected one slot for the user's message, received "
                f"{', '.join(self.template.slots)}"
            )

    @property
    def name(self) -> str:
        """The template's name."""
        return self.template.name

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """All tokens that end an answer."""
        return self.tokenizer.end_ids

    def encode(self, dialogue: Dialogue, example_id: str = "") -> Encoded:
        """Encode an exchange for training.

        Args:
            dialogue: A dialogue of one exchange.
            example_id: What messages call it.

        Raises:
            DataError: The assistant does not have the last word.
            EncodingError: It has several turns, no room is left for its message, or its answer merges with
                the prompt.
        """
        dialogue.require_answer()
        kept = self.fit(dialogue, example_id)
        (prompt, _), (completion, _) = self.marked(kept)
        prompt_ids, ids = self.tokenizer.encode_batch([prompt, prompt + completion])
        if ids[: len(prompt_ids)] != prompt_ids:
            raise EncodingError(
                f"row {example_id!r}: the answer merges with the end of the prompt, so the prompt's ids are "
                "no prefix of the text's; take white space off the answer's beginning"
            )
        return Encoded(
            example_id=example_id,
            prompt_ids=(*self._bos, *prompt_ids),
            completion_ids=(*ids[len(prompt_ids) :], self.tokenizer.eos_id),
            characters_lost=dialogue.characters - kept.characters,
        )

    def prompt_ids(self, dialogue: Dialogue) -> tuple[int, ...]:
        """The ids behind which the model writes the answer; nothing is cut off."""
        return (*self._bos, *self.tokenizer.encode(self.marked(dialogue)[0][0]))

    def marked(self, dialogue: Dialogue) -> list[tuple[str, bool]]:
        """The rendered text in parts, each with whether it is trained; the end token is no text."""
        message = _one_message(dialogue, self.template.name)
        prompt = self.template.render_prompt({self.template.slots[0]: message})
        answer = dialogue.answer
        return [(prompt, False), ("" if answer is None else self.template.render_completion(answer), True)]

    def fit(self, dialogue: Dialogue, example_id: str = "") -> Dialogue:
        """Cut the user's message off until an exchange fits into `max_length`."""
        if self._length(dialogue) <= self.max_length:
            return dialogue
        message = _one_message(dialogue, self.template.name)

        def with_message(text: str) -> Dialogue:
            return Dialogue((Message("user", text), *dialogue.messages[-1:]))

        message = message[: self.max_length * LONGEST_PIECE]
        kept = longest_start(message, lambda start: self._length(with_message(start)) <= self.max_length)
        if not kept.strip():
            raise EncodingError(
                f"row {example_id!r}: max_length {self.max_length} has no room for the answer and some text "
                "before it; raise max_length, or drop the row"
            )
        return with_message(kept)

    def _length(self, dialogue: Dialogue) -> int:
        text = "".join(part for part, _ in self.marked(dialogue))
        return len(self.tokenizer.encode(text)) + len(self._bos) + 1

    @property
    def _bos(self) -> tuple[int, ...]:
        return () if self.tokenizer.bos_id is None else (self.tokenizer.bos_id,)


def _one_message(dialogue: Dialogue, name: str) -> str:
    said = dialogue.with_system_in_first_turn().before_answer.messages
    if len(said) != 1:
        raise EncodingError(
            f"template {name!r} says one exchange, the dialogue has {(len(said) + 1) // 2}; choose a chat "
            "template with --template, such as zephyr"
        )
    return said[0].content
