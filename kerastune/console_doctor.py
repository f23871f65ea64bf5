"""How the doctor's findings are printed: a line each as they come, what mends it below."""

from kerastune.console import say
from kerastune.doctor import Diagnosis, Finding

_SIGNS = {"ok": "ok     ", "absent": "-      ", "warning": "warning", "broken": "BROKEN "}


class FindingPrinter:
    """Prints findings under the headings of their areas."""

    def __init__(self) -> None:
        self._area = ""

    def __call__(self, finding: Finding) -> None:
        """Print one."""
        if finding.area != self._area:
            say(f"{finding.area}" if not self._area else f"\n{finding.area}")
            self._area = finding.area
        say(f"  {_SIGNS[finding.state]}  {finding.name}: {finding.said}")
        if finding.mend is not None:
            say(f"           -> {finding.mend}")

    def end(self, diagnosis: Diagnosis) -> None:
        """Print the verdict."""
        counts = {
            state: sum(finding.state == state for finding in diagnosis.findings)
            for state in ("broken", "warning", "absent")
        }
        if diagnosis.broken:
            say(f"\n{counts['broken']} broken, see above for what mends it")
        else:
            say(f"\nnothing is broken; {counts['warning']} warnings, {counts['absent']} things not there")
