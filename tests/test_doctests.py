"""Every example in a docstring prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import lie_ref

MODULES = [
    info.name.removeprefix("lie_ref.")
    for info in pkgutil.walk_packages(lie_ref.__path__, "lie_ref.")
    if not info.name.endswith("__main__")
]
TEACHING = {
    "oracle.verification",
    "oracle.comparison",
    "oracle.conditioning",
    "fields",
    "dual",
    "activations",
    "models",
    "derivatives",
    "evaluation",
    "checks",
    "training",
    "findings",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    result = doctest.testmod(importlib.import_module(f"lie_ref.{name}"))
    assert result.failed == 0
    assert result.attempted > 0 or name not in TEACHING
