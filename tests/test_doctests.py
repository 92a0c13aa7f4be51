"""Every example in a docstring prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import lie_ref

MODULES = [info.name for info in pkgutil.iter_modules(lie_ref.__path__) if info.name not in ("__main__", "data_files")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    assert doctest.testmod(importlib.import_module(f"lie_ref.{name}")).failed == 0
