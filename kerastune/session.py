"""A base model, loaded when it is needed, and the encoder and the card that go with it."""

from collections.abc import Generator
from dataclasses import dataclass, field, replace

from kerastune.adapter_card import AdapterCard
from kerastune.config import RunConfig
from kerastune.dataset import Dataset
from kerastune.encoding import Encoder
from kerastune.few_shot import Shots
from kerastune.models import ModelFiles, resolve_model
from kerastune.scoring import Scores, join_scores, score_chunks
from kerastune.stack import Stack, load_stack
from kerastune.task import get_task
from kerastune.template import get_template
from kerastune.tokenizer import load_tokenizer


@dataclass
class Session:
    """A base model and the encoder that goes with it, each loaded once and used for everything.

    Args:
        config: What is asked.
        files: The base model's files.
        encoder: What turns rows into ids.
    """

    config: RunConfig
    files: ModelFiles
    encoder: Encoder
    _stack: Stack | None = field(default=None, repr=False)

    @property
    def stack(self) -> Stack:
        """The base model, loaded at the first use: what the encoder refuses should not cost that.

        Raises:
            ModelError: The model is damaged, or cannot be loaded.
            MissingExtraError: The stack is not installed.
        """
        if self._stack is None:
            self._stack = load_stack(self.config.model, self.files)
        return self._stack

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
        )

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
        max_length=config.train.max_length,
        context_length=files.config.get("max_position_embeddings"),
    )


def open_session(config: RunConfig) -> Session:
    """Find the base model of a configuration and make its encoder.

    Raises:
        ModelError: The model is not found.
    """
    files = resolve_model(config.model.model)
    return Session(config, files, make_encoder(config, files))
