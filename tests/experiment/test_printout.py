"""The lines that a run prints at its end agree with its summary."""

from __future__ import annotations

import json
from functools import reduce
from operator import getitem
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


@pytest.mark.parametrize(
    ("keys", "place", "text"),
    [
        (["train", "loss"], 1, "–"),
        (["validation", "loss"], 2, "–"),
        (["validation", "accuracy"], 3, "–"),
        (["mean_correlation"], 4, "–"),
        (["checks", "hvp_modes"], 9, "undefined"),  # a check without a result is the worst one
        (["checks", "richardson"], 9, "undefined"),
        (["checks", "order_swap", "observed_order"], 10, "–"),
    ],
)
def test_an_undefined_figure_is_shown_in_its_place(tmp_path: Path, keys: list[str], place: int, text: str) -> None:
    whole, found = shown(tmp_path, point(0))[0], point(0)
    reduce(getitem, keys[:-1], found)[keys[-1]] = None
    line = shown(tmp_path, found)[0]
    assert line.split() == [*whole.split()[:place], text, *whole.split()[place + 1 :]]
    assert len(line) == len(whole)


def test_sentences_count_what_the_checkpoints_show(tmp_path: Path) -> None:
    early = [point(30, correlation=0.1), point(100, correlation=0.912), point(200, black=9)]
    late = [point(400, black=2), point(600, black=3, correlation=None)]
    assert shown(tmp_path, *early, *late)[5:] == [
        "At step 600 the network is clearly better than always giving the more common answer (McNemar, z > 2) on "
        "31 of 40 attributes.",
        "Black_Hair is one of the two most moved attributes at 1 of 2 steps >= 400.",
        "The log–log correlation of RMS bracket and RMS gradient is >= 0.912 for steps >= 100.",
    ]


@pytest.mark.parametrize("step", [0, 99])
def test_a_short_run_says_nothing_about_later_steps(tmp_path: Path, step: int) -> None:
    assert len(shown(tmp_path, point(step))) == 2
