"""The README's examples run as written and print what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)
PEERS = ("torch", "jax")


def case(code: str, expected: str):
    return pytest.param(
        code, expected, marks=[getattr(pytest.mark, name) for name in PEERS if f"import {name}" in code]
    )


@pytest.mark.parametrize(("code", "expected"), [case(*example) for example in EXAMPLES])
def test_example_prints_what_the_readme_says(code, expected):
    for name in PEERS:
        if f"import {name}" in code:
            pytest.importorskip(name)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == expected


def test_every_python_block_has_its_output():
    assert len(EXAMPLES) == README.count("```python") == 6


def test_the_peers_examples_go_from_vector_to_verdict_in_25_lines():
    for code, _ in EXAMPLES:
        if any(f"import {name}" in code for name in PEERS):
            assert len(code.splitlines()) <= 25
