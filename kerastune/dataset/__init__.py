"""Tables read safely: nothing lost, nothing guessed, and every refusal with its line and column."""

from kerastune.dataset.data_report import DataReport, report_data
from kerastune.dataset.leakage import Leakage, find_leakage
from kerastune.dataset.splits import require_classes
from kerastune.dataset.table import Dataset, read_dataset

__all__ = [
    "DataReport",
    "Dataset",
    "Leakage",
    "find_leakage",
    "read_dataset",
    "report_data",
    "require_classes",
]
