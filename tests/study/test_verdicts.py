"""Verdicts follow from intervals, and intervals from the runs."""

from __future__ import annotations

import math
from statistics import mean, stdev

import pytest

from lie_ref.study.verdicts import Claim, finding, interval, table, verdict


def test_the_interval_of_several_runs_is_students() -> None:
    means = [0.2, 0.5, 0.35, 0.3]
    number, low, high = interval([[m - 0.1, m + 0.1] for m in means])
    assert number == pytest.approx(mean(means))
    half = 3.182446305284263 * stdev(means) / 2  # t of 3 degrees of freedom at 97.5 %, and √4
    assert (low, high) == pytest.approx((mean(means) - half, mean(means) + half), rel=1e-3)


def test_the_interval_of_one_run_is_the_range_over_its_checkpoints() -> None:
    assert interval([[3.0, 1.0, 2.0]]) == (2.0, 1.0, 3.0)
    assert interval([[3.0]]) == (3.0, None, None)
    assert interval([]) == (None, None, None)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 1.1, "holds"),
        (0.95, 1.0, "holds"),
        (0.8, 0.89, "fails"),
        (1.2, 1.3, "fails"),
        (0.8, 1.0, "undecided"),
        (1.0, 1.2, "undecided"),
        (0.5, 1.5, "undecided"),
        (None, None, "undecided"),
    ],
)
def test_the_verdict_follows_from_the_interval(low: float | None, high: float | None, expected: str) -> None:
    assert verdict(low, high, 0.9, 1.1) == expected


def test_undefined_values_are_counted_in_the_note() -> None:
    claim = Claim("1", "so", "share", low=0.5)
    found = finding(claim, [[0.9, None, 0.95]])
    assert found["note"] == "range within the one run; 1 of 3 values undefined"
    assert found["verdict"] == "undecided"  # for that may be where it fails
    assert finding(claim, [[0.1, None], [0.1, None]])["verdict"] == "fails"
    assert finding(claim, [[0.9], [0.8], [0.7]])["note"] == "95 % over 3 runs"


def test_notes_are_printed_below_the_table() -> None:
    claim = Claim("1", "so", "share", low=0.5)
    one, other = finding(claim, [[0.75], [0.75]]), finding(claim, [[0.75], [math.nan]], "and more")
    lines = table({"faces": [one], "CelebA": [other]})
    assert lines[2].endswith("| **holds**: 0.75 (0.75 … 0.75) | **undecided**: 0.75 |")
    assert lines[3:] == ["", "1, CelebA: 1 of 2 values undefined; and more"]
