"""A model that answers, a run's or a base: how prompts are put to it, and its own way to choose tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kerastune.adapter import adapter_hash
from kerastune.adapter_card import CARD, Link, read_card
from kerastune.adapter_chain import chain_of, read_chain, require_same_base
from kerastune.adapter_source import AdapterSource, holds_adapter, open_adapter
from kerastune.chat import Dialogue, Message, own_template
from kerastune.chat.encoders import DialogueEncoder, make_dialogue_encoder
from kerastune.chat.template import OWN
from kerastune.config import RunConfig
from kerastune.config_file import read_config
from kerastune.decoding import DIALOGUE_PENALTY, GenerationSpec
from kerastune.errors import ConfigError, EncodingError
from kerastune.json_files import read_object
from kerastune.lora import Factors
from kerastune.models import ModelFiles, resolve_model
from kerastune.run import CONFIG_TOML
from kerastune.stack import Stack, load_stack
from kerastune.task import Task
from kerastune.text_task import TextTask, find_task
from kerastune.tokenizer import Tokenizer, load_tokenizer

_GENERATION_CONFIG = "generation_config.json"
# What transformers takes where a generation_config.json that samples does not say.
_SAMPLED = {"temperature": 1.0, "top_k": 50, "top_p": 1.0}


@dataclass
class Speaker:
    """A model that answers, loaded at its first answer.

    Args:
        files: The base model.
        config: The run's configuration, or that of the options for a model without a run.
        encoder: How messages are said; None where prompts go to the model as they are.
        tokenizer: The model's tokenizer.
        adapter: The adapter that goes onto the base, if any.
        beneath: The runs whose adapters are beneath that one.
    """

    files: ModelFiles
    config: RunConfig
    encoder: DialogueEncoder | None
    tokenizer: Tokenizer = field(repr=False)
    adapter: AdapterSource | None = field(default=None, repr=False)
    beneath: tuple[Link, ...] = ()

    @cached_property
    def stack(self) -> Stack:
        """The model with its adapter, and with those beneath it.

        Raises:
            ModelError: The model is damaged, or cannot be loaded.
        """
        stack = load_stack(self.config.model, self.files)
        if self.beneath:
            stack.add_to_base(read_chain(self.beneath))
        factors: Mapping[str, Factors] = {} if self.adapter is None else self.adapter.factors
        if factors:
            stack.load_adapter(factors)
        return stack

    def load(self) -> None:
        """Load the model now, so that the first answer does not wait for it; see `stack`."""
        _ = self.stack

    @property
    def task(self) -> TextTask | None:
        """The task of a run whose answers are texts."""
        task = find_task(self.config.task) if self.adapter is not None else None
        return task if isinstance(task, TextTask) else None

    @property
    def context(self) -> int:
        """The most tokens that a prompt and its answer may have."""
        length = self.files.config.get("max_position_embeddings")
        return length if isinstance(length, int) else 1 << 30

    @property
    def provenance(self) -> dict[str, str]:
        """The hashes of what decides the answers."""
        adapter = "" if self.adapter is None else adapter_hash(self.adapter.folder)
        return {"base model": self.files.fingerprint, "adapter": adapter}

    def spec(self, **options: Any) -> GenerationSpec:
        """How answers are written: what is asked for, else what the model's generation_config.json says.

        A run whose answers are messages takes `DIALOGUE_PENALTY` where neither says a penalty.

        Args:
            options: Fields of `GenerationSpec`; None leaves one to the model.

        Raises:
            ConfigError: An option is out of its range.
        """
        given = {name: value for name, value in options.items() if value is not None}
        stops = self.tokenizer.end_ids if self.encoder is None else self.encoder.stop_ids
        return GenerationSpec(
            **{"max_new_tokens": 256, **self._defaults(), **given},
            stop_ids=tuple(stops),
            pad_id=self.tokenizer.pad_id,
        )

    def _defaults(self) -> dict[str, Any]:
        tuned = self.adapter is not None and self.encoder is not None
        usual = {"repetition_penalty": DIALOGUE_PENALTY} if tuned else {}
        path = self.files.path / _GENERATION_CONFIG
        if not path.is_file():
            return usual
        said = read_object(path, ConfigError, "fetch the model again")
        found = {"repetition_penalty": said.get("repetition_penalty")}
        if said.get("do_sample"):
            found |= {name: said.get(name, otherwise) for name, otherwise in _SAMPLED.items()}
        return usual | {name: value for name, value in found.items() if value is not None}

    def prompt_ids(self, prompt: str | Dialogue, room: int, where: str) -> tuple[int, ...]:
        """The ids behind which the model answers.

        Args:
            prompt: A text, which is the user's message where the model has a template; or a dialogue.
            room: How many tokens the answer may have.
            where: How messages name the prompt.

        Raises:
            EncodingError: Prompt and answer are longer than the model's context.
            TemplateError: The template refuses the messages.
        """
        if self.encoder is not None:
            dialogue = prompt if isinstance(prompt, Dialogue) else Dialogue((Message("user", prompt),))
            ids = self.encoder.prompt_ids(dialogue)
        elif isinstance(prompt, Dialogue):
            raise EncodingError(
                f"{where}: is a dialogue, which {self.files.name} has no chat template for; name one with "
                "--template, such as chatml"
            )
        else:
            bos = self.tokenizer.bos_id
            ids = (*(() if bos is None else (bos,)), *self.tokenizer.encode(prompt))
        if not ids:
            raise EncodingError(f"{where}: the prompt has no tokens; write a text")
        if len(ids) + room > self.context:
            raise EncodingError(
                f"{where}: {len(ids)} tokens, and {room} for the answer, are more than the context of "
                f"{self.context}; shorten the prompt, or lower --max-new-tokens"
            )
        return ids


def open_speaker(
    source: str,
    options: Mapping[str, Any] | None = None,
    *,
    template: str | None = None,
    raw: bool = False,
    chat: bool = False,
) -> Speaker:
    """Find a run or a model and how it is spoken to; the model is loaded at its first answer.

    Args:
        source: The folder of a run or of an adapter, or a model's name.
        options: Options of `ModelSpec` that replace the run's.
        template: A chat template's name; the run's own, or the one in the model's files, when None.
        raw: Whether prompts go to the model as they are, whatever templates there are.
        chat: Whether a template has to be there.

    Raises:
        AdapterError: The adapter is damaged or is for another base, or one beneath it is missing or changed.
        ModelError: The model is not found.
        TemplateError: There is no such template, or none at all where one has to be.
    """
    if raw and template is not None:
        raise ConfigError("raw: expected no --template with --raw, which leaves prompts as they are")
    given = dict(options or {})
    beneath: tuple[Link, ...] = ()
    if holds_adapter(source):
        adapter = open_adapter(Path(source), given.pop("model", None))
        files, config = adapter.files, adapter.config.with_options(given)
        beneath = chain_of(adapter.folder)
        require_same_base(beneath, files.name, files.fingerprint)
    else:
        adapter, config = None, _configuration(source, given)
        files = resolve_model(config.model.model)
    tokenizer = load_tokenizer(files)
    name = None if raw else _template(files, config, adapter, template, chat=chat)
    encoder = None
    if name is not None:
        limit = files.config.get("max_position_embeddings") or 1 << 30
        encoder = make_dialogue_encoder(files, template=name, max_length=limit)
    return Speaker(files, config, encoder, tokenizer, adapter, beneath)


def _configuration(source: str, options: Mapping[str, Any]) -> RunConfig:
    """The configuration of an untrained run; for a model, that of the options."""
    if (Path(source) / CONFIG_TOML).is_file():
        return read_config(Path(source) / CONFIG_TOML).with_options(options)
    return RunConfig().with_options({**options, "model": source})


def _template(
    files: ModelFiles, config: RunConfig, adapter: AdapterSource | None, asked: str | None, *, chat: bool
) -> str | None:
    """The template's name; None for a model that has none, which continues texts."""
    own = own_template(files) is not None
    if asked is not None:
        return asked
    if adapter is not None:
        card = read_card(adapter.folder) if (adapter.folder / CARD).is_file() else None
        if card is not None and not isinstance(find_task(card.task), Task):
            return config.template or card.template
        if not chat:
            return None
    return OWN if own or chat else None
