"""The examples of every README print what it says, run as a file and pasted at an interactive prompt."""

from __future__ import annotations

import code
import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READMES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [
        ROOT / "README.md",
        *sorted(p for top in ("lie_ref", "data", "tests") for p in ROOT.glob(f"{top}/**/README.md")),
    ]
}
EXAMPLES = [
    (name, *found)
    for name, text in READMES.items()
    for found in re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL)
]
PEERS = ("torch", "jax")


def peers_of(source: str) -> list[str]:
    return [name for name in PEERS if f"import {name}" in source]


def case(number: int, name: str, source: str, expected: str):
    marks = [getattr(pytest.mark, peer) for peer in peers_of(source)]
    return pytest.param(source, expected, marks=marks, id=f"{name}-{number}")


@pytest.mark.parametrize(("source", "expected"), [case(number, *example) for number, example in enumerate(EXAMPLES)])
@pytest.mark.parametrize("pasted", [False, True])
def test_an_example_prints_what_its_readme_says(source: str, expected: str, pasted: bool) -> None:
    for peer in peers_of(source):
        pytest.importorskip(peer)
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        if pasted:
            console = code.InteractiveConsole()
            for line in source.splitlines():
                console.push(line)
        else:
            exec(compile(source, "README.md", "exec"), {})
    assert (out.getvalue(), errors.getvalue()) == (expected, "")


def test_every_python_block_has_its_output() -> None:
    assert len(EXAMPLES) == sum(text.count("```python") for text in READMES.values()) >= 6


def test_an_example_with_a_peer_goes_from_vector_to_verdict_in_25_lines() -> None:
    lengths = [len(source.splitlines()) for _, source, _ in EXAMPLES if peers_of(source)]
    assert 0 < max(lengths) <= 25


def test_the_readme_keeps_within_200_lines_and_its_links_lead_somewhere() -> None:
    assert len(READMES["README.md"].splitlines()) <= 200
    for name, text in READMES.items():
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert link.startswith("https://") or ((ROOT / name).parent / link).exists(), (name, link)


def test_the_pictures_of_the_readme_lie_in_data_and_are_small() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", READMES["README.md"])
    assert pictures
    for picture in pictures:
        assert picture.startswith("data/"), picture
        assert (ROOT / picture).stat().st_size < 300_000, picture
