"""The README's examples run as written and print what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)


def case(code: str, expected: str):
    return pytest.param(code, expected, marks=[pytest.mark.torch] if "import torch" in code else [])


@pytest.mark.parametrize(("code", "expected"), [case(*example) for example in EXAMPLES])
def test_example_prints_what_the_readme_says(code, expected):
    if "import torch" in code:
        pytest.importorskip("torch")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == expected


def test_every_python_block_has_its_output():
    assert len(EXAMPLES) == README.count("```python") == 3
