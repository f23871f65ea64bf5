"""The report: what was run and how far its scores can be trusted, as one HTML file that needs no network."""

from kerastune.report.content import ReportContent, RunContent
from kerastune.report.writing import REPORT, write_report

__all__ = ["REPORT", "ReportContent", "RunContent", "write_report"]
