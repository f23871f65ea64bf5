"""What is printed: the plan, the results, where the files are. Results go to the output stream."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from kerastune.comparing import Compared
from kerastune.converting import Converted
from kerastune.ensemble import Ensembled
from kerastune.evaluating import Evaluated
from kerastune.evaluation import Metrics
from kerastune.exporting import Exported
from kerastune.generating import Generated
from kerastune.mainjob import Results
from kerastune.merging import Merged
from kerastune.parity import Line
from kerastune.run import Run
from kerastune.score_file import Submitted
from kerastune.session import Report
from kerastune.training_plan import Plan
from kerastune.verbalizers import Candidate

_LOSSES = {
    "label": "the label",
    "completion": "the completion",
    "all": "the whole text",
    "assistant": "the assistant's turns",
}


def say(what: Any) -> None:
    """Print text or something that rich can render; names in square brackets stay as they are."""
    from rich.console import Console

    Console(markup=False, highlight=False, soft_wrap=isinstance(what, str)).print(what)


def print_report(report: Report) -> None:
    """Print a data report."""
    say(report.render())


def print_plan(plan: Plan) -> None:
    """Print what training is about to do."""
    info, lora, spec = plan.info, plan.config.lora, plan.config.train
    if spec.epochs:
        trains = (
            f"adapter   LoRA rank {lora.rank} on {', '.join(lora.targets)}, {lora.layout} layout: "
            f"{info.trainable:,} trainable parameters ({info.trainable / info.parameters:.2%})\n"
            f"training  {plan.rows} rows x {spec.epochs} epoch(s), {plan.steps} steps of "
            f"{spec.batch_size} x {spec.accumulate} rows of {' or '.join(map(str, plan.lengths))} tokens, "
            f"loss on {_LOSSES[plan.loss_on]}\n"
        )
    else:
        trains = "training  none: the model answers as it is\n"
    memory = plan.memory
    needed = memory and (
        f"about {memory.peak / 1e9:.1f} GB, of {memory.device.memory / 1e9:.1f} GB on {memory.device.name}"
    )
    shown = f", {spec.shots} rows of each label shown first" if spec.shots else ""
    say(
        f"model     {plan.config.model.model}, {info.parameters:,} parameters, "
        f"on {info.stack}/{info.backend}, {info.device}, {info.dtype}"
        + (f" ({info.dtype_reason})" if info.dtype_reason else "")
        + (f"\ndevices   {info.placement}" if info.placement else "")
        + f"\n{trains}"
        f"prompt    template {plan.template}"
        + (f", labels said {' / '.join(plan.words)}{shown}" if plan.words else "")
        + (f"\nmemory    {needed}" if needed else "")
        + (f"\ntruncated {plan.truncated} rows to {plan.max_length} tokens" if plan.truncated else "")
        + "".join(f"\n{note}" for note in plan.notes)
        + "".join(f"\nleft out  {row}" for row in plan.left)
        + ("\ngoing on from the checkpoint that is there" if plan.resumed else "")
    )


def print_trained(run: Run) -> None:
    """Print what training came to, and where."""
    trained = run.trained
    if trained is not None:
        say(f"trained in {trained.seconds:.0f} s, {trained.examples_per_second:.1f} examples a second")
        if trained.validation_loss is not None:
            say(f"kept epoch {trained.best_epoch}, validation loss {trained.validation_loss:.4f}")
    say(f"run         {run.folder}")


def print_results(results: Results) -> None:
    """Print the accuracies and where everything is."""
    say(_accuracies(results.evaluated))
    print_trained(results.run)
    say(f"submission  {results.submission}\npeak memory {results.peak_memory_gb:.2f} GB")


def print_parity_header(model: str) -> None:
    """Print the head of the table that `print_parity` goes on with."""
    say(f"{model}: Keras and Hugging Face, float32\n{'compared':<68}{'differs by':>11}{'at most':>9}")


def print_parity(line: Line) -> None:
    """Print a line of the proof, as soon as it is measured."""
    measured = "-" if line.measured is None else f"{line.measured:.2g}"
    verdict = line.note or ("FAILS" if line.failed else "equal")
    say(f"{line.name:<68}{measured:>11}{line.limit:>9.2g}  {verdict}")


def print_compared(compared: Sequence[Compared]) -> None:
    """Print what each stack came to, a column each."""
    from rich.table import Table

    first = compared[0]
    table = Table(title=f"the same configuration, {first.rows} test rows")
    table.add_column("")
    for one in compared:
        table.add_column(one.name, justify="right")
    for what, told in (
        ("dtype", lambda one: one.dtype),
        ("accuracy", lambda one: f"{one.accuracy:.3f}"),
        ("95 % interval", lambda one: "{:.3f} to {:.3f}".format(*one.interval)),
        ("log-loss", lambda one: "-" if one.log_loss is None else f"{one.log_loss:.3f}"),
        (f"same labels as {first.name}", lambda one: f"{one.agreement(first):.1%}"),
        ("seconds in all", lambda one: f"{one.seconds:.0f}"),
        ("training, examples a second", lambda one: f"{one.examples_per_second:.1f}"),
        ("peak memory (GB)", lambda one: f"{one.peak_memory_gb:.2f}"),
        ("trainable parameters", lambda one: f"{one.trainable:,}"),
    ):
        table.add_row(what, *(told(one) for one in compared))
    say(table)


def print_converted(converted: Converted) -> None:
    """Print where a converted adapter is, and what a truncation left out of it."""
    ranks = " and ".join(map(str, converted.ranks))
    say(f"{converted.path}: {converted.modules} layers, rank {ranks}")
    if converted.losses is not None:
        module, worst = converted.worst
        say(
            f"left out (relative Frobenius norm): {converted.error:.2%} of the whole update, most of "
            f"{module}, {worst:.2%}"
        )
    if converted.keras_layers:
        say(
            f"load it with: backbone.enable_lora({ranks}, {list(converted.keras_layers)}); "
            f"backbone.load_lora_weights({str(converted.path)!r})"
        )


def print_merged(merged: Merged) -> None:
    """Print where a merged model is, and how far its logits are from those of the base with its adapter."""
    say(f"{merged.folder}: {merged.format} format, {merged.dtype} weights")
    say(
        f"logits before and after on {merged.rows} rows: largest difference {merged.absolute:.2g}, "
        f"{merged.relative:.2g} of the largest logit"
    )
    for note in merged.notes:
        say(note)


def print_exported(exported: Exported) -> None:
    """Print where a GGUF file is, and how far its logits are from those of the model that it is of."""
    say(f"{exported.path}: GGUF, {exported.kind}, {exported.size / 1e6:,.1f} MB")
    say(
        f"read back: the same token ids, logits on {exported.rows} rows: largest difference "
        f"{exported.absolute:.2g}, {exported.relative:.2g} of the largest logit; the likeliest token is the "
        f"same after {exported.same_token:.1%} of the tokens"
    )
    for note in exported.notes:
        say(note)


def print_answers(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print answers: a single one as it is, several as JSON Lines."""
    if len(rows) == 1:
        print(rows[0]["answer"])
        return
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))


def print_generated(generated: Generated) -> None:
    """Print where a file of answers is, and how many stopped by themselves."""
    say(f"{generated.path}: {generated.rows} answers, {generated.stopped} of them stopped by themselves")


def print_submission(submitted: Submitted) -> None:
    """Print where a submission is."""
    say(f"{submitted.path}: {submitted.rows} rows, written, read back and compared")
    if submitted.invalid_rate:
        say(
            f"{submitted.invalid_rate:.1%} of the generated answers were no label; "
            "those rows have the likeliest label"
        )


def print_ensemble(ensembled: Ensembled) -> None:
    """Print where an ensemble is, what it is of, and how right it is where that was measured."""
    for path, weight in ensembled.members:
        say(f"{weight:.3f} x {path}")
    for name, metrics in ensembled.measured:
        say(f"{name}: accuracy {_accuracy(metrics)}")
    say(f"{ensembled.submission}: {ensembled.rows} rows, written, read back and compared")
    say(f"{ensembled.scores}: the averaged log-probabilities")


def print_candidates(candidates: Sequence[Candidate], rows: int) -> None:
    """Print the ways to ask that did best, and how to use the first."""
    from rich.table import Table

    table = Table(title=f"untrained, {rows} rows")
    for column in ("prompt", "labels", "accuracy (95 % interval)", "balanced", "AUC"):
        table.add_column(column, justify="left" if column in ("prompt", "labels") else "right")
    for one in candidates:
        auc = "-" if one.metrics.roc_auc is None else f"{one.metrics.roc_auc:.3f}"
        prompt = one.template.prompt.replace("\n", "\\n")
        table.add_row(
            prompt, "/".join(one.words), _accuracy(one.metrics), f"{one.balanced.accuracy:.3f}", auc
        )
    say(table)
    best = candidates[0]
    prompt = best.template.prompt.replace("\n", "\\n")
    say(f"--template {shlex.quote(prompt)} --verbalizer {'/'.join(best.words)}")


def _accuracies(evaluated: Mapping[str, Evaluated]) -> Any:
    from rich.table import Table

    table = Table(title="accuracy (95 % interval)")
    for column in ("", "rows", "model", "TF-IDF", "majority"):
        table.add_column(column)
    for name, measured in evaluated.items():
        baselines = [measured.baselines.get(key) for key in ("tfidf", "majority")]
        cells = ["-" if metrics is None else _accuracy(metrics) for metrics in (measured.model, *baselines)]
        table.add_row(name, str(measured.model.rows), *cells)
    return table


def _accuracy(metrics: Metrics) -> str:
    low, high = metrics.interval
    return f"{metrics.accuracy:.3f} ({low:.3f} to {high:.3f})"
