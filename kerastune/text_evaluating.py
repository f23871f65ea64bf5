"""Evaluating a run whose answers are texts: perplexity and generated answers, before and after tuning."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerastune.answering import answer_in_batches
from kerastune.chat.encoders import DialogueEncoder
from kerastune.chat.messages import Dialogue
from kerastune.chat.reading import Dialogues, read_dialogues
from kerastune.decoding import DIALOGUE_PENALTY, GenerationSpec
from kerastune.encoding import Encoded
from kerastune.evaluated_scores import write_metrics
from kerastune.evaluation.text_metrics import Answers, TextMetrics, definitions, measure_texts
from kerastune.extras import require
from kerastune.objective import Objective
from kerastune.run import Run
from kerastune.stack import Stack
from kerastune.strict import require_option
from kerastune.text_session import TextSession, encode_rows
from kerastune.validation import validate

_SAMPLES = 10
#: The most tokens of an answer, unless something else is said.
MAX_NEW_TOKENS = 128
BEFORE, AFTER = "before", "after"


@dataclass(frozen=True)
class Sample:
    """A row with its answers.

    Args:
        row_id: The row's id.
        prompt: What the user said last.
        reference: The reference answer.
        answers: `"before"` and `"after"` tuning -> the model's answer.
    """

    row_id: str
    prompt: str
    reference: str
    answers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TextEvaluation:
    """The results of a run on a table of dialogues.

    Args:
        table: The table's name, hash, rows and what was left out.
        measured: `"before"` and `"after"` tuning -> the measures; `"before"` alone where nothing was trained.
        definitions: What each measure is.
        generation: How the answers were generated.
        samples: Rows spread over the table, with their answers.
    """

    table: Mapping[str, Any]
    measured: Mapping[str, TextMetrics]
    definitions: Mapping[str, str]
    generation: Mapping[str, Any]
    samples: tuple[Sample, ...]

    def as_dict(self) -> dict[str, Any]:
        """As `metrics.json` has it."""
        return {
            "table": dict(self.table),
            **{name: metrics.as_dict() for name, metrics in self.measured.items()},
            "definitions": dict(self.definitions),
            "generation": dict(self.generation),
            "samples": [
                {
                    "id": sample.row_id,
                    "prompt": sample.prompt,
                    "reference": sample.reference,
                    **sample.answers,
                }
                for sample in self.samples
            ],
        }


def evaluate_texts(
    folder: Path,
    file: Path,
    options: Mapping[str, Any] | None = None,
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    skip_bad_rows: bool = False,
    show: bool = True,
) -> dict[str, TextEvaluation]:
    """Evaluate a run on a table of dialogues, and write `metrics.json` into its folder.

    The last answer of each dialogue is generated greedily, with `DIALOGUE_PENALTY`, from what stands before
    it. Everything is measured with the adapter off and on.

    Args:
        folder: The run's folder.
        file: The table.
        options: Options that replace the run's.
        max_new_tokens: The most tokens of an answer.
        skip_bad_rows: Whether dialogues that cannot be used are left out, and listed.
        show: Whether to show progress.

    Returns:
        The table's name -> the results on it.

    Raises:
        ConfigError: The folder is no run, or an option is refused.
        DataError: The table cannot be read as it is.
        MissingExtraError: rouge-score or sacrebleu is not installed.
        TemplateError: The run's task has labels.
    """
    require_option("max_new_tokens", max_new_tokens, max_new_tokens >= 1, "1 or more")
    run = Run.load(folder, options)
    rows = read_dialogues(file, run.config.task, skip_bad_rows=skip_bad_rows)
    for package in ("rouge_score", "sacrebleu"):  # before the model is loaded
        require(package, "metrics")
    evaluation = evaluate_dialogues(run, rows, max_new_tokens=max_new_tokens, show=show)
    said = {file.stem: evaluation}
    write_metrics(run.folder, {name: one.as_dict() for name, one in said.items()})
    return said


def evaluate_dialogues(
    run: Run, rows: Dialogues, *, max_new_tokens: int = MAX_NEW_TOKENS, show: bool = True
) -> TextEvaluation:
    """Evaluate a run on dialogues, before and after tuning; see `evaluate_texts`."""
    session = run.text_session
    encoded, left = encode_rows(rows, session.encoder.encode)
    used = rows.take(list(encoded))
    spec = GenerationSpec(
        max_new_tokens=max_new_tokens,
        stop_ids=session.encoder.stop_ids,
        pad_id=session.encoder.tokenizer.pad_id,
        repetition_penalty=DIALOGUE_PENALTY,
    )
    measured, found = {}, {}
    for name in _states(session.stack, run.config.train.epochs > 0):
        found[name] = generate_answers(session, used.dialogues, spec, show=show)
        measured[name] = measure_texts(found[name], _loss(session, list(encoded.values())))
    chosen = np.unique(np.linspace(0, len(used) - 1, _SAMPLES).round().astype(int)).tolist()
    return TextEvaluation(
        table={
            "source": rows.name,
            "sha256": rows.sha256,
            "rows": len(used),
            "left_out": [*rows.left, *left],
        },
        measured=measured,
        definitions=definitions(),
        generation={
            "max_new_tokens": max_new_tokens,
            "temperature": spec.temperature,
            "repetition_penalty": spec.repetition_penalty,
            "stop_ids": list(spec.stop_ids),
        },
        samples=tuple(
            Sample(
                row_id=used.ids[row],
                prompt=used.dialogues[row].messages[-2].content,
                reference=used.dialogues[row].messages[-1].content,
                answers={name: one.texts[row] for name, one in found.items()},
            )
            for row in chosen
        ),
    )


def _states(stack: Stack, trained: bool) -> Iterator[str]:
    """Yield `BEFORE` with the adapter off, then `AFTER` with it on, where there is one."""
    adapter = stack.get_adapter() if trained else {}
    stack.remove_adapter()
    try:
        yield BEFORE
    finally:
        if adapter:
            stack.load_adapter(adapter)
    if adapter:
        yield AFTER


def _loss(session: TextSession, examples: Sequence[Encoded]) -> float:
    """Mean cross-entropy of the trained tokens."""
    return validate(
        session.stack,
        examples,
        Objective("assistant"),
        batch_size=session.config.train.batch_size,
        pad_id=session.encoder.tokenizer.pad_id,
    ).loss


def generate_answers(
    session: TextSession, dialogues: Sequence[Dialogue], spec: GenerationSpec, *, show: bool = True
) -> Answers:
    """Generate the last answer of each dialogue.

    Args:
        session: The model and its encoder.
        dialogues: Dialogues with a last answer, which is the reference.
        spec: How to generate.
        show: Whether to show progress.
    """
    encoder: DialogueEncoder = session.encoder
    prompts = [encoder.prompt_ids(encoder.fit(dialogue).before_answer) for dialogue in dialogues]
    batch_size = session.config.score.score_batch_size
    written = answer_in_batches(session.stack, prompts, spec, batch_size=batch_size, show=show)
    return Answers(
        texts=tuple(encoder.tokenizer.decode(answer.token_ids).strip() for answer in written),
        ids=tuple(answer.token_ids for answer in written),
        stopped=tuple(answer.stopped for answer in written),
        references=tuple(dialogue.messages[-1].content for dialogue in dialogues),
    )
