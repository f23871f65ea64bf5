"""Everything that the doctor looks at, in order."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from kerastune.doctor.finding import Finding
from kerastune.doctor.stacks import check_stacks
from kerastune.doctor.surroundings import check_machine, check_models, check_tokens
from kerastune.doctor.versions import check_versions


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Args:
        findings: In the order in which they were looked at.
    """

    findings: tuple[Finding, ...]

    @property
    def broken(self) -> bool:
        """Whether something does not work that should."""
        return any(finding.state == "broken" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """All of it in the types of JSON."""
        return {"broken": self.broken, "findings": [asdict(finding) for finding in self.findings]}


def diagnose(timeout: float = 180.0, on_finding: Callable[[Finding], None] | None = None) -> Diagnosis:
    """Look at versions, machine, models, tokens and stacks.

    Args:
        timeout: Seconds that a stack has to import, compute and train.
        on_finding: Called with each finding as soon as it is there.
    """
    findings = []
    for findings_of_area in (
        check_versions(),
        check_machine(),
        check_models(),
        check_tokens(),
        check_stacks(timeout),
    ):
        for finding in findings_of_area:
            findings.append(finding)
            if on_finding is not None:
                on_finding(finding)
    return Diagnosis(tuple(findings))
