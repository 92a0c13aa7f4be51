"""The lines at the end of a run say what its summary says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lie_ref.experiment.printout import HEADER, headlines

HAIR = ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair")


def point(step: int, black: int = 1, correlation: float | None = 0.95) -> dict[str, Any]:
    return {
        "step": step,
        "validation": {"loss": 0.25, "accuracy": 0.875, "beats_majority": 31},
        "train": {"loss": 0.125},
        "mean_correlation": correlation,
        "hair_ranks": dict(zip(HAIR, (black, 12, 33, 40), strict=True)),
        "checks": {"hvp_modes": 1e-14, "richardson": 2e-9, "order_swap": {"observed_order": 1.002}},
        "attributes": [{}] * 40,
    }


def shown(folder: Path, *points: dict[str, Any]) -> list[str]:
    (folder / "summary.json").write_text(json.dumps({"checkpoints": points}))
    header, *lines = headlines(folder)
    assert header == HEADER
    return lines


def test_a_checkpoint_is_a_line_of_figures_under_their_names(tmp_path: Path) -> None:
    line = shown(tmp_path, point(600, black=3))[0]
    assert line.split() == ["600", "0.1250", "0.2500", "0.8750", "0.950", "3", "12", "33", "40", "2.0e-09", "1.002"]
    for name, figure in (("step", "600"), ("train loss", "0.1250"), ("correlation", "0.950"), ("order", "1.002")):
        assert line.index(figure) + len(figure) == HEADER.index(name) + len(name)


def test_figures_that_are_undefined_are_dashes(tmp_path: Path) -> None:
    undefined = point(0, correlation=None)
    undefined["checks"]["order_swap"]["observed_order"] = None
    line = shown(tmp_path, undefined)[0]
    assert line.split() == ["0", "0.1250", "0.2500", "0.8750", "-", "1", "12", "33", "40", "2.0e-09", "-"]
    assert len(line) == len(shown(tmp_path, point(0))[0])


@pytest.mark.parametrize("check", ["hvp_modes", "richardson"])
def test_a_check_that_came_to_no_number_is_the_worst(tmp_path: Path, check: str) -> None:
    undefined = point(0)
    undefined["checks"][check] = None
    line = shown(tmp_path, undefined)[0]
    assert line.split()[-2:] == ["undefined", "1.002"]
    assert len(line) == len(shown(tmp_path, point(0))[0])


@pytest.mark.parametrize(
    ("split", "name", "place"), [("train", "loss", 1), ("validation", "loss", 2), ("validation", "accuracy", 3)]
)
def test_a_score_that_came_to_no_number_is_a_dash(tmp_path: Path, split: str, name: str, place: int) -> None:
    undefined = point(0)
    undefined[split][name] = None
    line = shown(tmp_path, undefined)[0]
    assert line.split()[place] == "-"
    assert len(line) == len(shown(tmp_path, point(0))[0])


def test_sentences_count_what_the_checkpoints_show(tmp_path: Path) -> None:
    points = [
        point(30, correlation=0.1),
        point(100, correlation=0.912),
        point(200, black=9),
        point(400, black=2),
        point(600, black=3, correlation=None),
    ]
    assert shown(tmp_path, *points)[5:] == [
        "At step 600 the network clearly beats the commoner answer (McNemar, z > 2) on 31 of 40 attributes.",
        "Black_Hair is one of the two most moved attributes at 1 of 2 steps >= 400.",
        "The log–log correlation of RMS bracket and RMS gradient is >= 0.912 for steps >= 100.",
    ]


@pytest.mark.parametrize("step", [0, 99])
def test_a_short_run_claims_nothing_of_later_steps(tmp_path: Path, step: int) -> None:
    assert len(shown(tmp_path, point(step))) == 2


def test_the_lines_of_a_real_run_are_its_checkpoints(small_run: Path) -> None:
    points = json.loads((small_run / "summary.json").read_text())["checkpoints"]
    for line, found in zip(headlines(small_run)[1:4], points, strict=True):
        figures = line.split()
        assert figures[:2] == [str(found["step"]), f"{found['train']['loss']:.4f}"]
        assert figures[5:9] == [str(found["hair_ranks"][name]) for name in HAIR]
