"""Import an optional dependency where it is used, or say which extra brings it."""

import importlib
from types import ModuleType

from kerastune.errors import MissingExtraError


def require(package: str, extra: str) -> ModuleType:
    """Import `package`, which the optional extra `extra` installs.

    Args:
        package: Import name, such as `"keras_hub"`.
        extra: The extra of this distribution that installs it, such as `"keras"`.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: The package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        # A package that is there but lacks one of its own dependencies is named by what is missing.
        raise MissingExtraError(error.name or package, extra) from error
