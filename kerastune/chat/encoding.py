"""A dialogue -> token ids and trained positions, by our own rendering and never by a search in text or ids.

For each answer the dialogue is rendered up to where the model would begin to write it. The ids of that
prompt must be a prefix of the whole dialogue's ids, or the encoder says so and stops; so an answer is trained
behind the very ids that generation puts in front of it.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from kerastune.chat.messages import Dialogue, Message
from kerastune.chat.template import ChatTemplate, load_chat_template, plain
from kerastune.encoding import Encoded
from kerastune.errors import EncodingError
from kerastune.models import ModelFiles
from kerastune.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True, kw_only=True)
class ChatEncoder:
    """Turns dialogues into token ids for training and generation alike.

    Trained are the assistant's turns, each with the control token that ends it, and nothing else.

    Args:
        template: The chat template, with the model's tokenizer.
        max_length: The most tokens of a dialogue. One that is longer loses its oldest turns, a user's message
            with its answer at a time; never the system message, never the last exchange.
        last_turn_alone: Whether the last answer alone is trained, as preference pairs need it.
    """

    template: ChatTemplate
    max_length: int = 1024
    last_turn_alone: bool = False

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self.template.tokenizer

    @property
    def name(self) -> str:
        """The template's name."""
        return self.template.name

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """All tokens that end an answer."""
        return self.template.stop_ids

    def encode(self, dialogue: Dialogue, example_id: str = "") -> Encoded:
        """Encode a dialogue for training.

        Args:
            dialogue: A dialogue in which the assistant has the last word.
            example_id: What messages call it.

        Raises:
            DataError: The assistant does not have the last word.
            EncodingError: The last exchange is too long, or a prompt's ids are no prefix of the whole's.
            TemplateError: The chat template refuses the messages.
        """
        dialogue.require_answer()
        kept = self.fit(dialogue, example_id)
        text = self.template.render_broken(kept)
        ids = self._ids(text)
        spans = [self._span(kept, text, ids, answer, example_id) for answer in self._answers(kept)]
        (start, _), (_, stop) = spans[0], spans[-1]
        return Encoded(
            example_id=example_id,
            prompt_ids=ids[:start],
            completion_ids=ids[start:stop],
            characters_lost=dialogue.characters - kept.characters,
            untrained=tuple((before[1], after[0]) for before, after in itertools.pairwise(spans)),
        )

    def marked(self, dialogue: Dialogue) -> list[tuple[str, bool]]:
        """The rendered text in parts, each with whether it is trained."""
        text = self.template.render_broken(dialogue)
        end = self.tokenizer.token_text(self.template.turn_end_id)
        parts, done = [], 0
        for answer in self._answers(dialogue):
            head = Dialogue(dialogue.messages[:answer])
            start = len(self.template.render_broken(head, add_generation_prompt=True))
            stop = text.index(end, start) + len(end)
            parts += [(text[done:start], False), (text[start:stop], True)]
            done = stop
        return [(plain(part), trained) for part, trained in [*parts, (text[done:], False)] if part]

    def prompt_ids(self, dialogue: Dialogue) -> tuple[int, ...]:
        """The ids behind which the model writes the assistant's next turn; nothing is left out.

        Args:
            dialogue: A dialogue in which the user has the last word.
        """
        return self._ids(self.template.render_broken(dialogue, add_generation_prompt=True))

    def fit(self, dialogue: Dialogue, example_id: str = "", *, room: int | None = None) -> Dialogue:
        """Leave out oldest turns, each with its answer, until a dialogue fits.

        Args:
            dialogue: The dialogue; where the user has the last word, the head of the answer is counted in.
            example_id: What messages call it.
            room: The most tokens; `max_length` when None.

        Returns:
            The dialogue that is left.

        Raises:
            EncodingError: The system message and the last exchange alone are longer.
        """
        room = self.max_length if room is None else room
        kept = dialogue
        while (length := self._length(kept)) > room:
            shorter = kept.without_oldest_turn()
            if shorter is None:
                raise EncodingError(
                    f"{_row(example_id)}the last exchange{' and the system message' if kept.system else ''} "
                    f"alone take {length} tokens, expected at most {room}; raise max_length, shorten the "
                    "messages, or drop the row"
                )
            kept = shorter
        return kept

    def _answers(self, dialogue: Dialogue) -> range:
        """The places of the trained messages."""
        first = 1 if dialogue.system is None else 2
        last = len(dialogue.messages) - 1
        return range(last if self.last_turn_alone else first, last + 1, 2)

    def _length(self, dialogue: Dialogue) -> int:
        if dialogue.answer is None:
            return len(self.prompt_ids(dialogue))
        return len(self._ids(self.template.render_broken(dialogue)))

    def _span(
        self, dialogue: Dialogue, text: str, ids: tuple[int, ...], answer: int, example_id: str
    ) -> tuple[int, int]:
        """Where an answer's tokens begin, and where they end with the end token inside."""
        where = f"{_row(example_id)}message {answer + 1}: "
        head = self._prefix(dialogue.messages[:answer], text, ids, where, add_generation_prompt=True)
        turn = self._prefix(dialogue.messages[: answer + 1], text, ids, where, add_generation_prompt=False)
        end = self.template.turn_end_id
        places = [place for place in range(head, turn) if ids[place] == end]
        if not places:
            raise EncodingError(
                f"{where}chat template {self.template.name!r} writes no {self.tokenizer.token_text(end)} "
                "after it, so its end could not be trained; choose another with --template"
            )
        return head, places[0] + 1

    def _prefix(
        self,
        messages: Sequence[Message],
        text: str,
        ids: tuple[int, ...],
        where: str,
        *,
        add_generation_prompt: bool,
    ) -> int:
        """The number of ids of the dialogue's beginning, which must be those of the whole."""
        part = Dialogue(tuple(messages))
        beginning = self.template.render_broken(part, add_generation_prompt=add_generation_prompt)
        if not text.startswith(beginning):
            raise EncodingError(
                f"{where}chat template {self.template.name!r} renders what stands before it in another way "
                "when more follows, so training and generation would differ; choose another with --template"
            )
        found = self._ids(beginning)
        if ids[: len(found)] != found:
            raise EncodingError(
                f"{where}its first characters merge with what stands before it, so the prompt's ids are no "
                "prefix of the text's; take white space off its beginning"
            )
        return len(found)

    def _ids(self, broken: str) -> tuple[int, ...]:
        """The ids of a rendered text, with the one BOS in front where the model has one."""
        pieces = list(self.template.pieces(broken))
        bos = self.tokenizer.bos_id
        # A template that writes a BOS of its own writes it where the model has one, and not twice.
        if bos is not None and pieces and pieces[0].token_id == bos:
            del pieces[0]
        plain = iter(self.tokenizer.encode_batch([piece.text for piece in pieces if piece.token_id is None]))
        ids: list[int] = [] if bos is None else [bos]
        for piece in pieces:
            ids += next(plain) if piece.token_id is None else [piece.token_id]
        return tuple(ids)


def make_chat_encoder(
    files: ModelFiles, *, template: str | None = None, max_length: int = 1024, last_turn_alone: bool = False
) -> ChatEncoder:
    """Make the chat encoder of a model; see `ChatEncoder`.

    Args:
        files: The model, from `resolve_model`.
        template: A chat template's name; see `load_chat_template`.
        max_length: The most tokens of a dialogue; never more than the model's context.
        last_turn_alone: Whether the last answer alone is trained.
    """
    context = files.config.get("max_position_embeddings")
    return ChatEncoder(
        template=load_chat_template(files, load_tokenizer(files), template),
        max_length=min(max_length, context) if isinstance(context, int) else max_length,
        last_turn_alone=last_turn_alone,
    )


def _row(example_id: str) -> str:
    return f"row {example_id!r}, " if example_id else ""
