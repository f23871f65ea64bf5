"""What is printed: the plan, the results, where the files are. Results go to the output stream."""

from collections.abc import Mapping
from typing import Any

from kerastune.dataset import DataReport
from kerastune.evaluation import Metrics
from kerastune.mainjob import Evaluated, Results, Submitted
from kerastune.run import Plan, Run


def say(what: Any) -> None:
    """Print text or something that rich can render; names in square brackets stay as they are."""
    from rich.console import Console

    Console(markup=False, highlight=False, soft_wrap=isinstance(what, str)).print(what)


def print_report(report: DataReport) -> None:
    """Print a data report."""
    say(report.render())


def print_plan(plan: Plan) -> None:
    """Print what training is about to do."""
    info, lora, spec = plan.info, plan.config.lora, plan.config.train
    say(
        f"model     {plan.config.model.model}, {info.parameters:,} parameters, "
        f"on {info.stack}/{info.backend}, {info.device}, {info.dtype}\n"
        f"adapter   LoRA rank {lora.rank} on {', '.join(lora.targets)}, {lora.layout} layout: "
        f"{info.trainable:,} trainable parameters ({info.trainable / info.parameters:.2%})\n"
        f"training  {plan.rows} rows x {spec.epochs} epoch(s), {plan.steps} steps of "
        f"{spec.batch_size} x {spec.accumulate} rows of {' or '.join(map(str, plan.lengths))} tokens\n"
        f"prompt    template {plan.template}, labels said {' / '.join(plan.words)}"
        + (f"\ntruncated {plan.truncated} rows to {spec.max_length} tokens" if plan.truncated else "")
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


def print_metrics(evaluated: Mapping[str, Evaluated]) -> None:
    """Print the metrics of a run on a table."""
    say(_accuracies(evaluated))
    for name, measured in evaluated.items():
        model = measured.model
        say(
            f"{name}: macro F1 {model.macro_f1:.3f}, "
            f"confusion (a row a true label) {[list(row) for row in model.confusion]}"
        )
        if model.log_loss is not None:
            say(f"{name}: log-loss {model.log_loss:.3f}")
        if model.invalid_rate is not None:
            say(f"{name}: {model.invalid_rate:.1%} of the generated answers were no label")


def print_submission(submitted: Submitted) -> None:
    """Print where a submission is."""
    say(f"{submitted.path}: {submitted.rows} rows, written, read back and compared")
    if submitted.invalid_rate:
        say(
            f"{submitted.invalid_rate:.1%} of the generated answers were no label; "
            "those rows have the likeliest label"
        )


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
