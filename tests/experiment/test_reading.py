"""The files of a run are read as they were written, and any damage to one of them is one line that names it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_run import PAIRS, TENSORS, edit_evaluation, edit_summary, make_run

from lie_ref.experiment.page import render
from lie_ref.experiment.reading import read_run, views
from lie_ref.machine.errors import InputError

SECOND = "evaluation/step_000100.npz"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def refusal(run: Path, name: str) -> str:
    """The one line with which the page of a damaged run is refused, without the path of the file that it names."""
    with pytest.raises(InputError, match=re.escape(f"{run / name}: ")) as caught:
        render(run)
    message = str(caught.value)
    assert "\n" not in message
    assert not (run / "report.html").exists()
    return message.removeprefix(f"{run / name}: ")


def test_a_whole_run_comes_back_as_it_was_written(run: Path) -> None:
    files = read_run(run)
    assert files.config == json.loads((run / "config.json").read_text())
    assert files.summary == json.loads((run / "summary.json").read_text())
    np.testing.assert_array_equal(files.log[:, 0], np.arange(1, 101))
    assert files.log[6, 1] == float((run / "log.csv").read_text().splitlines()[7].split(",")[1])
    assert list(files.evaluations) == [0, 100]
    for step, evaluation in files.evaluations.items():
        with np.load(run / "evaluation" / f"step_{step:06d}.npz") as written:
            assert evaluation.keys() == set(written)
            for name in ("pairs", "x", "y", "logits", "norm", "logit_delta", "rms_gradient", "rms_bracket"):
                np.testing.assert_array_equal(evaluation[name], written[name])


def test_a_checkpoint_has_the_plain_view_and_those_it_names(run: Path) -> None:
    first, final = map(views, read_run(run).evaluations.values())
    assert list(first) == ["plain", "momentum"]
    assert list(final) == ["plain", "preconditioned", "momentum"]
    with np.load(run / SECOND) as written:
        for name, array in final["preconditioned"].items():
            np.testing.assert_array_equal(array, written[f"{name}/preconditioned"])
        np.testing.assert_array_equal(final["plain"]["norm"], written["norm"])


@pytest.mark.parametrize("name", ["config.json", "log.csv", "summary.json", SECOND])
@pytest.mark.parametrize("damage", ["missing", "cut short", "binary"])
def test_a_missing_or_damaged_file_is_named(run: Path, name: str, damage: str) -> None:
    path = run / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut short":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "binary":
        path.write_bytes(b"\xff\xfe\x00" + content[3:])
    refusal(run, name)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda summary: summary.update(format="lie-ref-run/9"),
            "expected format lie-ref-run/2, found 'lie-ref-run/9'",
        ),
        (lambda summary: summary.pop("passes"), "'passes' is missing"),
        (lambda summary: summary.update(checkpoints=[]), ""),
        (lambda summary: summary["checkpoints"][0].update(step="0"), ""),
        (lambda summary: summary["checkpoints"][0]["checks"]["swaps"].update(adam=1), ""),
        (lambda summary: summary["checkpoints"][0]["expansion"].pop("reach"), "'reach' is missing"),
    ],
)
def test_a_wrong_value_of_the_summary_is_named_by_its_file(
    run: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_summary(run, edit)
    assert message in refusal(run, "summary.json")


def test_settings_that_are_no_object_are_refused(run: Path) -> None:
    (run / "config.json").write_text("[1]")
    refusal(run, "config.json")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["step,loss", "1,0.5", "2,0.5"], "expected the header step,loss and every step from 1 to 100, one a line"),
        (["step,loss", *(f"{step},0.5" for step in range(2, 200))], "every step from 1 to 100"),
        (["step,loss", "1,0.5", "2,half"], "could not convert string to float: 'half'"),
    ],
)
def test_a_wrong_line_of_the_log_is_refused(run: Path, lines: list[str], message: str) -> None:
    (run / "log.csv").write_text("\n".join(lines))
    assert message in refusal(run, "log.csv")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": np.array(200)}, "expected step 100, found '200'; delete it and resume the run"),
        ({"format": None}, "expected format lie-ref-evaluation/5, found 'none'; delete it and resume the run"),
        ({"pairs": np.array(PAIRS)[::-1]}, "pairs differs from the other files of the run"),
        ({"x": np.zeros((32, 3, 16, 16))}, "x differs from the other files of the run"),
        ({"rms_bracket": np.full((15, TENSORS), np.nan)}, "rms_bracket has a value that is not finite"),
        ({"rms_gradient": None}, "'rms_gradient' is missing"),
        ({"norm/momentum": None}, "'norm/momentum' is missing"),
        ({"views": np.array(["adam"])}, "'norm/adam' is missing"),
        ({"rms_bracket/momentum": np.zeros((15, 2))}, ""),  # wrong shapes are found only when the page is drawn
        ({"rms_gradient": np.ones((5, TENSORS))}, ""),
    ],
)
def test_a_wrong_array_of_an_evaluation_is_refused(run: Path, changes: dict[str, Any], message: str) -> None:
    edit_evaluation(run / SECOND, **changes)
    assert message in refusal(run, SECOND)
