"""Every example in a docstring prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import lie_ref

MODULES = [info.name for info in pkgutil.iter_modules(lie_ref.__path__) if info.name != "__main__"]
TEACHING = {"fields", "dual", "activations", "models", "derivatives", "evaluation", "checks", "training", "findings"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    result = doctest.testmod(importlib.import_module(f"lie_ref.{name}"))
    assert result.failed == 0
    assert result.attempted > 0 or name not in TEACHING
