"""The submission: the input's rows in the task's order with a label each, read back before it counts."""

from kerastune.submission.checking import check_submission
from kerastune.submission.form import Form, Format, default_submission_name, submission_form
from kerastune.submission.rows import require_ids
from kerastune.submission.writing import manifest_path, require_submittable, write_submission

__all__ = [
    "Form",
    "Format",
    "check_submission",
    "default_submission_name",
    "manifest_path",
    "require_ids",
    "require_submittable",
    "submission_form",
    "write_submission",
]
