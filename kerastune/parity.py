"""The proof that two stacks agree: ids, logits, loss, gradients, training and adapters, a line each.

Everything is measured through the `Stack` protocol, in float32, on the same arrays.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import ArrayLike

from kerastune.adapter import read_peft, write_peft
from kerastune.batch_shapes import bucket_lengths
from kerastune.batching import Batch, make_batch, training_steps
from kerastune.config import RunConfig, TrainSpec
from kerastune.dataset import Dataset
from kerastune.encoding import Encoded, Encodings
from kerastune.errors import KerastuneError, ModelError
from kerastune.lora import Factors
from kerastune.merging import open_plainly
from kerastune.objective import Objective
from kerastune.progress import progress
from kerastune.schedule import learning_rate_at
from kerastune.scoring import label_log_probabilities
from kerastune.session import Session, open_session
from kerastune.stack import load_own_tokenizer

_BATCH_ROWS, _STEPS, _SCORED_ROWS = 8, 20, 200


@dataclass(frozen=True)
class Line:
    """One thing that was held against the other stack.

    Args:
        name: What was compared.
        measured: The largest difference; None where it could not be compared.
        limit: The most that it may be.
        note: Why it could not be compared.
    """

    name: str
    measured: float | None
    limit: float
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether the difference is over its limit, or no number; what cannot be compared has not failed."""
        return self.measured is not None and not self.measured <= self.limit


def prove_parity(
    config: RunConfig, datasets: Sequence[Dataset], *, on_line: Callable[[Line], None], show: bool = True
) -> tuple[Line, ...]:
    """Hold the Keras stack against the Hugging Face stack.

    Args:
        config: The model, the adapter and the training; the base is in float32 and the adapter in the peft
            layout whatever it says.
        datasets: Labelled rows. All are tokenized; the first's are trained on, the last's are scored.
        on_line: Called with each line as soon as it is measured.
        show: Whether to show progress.

    Returns:
        The lines, in the order of the data's way.
    """
    lines = []
    for line in _lines(config, datasets, show):
        on_line(line)
        lines.append(line)
    return tuple(lines)


def relative_difference(found: ArrayLike, expected: ArrayLike) -> float:
    """The largest absolute difference over the largest absolute value expected.

    Example:
        >>> relative_difference([1.0, 3.0], [1.0, 4.0])
        0.25
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    largest = np.abs(expected).max()
    return float(np.abs(found - expected).max() / largest) if largest else float(np.abs(found).max())


def _lines(config: RunConfig, datasets: Sequence[Dataset], show: bool) -> Iterator[Line]:
    options = {"dtype": "float32", "layout": "peft", "dora": False}
    hf = open_session(config.with_options({**options, "stack": "hf", "backend": "torch"}))
    # The backend is the one that was asked for, where that was Keras'.
    backend = config.model.backend if config.model.stack == "keras" and config.model.backend else "jax"
    keras_config = config.with_options({**options, "stack": "keras", "backend": backend})
    keras = Session(keras_config, hf.files, hf.encoder)
    for session, owner in ((keras, "KerasHub's"), (hf, "transformers'")):
        yield _tokens(session, owner, datasets)
    try:
        stacks = keras.stack, hf.stack
    except ModelError as error:
        yield Line("the model on both stacks", None, 0.0, str(error))
        return
    encodings = hf.encoder.encode(datasets[0])
    examples = encodings.examples
    batch = _batch(examples[:_BATCH_ROWS], hf.encoder.tokenizer.pad_id)
    real = batch.padding_mask
    logits = [stack.logits(batch)[real] for stack in stacks]
    yield Line(f"logits of {real.sum()} tokens, relative", relative_difference(*logits), 1e-5)
    yield from _adapted(keras, hf, batch)
    yield from _trained(keras, hf, encodings, datasets[-1], show)
    for session in (keras, hf):
        yield from _merged(session, batch)


def _tokens(session: Session, owner: str, datasets: Sequence[Dataset]) -> Line:
    """Our ids and masks against those that a library's own tokenizer gives the same texts."""
    try:
        own = load_own_tokenizer(session.config.model, session.files)
    except KerastuneError as error:
        return Line(f"ids and masks, {owner} tokenizer", None, 0, str(error))
    encoder = session.encoder
    bos = () if encoder.tokenizer.bos_id is None else (encoder.tokenizer.bos_id,)
    rows = different = 0
    for dataset in datasets:
        prompts, examples = encoder.prompts(dataset), encoder.encode(dataset).examples
        assert dataset.labels is not None
        answers = [encoder.completions[label] for label in dataset.labels]
        wholes = own([prompt + answer for prompt, answer in zip(prompts, answers, strict=True)])
        for example, prompt, whole in zip(examples, own(prompts), wholes, strict=True):
            rows += 1
            trained = (*whole[len(prompt) :], encoder.tokenizer.eos_id)
            different += (example.prompt_ids, example.completion_ids) != ((*bos, *prompt), trained)
    return Line(f"ids and masks of {rows} rows, {owner} tokenizer: rows that differ", different, 0)


def _adapted(keras: Session, hf: Session, batch: Batch) -> Iterator[Line]:
    """Loss and gradients with an adapter that changes something."""
    factors = _changing_adapter(hf)
    stacks = keras.stack, hf.stack
    for stack in stacks:
        stack.load_adapter(factors)
    losses = [stack.token_losses(batch).sum() / batch.weight for stack in stacks]
    yield Line("loss of a batch, relative", relative_difference(*losses), 1e-5)
    ours, theirs = (stack.adapter_gradients(batch) for stack in stacks)
    worst = max(
        float(np.linalg.norm(a - b) / np.linalg.norm(b))
        for module in theirs
        for a, b in ((ours[module].a, theirs[module].a), (ours[module].b, theirs[module].b))
    )
    yield Line(f"gradients of {2 * len(theirs)} LoRA weights, relative, the worst", worst, 1e-4)


def _trained(keras: Session, hf: Session, encodings: Encodings, test: Dataset, show: bool) -> Iterator[Line]:
    """Some steps from the same beginning in the same order, and what the adapters then say."""
    spec = hf.config.train
    pad_id = hf.encoder.tokenizer.pad_id
    objective = Objective.of(spec.loss_on, hf.encoder.task.loss_on, encodings.label_ids)
    stacks = keras.stack, hf.stack
    for session in (keras, hf):
        session.stack.add_lora(session.config.lora, spec.seed)
        session.stack.start_training(spec)
    differences = []
    with progress("training both", _STEPS, show=show) as advance:
        for place, step in enumerate(islice(_steps(encodings.examples, objective, spec, pad_id), _STEPS)):
            rate = learning_rate_at(place, _STEPS, spec)
            differences.append(relative_difference(*(stack.train_step(step, rate) for stack in stacks)))
            advance()
    name = f"loss on the {objective.loss_on} in {len(differences)} steps, relative, the worst"
    yield Line(name, max(differences), 1e-3)

    scored = test.take(range(min(len(test), _SCORED_ROWS)))
    prompts = hf.encoder.encode(scored)

    def score(session: Session) -> np.ndarray:
        return label_log_probabilities(session.stack, prompts, pad_id=pad_id, show=show)

    ours, theirs = score(keras), score(hf)
    rows = len(scored)
    yield Line(f"probabilities of {rows} rows", float(np.abs(np.exp(ours) - np.exp(theirs)).max()), 1e-2)
    changed = float(np.mean(ours.argmax(axis=1) != theirs.argmax(axis=1)))
    yield Line(f"labels of {rows} rows: share that differ", changed, 0.01)
    adapters = [stack.get_adapter() for stack in stacks]
    for adapter, taker, said, name in (
        (adapters[0], hf, ours, "Keras' adapter on Hugging Face"),
        (adapters[1], keras, theirs, "Hugging Face's adapter on Keras"),
    ):
        with TemporaryDirectory() as temporary:
            folder = Path(temporary) / "adapter"
            write_peft(folder, adapter, taker.files.base_id)
            taker.stack.load_adapter(read_peft(folder))
        yield Line(f"{name}, log-probabilities", float(np.abs(score(taker) - said).max()), 1e-4)


def _merged(session: Session, batch: Batch) -> Iterator[Line]:
    """An adapter that changes something, merged, saved, and opened by the plain library."""
    stack, name = session.stack, "transformers" if session.config.model.stack == "hf" else "KerasHub"
    stack.load_adapter(_changing_adapter(session))
    expected = stack.logits(batch)[batch.padding_mask]
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            stack.save_merged(folder, "float32")
            opened = open_plainly(session.config.model, session.files, folder)
        except KerastuneError as error:
            yield Line(f"logits of the merged model in plain {name}", None, 1e-4, str(error))
            return
        found = opened.logits(batch)[batch.padding_mask]
    yield Line(
        f"logits of the merged model in plain {name}, relative", relative_difference(found, expected), 1e-4
    )


def _changing_adapter(session: Session) -> dict[str, Factors]:
    """An adapter whose B is not zero: with B at zero, A has no gradient and nothing changes."""
    session.stack.add_lora(session.config.lora, session.config.train.seed)
    draws = np.random.default_rng(session.config.train.seed)
    factors = {}
    for module, update in session.stack.get_adapter().items():
        b = 0.02 * draws.standard_normal(update.b.shape)
        factors[module] = Factors(a=update.a, b=b.astype(np.float32), alpha=update.alpha)
    return factors


def _steps(
    examples: Sequence[Encoded], objective: Objective, spec: TrainSpec, pad_id: int
) -> Iterator[tuple[Batch, ...]]:
    """Epoch after epoch, in one length, which is one compiled program."""
    examples = objective.examples(examples)
    lengths = bucket_lengths([len(example) for example in examples], most=1)
    for epoch in count():
        for step in training_steps(
            examples,
            batch_size=spec.batch_size,
            accumulate=spec.accumulate,
            pad_id=pad_id,
            lengths=lengths,
            whole_text=objective.loss_on == "all",
            seed=spec.seed + epoch,
        ):
            yield tuple(objective.batches(step))


def _batch(examples: Sequence[Encoded], pad_id: int) -> Batch:
    return make_batch(
        examples,
        rows=len(examples),
        length=max(map(len, examples)),
        pad_id=pad_id,
        answers=max(len(example.completion_ids) for example in examples),
    )
