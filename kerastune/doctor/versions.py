"""Which versions are installed, and which of them do not go together."""

import platform
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import NamedTuple

from packaging.requirements import Requirement

from kerastune.doctor.finding import Finding

_AREA = "versions"
_OLDEST_PYTHON = (3, 11)
_SHOWN = (
    "kerastune", "numpy", "pandas", "keras", "keras-hub", "jax", "tensorflow", "torch", "transformers",
    "peft", "trl", "bitsandbytes", "gguf",
)  # fmt: skip
# Packages whose own requirements pin another's version, and whose import dies where pip was overruled.
_PINNING = (
    "jaxlib", "jax", "jax-cuda12-plugin", "jax-cuda13-plugin", "keras-hub", "tensorflow", "tensorflow-text",
    "torchvision", "torchaudio", "transformers", "peft", "accelerate",
)  # fmt: skip

VersionOf = Callable[[str], str | None]


class BadPair(NamedTuple):
    """Two packages that no requirement keeps apart.

    Args:
        one: A requirement that is met.
        other: Another; both together are bad.
        why: What happens then.
        mend: What to install.
    """

    one: Requirement
    other: Requirement
    why: str
    mend: str


KNOWN_BAD = (
    BadPair(
        Requirement("transformers>=5"),
        Requirement("peft<0.18"),
        "peft imports what transformers 5 has no more",
        "peft>=0.18",
    ),
    BadPair(
        Requirement("numpy>=2"),
        Requirement("tensorflow<2.18"),
        "TensorFlow was built for NumPy 1 until then",
        "tensorflow>=2.18",
    ),
)


def installed_version(package: str) -> str | None:
    """A package's version, without importing it; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_versions(
    version_of: VersionOf = installed_version,
    requirements_of: Callable[[str], list[str] | None] = metadata.requires,
) -> Iterator[Finding]:
    """Look at Python, at our own requirements, and at pairs that do not go together.

    Args:
        version_of: Package -> its version, or None.
        requirements_of: Package -> what its metadata says it needs.
    """
    wanted = ".".join(map(str, _OLDEST_PYTHON))
    if sys.version_info < _OLDEST_PYTHON:
        said = f"{platform.python_version()}; expected {wanted} or later"
        yield Finding(area=_AREA, name="Python", state="broken", said=said, mend=f"install Python {wanted}")
    found = {name: version for name in _SHOWN if (version := version_of(name)) is not None}
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    yield Finding(
        area=_AREA,
        name="installed",
        state="ok",
        said=f"Python {platform.python_version()} on {platform.system()} {platform.machine()}; {listed}",
    )
    bad = [*_unmet(version_of, requirements_of), *_bad_pairs(version_of)]
    yield from bad
    if not bad:
        yield Finding(area=_AREA, name="pairs", state="ok", said="nothing that is known not to go together")


def _unmet(version_of: VersionOf, requirements_of: Callable[[str], list[str] | None]) -> Iterator[Finding]:
    """Requirements of what is installed on what is installed, that are not met."""
    for package in ("kerastune", *_PINNING):
        if version_of(package) is None:
            continue
        for line in requirements_of(package) or []:
            requirement = Requirement(line)
            extra = "extra ==" in str(requirement.marker)
            if requirement.marker is not None and not extra and not requirement.marker.evaluate():
                continue
            version = version_of(requirement.name)
            if version is None:
                if extra or requirement.marker is not None:
                    continue
                yield _wrong(package, requirement, "is not installed")
            # What an extra asks for is no matter of pip's where only its package is there, but it is of ours.
            elif not requirement.specifier.contains(version, prereleases=True) and (
                not extra or package == "kerastune"
            ):
                yield _wrong(package, requirement, f"is {version}")


def _wrong(package: str, requirement: Requirement, what: str) -> Finding:
    wanted = f"{requirement.name}{requirement.specifier}"
    return Finding(
        area=_AREA,
        name=f"{package} and {requirement.name}",
        state="broken",
        said=f"{requirement.name} {what}; {package} needs {wanted}",
        mend=f"pip install '{wanted}'",
    )


def _bad_pairs(version_of: VersionOf) -> Iterator[Finding]:
    for pair in KNOWN_BAD:
        versions = [version_of(pair.one.name), version_of(pair.other.name)]
        if all(
            version is not None and requirement.specifier.contains(version, prereleases=True)
            for version, requirement in zip(versions, pair[:2], strict=True)
        ):
            yield Finding(
                area=_AREA,
                name=f"{pair.one.name} and {pair.other.name}",
                state="broken",
                said=f"{pair.one.name} {versions[0]} with {pair.other.name} {versions[1]}: {pair.why}",
                mend=f"pip install '{pair.mend}'",
            )
