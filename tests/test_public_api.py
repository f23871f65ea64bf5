"""What `import kerastune as kt` offers."""

import ast
import importlib
from pathlib import Path

import pytest

import kerastune as kt


@pytest.mark.parametrize("name", kt.__all__)
def test_every_name_is_there_and_is_its_modules_own(name):
    found = getattr(kt, name)
    module = importlib.import_module(found.__module__)
    assert getattr(module, name) is found
    assert found.__doc__


def test_the_names_for_type_checkers_are_those_at_run_time():
    tree = ast.parse(Path(kt.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name for node in block.body for alias in node.names}
    assert typed == set(kt.__all__) == set(dir(kt))
    assert list(kt.__all__) == sorted(kt.__all__)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        kt.trian  # noqa: B018
