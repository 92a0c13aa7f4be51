"""Every example in a docstring prints the output that it shows."""

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
TEACHING = {  # modules that must have an example
    "core.fields",
    "core.networks",
    "core.problem",
    "experiment.statistics",
    "fast.dual",
    "fast.norms",
    "fast.scalar_rules",
    "measure.crosschecks",
    "measure.derivatives",
    "measure.evaluation",
    "oracle.api",
    "oracle.vectors",
    "study.training",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run_and_print_what_they_show(name):
    result = doctest.testmod(importlib.import_module(f"lie_ref.{name}"))
    assert result.failed == 0
    assert result.attempted > 0 or name not in TEACHING


def test_modules_that_must_have_an_example_exist():
    assert set(MODULES) >= TEACHING
