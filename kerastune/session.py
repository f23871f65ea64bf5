"""A loaded base model, and the encoder and the card that go with it."""

from dataclasses import dataclass

from kerastune.adapter import AdapterCard
from kerastune.config import RunConfig
from kerastune.dataset import Dataset
from kerastune.encoding import Encoder
from kerastune.models import ModelFiles, resolve_model
from kerastune.scoring import Scores, generate_labels, label_log_probabilities
from kerastune.stack import Stack, load_stack
from kerastune.task import get_task
from kerastune.template import get_template
from kerastune.tokenizer import load_tokenizer


@dataclass
class Session:
    """A base model and the encoder that goes with it, loaded once and used for everything.

    Args:
        config: What is asked.
        files: The base model's files.
        encoder: What turns rows into ids.
        stack: The loaded model.
    """

    config: RunConfig
    files: ModelFiles
    encoder: Encoder
    stack: Stack

    def score(self, dataset: Dataset, *, show: bool = True) -> Scores:
        """Score every row; see `kerastune.scoring`."""
        encodings = self.encoder.encode(dataset)
        spec = self.config.score
        log_probabilities = label_log_probabilities(
            self.stack,
            encodings,
            pad_id=self.encoder.tokenizer.pad_id,
            batch_size=spec.score_batch_size,
            show=show,
        )
        generated = None
        if spec.mode == "generate":
            generated = generate_labels(
                self.stack, encodings, self.encoder, batch_size=spec.score_batch_size, show=show
            )
        return Scores(
            ids=dataset.ids,
            labels=self.encoder.task.labels,
            log_probabilities=log_probabilities,
            generated=generated,
        )


def make_encoder(config: RunConfig, files: ModelFiles) -> Encoder:
    """Make the encoder that a configuration asks for; no model is loaded."""
    task = get_task(config.task)
    return Encoder(
        task=task,
        template=get_template(task.template if config.template is None else config.template),
        tokenizer=load_tokenizer(files),
        verbalizer=config.verbalizer,
        max_length=config.train.max_length,
    )


def make_card(config: RunConfig, files: ModelFiles, encoder: Encoder) -> AdapterCard:
    """Say what an adapter of this configuration is for."""
    task, template = encoder.task, encoder.template
    return AdapterCard(
        base_id=files.base_id,
        model=files.name,
        base_fingerprint=files.fingerprint,
        tokenizer_fingerprint=encoder.tokenizer.fingerprint,
        task=task.name,
        template=template.name,
        prompt=template.prompt,
        completion=template.completion,
        labels=task.labels,
        label_words=task.words(encoder.verbalizer),
        max_length=encoder.max_length,
        layout=config.lora.layout,
    )


def open_session(config: RunConfig) -> Session:
    """Load the base model of a configuration, without an adapter.

    Raises:
        ModelError: The model is not found, damaged, or cannot be loaded.
        MissingExtraError: The stack is not installed.
    """
    files = resolve_model(config.model.model)
    # The encoder first: what it refuses should not cost the loading of a model.
    encoder = make_encoder(config, files)
    return Session(config, files, encoder, load_stack(config.model, files))
