"""A base model, loaded when it is needed, and the encoder and the card that go with it."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from kerastune.adapter_card import AdapterCard, Link
from kerastune.adapter_chain import chain_beneath, continued, read_chain, require_same_base
from kerastune.batching import Example
from kerastune.config import RunConfig
from kerastune.dataset import DataReport, Dataset, report_data, require_classes
from kerastune.encoding import Encoder
from kerastune.few_shot import SHOTS, Shots, choose_shots, read_shots, write_shots
from kerastune.models import ModelFiles, resolve_model
from kerastune.objective import Objective
from kerastune.scoring import Scores, join_scores, score_chunks
from kerastune.stack import Stack, load_stack
from kerastune.task import get_task
from kerastune.template import get_template
from kerastune.tokenizer import load_tokenizer

EncoderT = TypeVar("EncoderT")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Rows made ready to be trained on, of whatever kind of task they are.

    Args:
        examples: What is trained on.
        validation: What is watched; empty where nothing is.
        objective: What the loss is on.
        pad_id: The token put at padding.
        truncated: How many rows lost something to `max_length`.
        template: The name of the template that says them.
        words: The words that say the labels; empty where there are none.
        source: The training table, for the manifest.
        left: Rows that were left out, as messages.
        notes: What else the plan says, a line each.
    """

    examples: tuple[Example, ...]
    validation: tuple[Example, ...]
    objective: Objective
    pad_id: int
    truncated: int
    template: str
    words: tuple[str, ...]
    source: Mapping[str, Any]
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Report(Protocol):
    """What is said of tables before training."""

    def render(self) -> Any:
        """Lay it out for `rich.print`."""


@dataclass
class ModelSession(ABC, Generic[EncoderT]):
    """A base model and the encoder that goes with it, each loaded once and used for everything.

    Args:
        config: What is asked.
        files: The base model's files.
        encoder: What turns rows into ids.
    """

    config: RunConfig
    files: ModelFiles
    encoder: EncoderT
    _stack: Stack | None = field(default=None, repr=False)

    @property
    def stack(self) -> Stack:
        """The base model, loaded at the first use: what the encoder refuses should not cost that.

        Raises:
            ModelError: The model is damaged, or cannot be loaded.
            MissingExtraError: The stack is not installed.
        """
        if self._stack is None:
            chain = self.beneath
            self._stack = load_stack(self.config.model, self.files)
            if chain:
                self._stack.add_to_base(read_chain(chain))
        return self._stack

    @cached_property
    def beneath(self) -> tuple[Link, ...]:
        """The adapters that are part of the base: those of the run that this one goes on from.

        Raises:
            AdapterError: One is missing, has changed, or was trained on another base.
        """
        chain = chain_beneath(self.config)
        require_same_base(chain, self.files.name, self.files.fingerprint)
        return chain

    @property
    @abstractmethod
    def card(self) -> AdapterCard:
        """What an adapter of this session is for."""

    @abstractmethod
    def report(self, rows: Any, others: Any = None) -> Report:
        """Count what is in tables of this session's kind."""

    @abstractmethod
    def prepare(self, rows: Any, validation: Any = None) -> Prepared:
        """Make rows of this session's kind ready for training; no model is loaded."""

    def complete(self, prepared: Prepared, *, show: bool = True) -> Prepared:  # noqa: ARG002 - for pairs
        """Finish what needs the model, on which a fresh adapter is before and after."""
        return prepared

    def write_files(self, folder: Path) -> None:
        """Write what a run of this session needs beside its adapter."""

    def read_files(self, folder: Path) -> None:
        """Take up what `write_files` wrote."""


class Session(ModelSession[Encoder]):
    """A session for a task with labels."""

    def report(self, rows: Dataset, others: Dataset | None = None) -> DataReport:
        """Count what is in tables, with their lengths in the model's tokens."""
        return data_report(self.encoder, rows, others)

    def show(self, shots: Shots | None) -> None:
        """Show rows in front of every text from now on, or none."""
        self.encoder = replace(self.encoder, shots=shots)

    @property
    def card(self) -> AdapterCard:
        """What an adapter of this session is for."""
        task, template = self.encoder.task, self.encoder.template
        return AdapterCard(
            base_id=self.files.base_id,
            model=self.files.name,
            base_fingerprint=self.files.fingerprint,
            tokenizer_fingerprint=self.encoder.tokenizer.fingerprint,
            task=task.name,
            template=template.name,
            prompt=template.prompt,
            completion=template.completion,
            labels=task.labels,
            label_words=task.words(self.encoder.verbalizer),
            max_length=self.encoder.max_length,
            layout=self.config.lora.layout,
            beneath=self.beneath,
        )

    def prepare(self, rows: Dataset, validation: Dataset | None = None) -> Prepared:
        """Choose what is shown, and encode; see `ModelSession.prepare`.

        Raises:
            DataError: The labels are of one class only.
            EncodingError: See `Encoder`.
        """
        require_classes(rows)
        source = {"source": rows.name, "sha256": rows.sha256, "rows": len(rows)}
        train, shots = self.config.train, None
        if train.shots:
            scored = [] if validation is None else [validation]
            shots = choose_shots(rows, train.shots, train.seed, scored=scored)
            rows = shots.others(rows)
        self.show(shots)
        encoder, encodings = self.encoder, self.encoder.encode(rows)
        return Prepared(
            examples=encodings.examples,
            validation=() if validation is None else encoder.encode(validation).examples,
            objective=Objective.of(train.loss_on, encoder.task.loss_on, encodings.label_ids),
            pad_id=encoder.tokenizer.pad_id,
            truncated=encodings.truncated,
            template=encoder.template.name,
            words=encoder.task.words(encoder.verbalizer),
            source=source,
        )

    def write_files(self, folder: Path) -> None:
        """Write the rows that are shown, if any are."""
        if self.encoder.shots is not None:
            write_shots(folder / SHOTS, self.encoder.shots)

    def read_files(self, folder: Path) -> None:
        """Show the rows that a run showed."""
        if self.config.train.shots:
            self.show(read_shots(folder / SHOTS))

    def score(self, dataset: Dataset, *, show: bool = True) -> Scores:
        """Score every row; see `kerastune.scoring`."""
        return join_scores(list(self.score_chunks(dataset, show=show)))

    def score_chunks(
        self, dataset: Dataset, *, start: int = 0, show: bool = True
    ) -> Generator[Scores, None, None]:
        """Score the rows from `start` on a chunk at a time, as the model says them: not yet calibrated."""
        encodings = self.encoder.encode(dataset)
        return score_chunks(self.stack, encodings, self.encoder, self.config.score, start=start, show=show)


def make_encoder(config: RunConfig, files: ModelFiles) -> Encoder:
    """Make the encoder that a configuration asks for; no model is loaded."""
    task = get_task(config.task)
    return Encoder(
        task=task,
        template=get_template(task.template if config.template is None else config.template),
        tokenizer=load_tokenizer(files),
        verbalizer=config.verbalizer,
        max_length=config.train.max_length or task.max_length,
        context_length=files.config.get("max_position_embeddings"),
    )


def data_report(encoder: Encoder, rows: Dataset, others: Dataset | None) -> DataReport:
    """Report on tables with their lengths in a model's tokens."""

    def count_tokens(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in encoder.tokenizer.encode_batch(texts)]

    return report_data(rows, others, count_tokens=count_tokens, max_length=encoder.max_length)


def open_session(config: RunConfig) -> Session:
    """Find the base model of a configuration of a task with labels, and make its encoder.

    Raises:
        ModelError: The model is not found.
        TemplateError: The task has no labels.
    """
    config = continued(config)
    files = resolve_model(config.model.model)
    return Session(config, files, make_encoder(config, files))
