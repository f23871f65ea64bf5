"""What a training needs of memory and arithmetic, known before a weight is loaded."""

from kerastune.devices import Device, get_device, this_machine
from kerastune.planning.asking import plan_training, plan_with
from kerastune.planning.estimate import Estimate, Work, estimate
from kerastune.planning.known import known_shape
from kerastune.planning.locating import find_shape
from kerastune.planning.shapes import Shape

__all__ = [
    "Device",
    "Estimate",
    "Shape",
    "Work",
    "estimate",
    "find_shape",
    "get_device",
    "known_shape",
    "plan_training",
    "plan_with",
    "this_machine",
]
