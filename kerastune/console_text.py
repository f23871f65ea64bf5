"""What is printed of runs whose answers are texts."""

from collections.abc import Mapping

from kerastune.console import say
from kerastune.evaluated_scores import METRICS
from kerastune.text_evaluating import Sample, TextEvaluation

_ROWS = (
    ("perplexity of the answers", "perplexity", "{:.2f}"),
    ("ROUGE-L (words)", "rouge_l", "{:.1f}"),
    ("BLEU (characters)", "bleu", "{:.1f}"),
    ("chrF", "chrf", "{:.1f}"),
    ("exact match", "exact_match", "{:.1%}"),
    ("tokens of an answer", "tokens", "{:.1f}"),
    ("characters of an answer", "characters", "{:.1f}"),
    ("never stopped", "never_stopped", "{:.1%}"),
    ("repeated 4-grams", "repetition", "{:.1%}"),
)


def print_text_evaluation(evaluation: Mapping[str, TextEvaluation]) -> None:
    """Print the measures before and after tuning, and samples."""
    from rich.table import Table

    for name, found in evaluation.items():
        for row in found.table["left_out"]:
            say(f"left out  {row}")
        table = Table(title=f"{name}: {found.table['rows']} rows", title_justify="left")
        table.add_column("")
        for state in found.measured:
            table.add_column(state, justify="right")
        measures = [metrics.as_dict() for metrics in found.measured.values()]
        for title, key, form in _ROWS:
            table.add_row(title, *(form.format(one[key]) for one in measures))
        say(table)
        for sample in found.samples:
            say(_sample(sample))
    say(f"all of it is in {METRICS} of the run's folder, with what each measure is")


def _sample(sample: Sample) -> str:
    lines = [f"{sample.row_id}  {sample.prompt}", f"  reference  {sample.reference}"]
    lines += [f"  {state:<9}  {text}" for state, text in sample.answers.items()]
    return "\n".join(lines)
