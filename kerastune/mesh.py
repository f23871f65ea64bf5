"""How devices are arranged: copies of the model side by side, and each copy split over several."""

import re
from dataclasses import dataclass

from kerastune.errors import ConfigError

_AXIS = re.compile(r"(data|model)=([1-9][0-9]{0,5})")


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A grid of devices.

    Args:
        data: How many copies of the model there are, each with its own rows of a batch.
        model: Over how many devices each copy's weights are split.
    """

    data: int = 1
    model: int = 1

    def __str__(self) -> str:
        """Say it as `parse_mesh` reads it."""
        return f"data={self.data},model={self.model}"

    @property
    def devices(self) -> int:
        """How many devices it takes."""
        return self.data * self.model


def parse_mesh(text: str) -> Mesh:
    """Read a mesh; an axis that is left out is 1.

    Args:
        text: Such as `"data=2,model=4"`.

    Raises:
        ConfigError: An axis is unknown, is named twice, or is no positive whole number.

    Example:
        >>> parse_mesh("data=2,model=4")
        Mesh(data=2, model=4)
        >>> parse_mesh("model=4").devices
        4
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        match = _AXIS.fullmatch(part.strip())
        if match is None or match[1] in found:
            raise ConfigError(
                f"mesh: expected data=N,model=N, each once and a positive whole number, received {text!r}"
            )
        found[match[1]] = int(match[2])
    return Mesh(**found)
