"""`lie-ref check FILE.py[:NAME]` runs a user's file: the verdict and exit status, and one line for what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lie_ref.cli import main

GRADIENT = """import numpy as np
theta = {"w": np.array([1.0, 2.0])}
def gradient(theta, i):
    return {"w": theta["w"] ** 3 if i == 0 else theta["w"]}
"""
RIGHT = "def bracket(theta, i, j):\n    return {'w': theta['w'] ** 3 - 3 * theta['w'] ** 3}\n"
WRONG = "candidate = {'bracket': {'w': 2 * theta['w'] ** 3}}\n"
RANDOM = (
    "import random\nold = gradient\ndef gradient(theta, i):\n    return {'w': old(theta, i)['w'] * random.random()}\n"
)


def checked(folder: Path, source: str, name: str = "") -> int:
    (folder / "mine.py").write_text(source, encoding="utf-8")
    return main(["check", f"{folder / 'mine.py'}{name}", "--json", str(folder / "verdict.json")])


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [(RIGHT, 0, "agrees"), (WRONG, 1, "DISAGREES"), (RANDOM + RIGHT, 3, "two calls of gradient(theta, ")],
)
def test_the_exit_status_is_the_verdict(
    source: str, status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(tmp_path, GRADIENT + source) == status
    assert said in capsys.readouterr().out
    written = json.loads((tmp_path / "verdict.json").read_text(encoding="utf-8"))
    assert written["agrees"] is {0: True, 1: False, 3: None}[status]


AS_DICT = "mine = {'gradient': gradient, 'theta': theta, 'candidate': {'bracket': bracket}}\n"
AS_FUNCTION = """def mine():
    return dict(gradient=gradient, theta=theta, candidate={'bracket': bracket}, pairs=[(1, 0)])
"""


@pytest.mark.parametrize("made", [AS_DICT, AS_FUNCTION])
def test_a_name_in_the_file_may_give_the_arguments(made: str, tmp_path: Path) -> None:
    source = GRADIENT + RIGHT.replace("theta['w'] ** 3 - 3", "(-1) ** i * (1 - 3)").replace("(1 - 3) * ", "-2 * ")
    assert checked(tmp_path, source + made, ":mine") == 0


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("theta = 1.0\n", "", "mine.py: expected it to define 'gradient'"),
        (GRADIENT, "", "mine.py: candidate: expected some of grad, hvp, bracket, logit_delta, got none"),
        (GRADIENT + "1 / 0\n", "", "mine.py:5: ZeroDivisionError: division by zero"),
        (GRADIENT + "def bracket(theta, i, j):\n    return nothing\n", "", "mine.py:6: NameError: name 'nothing'"),
        (GRADIENT + "def f(:\n", "", "mine.py:5: SyntaxError"),
        (GRADIENT + "raise OSError('y' * 999)\n", "", f"mine.py:5: OSError: {'y' * 299}…\n"),
        (GRADIENT + WRONG + "exit()\n", "", "mine.py: it ended by sys.exit(None) before there was a verdict\n"),
        (GRADIENT + RIGHT, ":main", "mine.py: has no 'main'; the nearest to 'main' is "),
        (GRADIENT + RIGHT, ":theta", "mine.py: expected it to define 'gradient'"),
        (GRADIENT + "mine = 3\n", ":mine", "mine.py: mine: expected a dict of gradient, theta, candidate"),
        (GRADIENT + "theta = [1, 2]\n" + RIGHT, "", "mine.py: theta: '0': expected an array of floating-point numbers"),
    ],
)
def test_what_cannot_be_run_is_one_line_with_the_file_and_line(
    source: str, name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(tmp_path, source, name) == 2
    out, errors = capsys.readouterr()
    assert message in errors
    assert errors.count("\n") == 1
    assert not out


def test_a_file_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nowhere.py"]) == 2
    assert capsys.readouterr().err == "lie-ref: nowhere.py: expected a Python file, found none\n"
