"""Does this machine do what kerastune needs, and what mends it where it does not?"""

from kerastune.doctor.diagnosis import Diagnosis, diagnose
from kerastune.doctor.finding import Finding, State

__all__ = ["Diagnosis", "Finding", "State", "diagnose"]
