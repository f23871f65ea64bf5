"""A session for a task whose answers are texts: a base model and the encoder of its dialogues."""

from collections.abc import Callable
from typing import TypeVar

from kerastune.adapter_card import AdapterCard
from kerastune.adapter_chain import continued
from kerastune.chat.data_report import DialogueReport, report_dialogues
from kerastune.chat.encoders import DialogueEncoder, make_dialogue_encoder
from kerastune.chat.encoding import ChatEncoder
from kerastune.chat.exchange import ExchangeEncoder
from kerastune.chat.reading import Dialogues, TextRows, ValueT
from kerastune.config import RunConfig
from kerastune.encoding import Encoded
from kerastune.errors import ConfigError, DataError, EncodingError, TemplateError
from kerastune.models import resolve_model
from kerastune.objective import Objective
from kerastune.session import ModelSession, Prepared
from kerastune.text_task import TextTask, get_text_task

EncodedT = TypeVar("EncodedT")


class TextSession(ModelSession[DialogueEncoder]):
    """A session for a task whose answers are texts."""

    @property
    def task(self) -> TextTask:
        """The task."""
        return get_text_task(self.config.task)

    @property
    def card(self) -> AdapterCard:
        """What an adapter of this session is for."""
        encoder = self.encoder
        plain = encoder.template if isinstance(encoder, ExchangeEncoder) else None
        return AdapterCard(
            base_id=self.files.base_id,
            model=self.files.name,
            base_fingerprint=self.files.fingerprint,
            tokenizer_fingerprint=encoder.tokenizer.fingerprint,
            task=self.config.task,
            template=encoder.name,
            prompt="" if plain is None else plain.prompt,
            completion="" if plain is None else plain.completion,
            labels=(),
            label_words=(),
            max_length=encoder.max_length,
            layout=self.config.lora.layout,
            beneath=self.beneath,
            chat_template=encoder.template.source if isinstance(encoder, ChatEncoder) else "",
        )

    def report(self, rows: Dialogues, others: Dialogues | None = None) -> DialogueReport:
        """Count what is in tables of dialogues."""
        return report_dialogues(rows, others)

    def prepare(self, rows: Dialogues, validation: Dialogues | None = None) -> Prepared:
        """Encode dialogues; see `ModelSession.prepare`.

        Raises:
            ConfigError: An option is for tasks with labels.
            DataError: A dialogue cannot be used, and such rows are not to be left out.
        """
        objective = self._objective()
        encoded, left = encode_rows(rows, self.encoder.encode)
        watched: dict[int, Encoded] = {}
        left = [*rows.left, *left]
        if validation is not None:
            watched, watched_left = encode_rows(validation, self.encoder.encode)
            left += [*validation.left, *watched_left]
        return Prepared(
            examples=tuple(encoded.values()),
            validation=tuple(watched.values()),
            objective=objective,
            pad_id=self.encoder.tokenizer.pad_id,
            truncated=sum(example.characters_lost > 0 for example in encoded.values()),
            template=self.encoder.name,
            words=(),
            source={"source": rows.name, "sha256": rows.sha256, "rows": len(encoded)},
            left=tuple(left),
        )

    def _objective(self) -> Objective:
        config, name = self.config, self.task.name
        if config.train.shots:
            raise ConfigError(f"shots: expected 0 for task {name!r}, whose rows have no labels to show")
        if config.verbalizer is not None:
            raise ConfigError(f"verbalizer: expected none for task {name!r}, which has no labels to say")
        loss_on = config.train.loss_on or self.task.loss_on
        if loss_on not in ("assistant", "all"):
            raise ConfigError(
                f"loss_on: expected 'assistant' or 'all' for task {name!r}, received {loss_on!r}"
            )
        return Objective(loss_on)


def encode_rows(
    rows: TextRows[ValueT], encode: Callable[[ValueT, str], EncodedT]
) -> tuple[dict[int, EncodedT], list[str]]:
    """Encode rows, each of them or, where bad ones are skipped, those that can be.

    Args:
        rows: The rows.
        encode: Makes token ids of what a row says, and of its id.

    Returns:
        Row -> its example, and a message for each row that was left out.

    Raises:
        DataError: A row cannot be encoded, and such rows are not to be left out; or all were left out.
    """
    encoded: dict[int, EncodedT] = {}
    left: list[str] = []
    for row, (name, value) in enumerate(zip(rows.ids, rows.values, strict=True)):
        try:
            encoded[row] = encode(value, name)
        except (EncodingError, TemplateError) as reason:
            message = f"{rows.where(row)}: {reason}"
            if not rows.skip_bad_rows:
                raise DataError(f"{message}; --skip-bad-rows leaves such rows out") from reason
            left.append(message)
    if not encoded:
        raise DataError(f"{rows.name}: no row is left to use; the first was left out: {left[0]}")
    return encoded, left


def open_text_session(config: RunConfig) -> TextSession:
    """Find the base model of a configuration of a task whose answers are texts, and make its encoder.

    Raises:
        ModelError: The model is not found.
        TemplateError: The task has labels, or there is no such template.
    """
    config, task = continued(config), get_text_task(config.task)
    files = resolve_model(config.model.model)
    encoder = make_dialogue_encoder(
        files,
        template=task.template if config.template is None else config.template,
        max_length=config.train.max_length or task.max_length,
    )
    return TextSession(config, files, encoder)
