"""Verdicts follow from intervals, intervals from the runs, and the level of the intervals from all claims together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import mean, stdev
from typing import Any

import mpmath
import numpy as np
import pytest

from lie_ref.study.verdicts import CORRELATION, SHARE, Claim, finding, interval, judged, student, table

CLAIM = Claim("1", "so", "share", low=0.5)


def alone(claim: Claim, values: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """The judged finding of a study with a single claim: its level is 95 %."""
    return judged({"": [finding(claim, values)]})[""][0]


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 30, 59])
@pytest.mark.parametrize("level", [0.6, 0.95, 0.9992])
def test_students_t_has_the_probability_of_its_incomplete_beta_function(degrees: int, level: float) -> None:
    t = student(level, degrees)
    beyond = mpmath.betainc(degrees / 2, 0.5, 0, degrees / (degrees + t**2), regularized=True)
    assert float(beyond) == pytest.approx(1 - level, rel=1e-9)


def test_the_interval_of_several_runs_is_students() -> None:
    means = [0.2, 0.5, 0.35, 0.3]
    half = 3.182446305284263 * stdev(means) / 2  # t of 3 degrees of freedom at 97.5 %, and √4
    assert interval(means) == pytest.approx((mean(means), mean(means) - half, mean(means) + half), rel=1e-12)
    found = alone(CLAIM, [[m - 0.1, m + 0.1] for m in means])
    assert [found[key] for key in ("value", "low", "high")] == pytest.approx(interval(means), rel=1e-12)


def test_a_single_run_has_a_number_and_no_verdict() -> None:
    assert interval([3.0]) == (3.0, None, None)
    assert interval([]) == (None, None, None)
    found = alone(CLAIM, [[0.9, 0.8]])
    assert [found[key] for key in ("value", "low", "verdict", "runs")] == [pytest.approx(0.85), None, "undecided", 1]


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([0.99, 1.0, 1.01], "holds"),
        ([1.0, 1.0, 1.0], "holds"),
        ([0.79, 0.8, 0.81], "fails"),
        ([1.29, 1.3, 1.31], "fails"),
        ([0.8, 1.0, 1.2], "undecided"),
        ([1.05, 1.1, 1.15], "undecided"),
        ([0.9, 0.9, 0.9], "undecided"),  # a tie is not a verdict
        ([0.9 + 1e-16, 0.9 + 2e-16, 0.9 + 1e-16], "undecided"),
    ],
)
def test_the_verdict_follows_from_the_interval(means: list[float], expected: str) -> None:
    assert alone(Claim("1", "so", "slope", low=0.9, high=1.1), [[m] for m in means])["verdict"] == expected


def test_a_tie_with_zero_that_differs_by_rounding_is_undecided() -> None:
    assert alone(Claim("1", "so", "gain", low=0.0), [[1e-17], [1e-17]])["verdict"] == "undecided"
    assert alone(Claim("1", "so", "error", high=1e-10), [[5e-15], [4e-15], [5e-15]])["verdict"] == "holds"


def test_a_claim_with_an_undefined_value_cannot_hold() -> None:
    values = [[0.9, None, 0.95], [0.9, 0.92, math.nan]]
    found = alone(CLAIM, values)
    assert (found["verdict"], found["note"]) == ("undecided", "2 of 6 values undefined")
    assert alone(CLAIM, [[0.9, 0.95], [0.9, 0.92]])["verdict"] == "holds"
    assert alone(CLAIM, [[0.1, None], [0.1, None]])["verdict"] == "fails"


def test_a_claim_that_cannot_hold_does_not_count_as_decided() -> None:
    sure, undefined = [[0.9], [0.91], [0.92]], [[0.9], [0.91], [0.92, None]]
    found = judged({"": [finding(CLAIM, sure), finding(CLAIM, undefined)]})[""]
    assert [entry["verdict"] for entry in found] == ["holds", "undecided"]
    assert found[0]["level"] == 1 - 0.05 * 1 / 2


def test_the_level_is_that_of_benjamini_and_yekutieli() -> None:
    """Three of four claims are decided at the level 1 − 0.05 · 3 / 4, found here by trying all numbers of claims."""
    means = [[1.0, 1.1, 1.2], [0.7, 0.75, 0.8], [0.3, 0.35, 0.38], [0.4, 0.5, 0.7]]
    found = judged(
        {"a": [finding(CLAIM, [[m] for m in means[0]])], "b": [finding(CLAIM, [[m] for m in of]) for of in means[1:]]}
    )
    every = [*found["a"], *found["b"]]

    def outside(level: float) -> int:
        return sum(abs(mean(of) - 0.5) > student(level, 2) * stdev(of) / math.sqrt(3) for of in means)

    decided = max(d for d in range(5) if outside(1 - 0.05 * max(d, 1) / 4) >= d)
    assert decided == 3
    assert {entry["level"] for entry in every} == {1 - 0.05 * 3 / 4}
    assert [entry["verdict"] for entry in every] == ["holds", "holds", "fails", "undecided"]


def test_the_detectable_effect_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    runs = 10
    error = 1 / math.sqrt(runs)
    effect = (student(0.95, runs - 1) + student(0.6, runs - 1)) * error
    samples = rng.normal(0.5 + effect, 1, (4000, runs))
    verdicts = [alone(CLAIM, [[v] for v in sample])["verdict"] for sample in samples]
    assert verdicts.count("holds") / 4000 == pytest.approx(0.8, abs=0.02)
    detectable = [alone(CLAIM, [[v] for v in sample])["detectable"] for sample in samples[:500]]
    assert mean(detectable) == pytest.approx(effect, rel=0.05)


@pytest.mark.parametrize("bound", [0.1, 0.5, 0.9])
def test_a_detectable_share_is_found_four_times_in_five(bound: float) -> None:
    """The logits of the runs are normal, and the mean share lies as far above the bound as is detectable there."""
    rng, claim, spread = np.random.default_rng(0), Claim("1", "so", "share", low=bound, within=SHARE), 0.3
    effect = (student(0.95, 9) + student(0.6, 9)) * spread / math.sqrt(10)
    truth = 1 / (1 + (1 - bound) / bound * math.exp(-effect))
    centre = math.log(truth / (1 - truth)) + spread**2 * (truth - 0.5)  # the mean share is nearer to 1/2
    samples = 1 / (1 + np.exp(-rng.normal(centre, spread, (2000, 10))))
    found = [alone(claim, [[v] for v in sample]) for sample in samples]
    assert [one["verdict"] for one in found].count("holds") / 2000 == pytest.approx(0.8, abs=0.03)
    assert mean(one["detectable"] for one in found) == pytest.approx(truth - bound, rel=0.05)


def test_no_effect_is_called_detectable_that_is_longer_than_the_range() -> None:
    assert alone(Claim("1", "so", "share", low=0.5, within=SHARE), [[0.4], [0.9]])["detectable"] is None
    assert alone(CLAIM, [[0.4], [0.9]])["detectable"] > 1


def study(rng: np.random.Generator, runs: int, sixes: int, skewed: bool) -> list[list[float]]:
    """A simulated statistic whose true mean is 0: each value is the effect of its run plus that of its six."""
    draw: Callable[..., Any] = (lambda *shape: rng.exponential(1, shape) - 1) if skewed else rng.standard_normal
    values = rng.standard_normal((runs, 1)) * 0.5 + (draw(runs, sixes) if skewed else draw((runs, sixes)))
    return [of.tolist() for of in values]


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("runs", [3, 10])
def test_intervals_over_runs_with_examples_of_their_own_cover_the_truth_19_times_in_20(runs: int, skewed: bool) -> None:
    rng, covered = np.random.default_rng(runs), 0
    for _ in range(3000):
        found = alone(Claim("1", "so", "share", low=0.0), study(rng, runs, 24, skewed))
        covered += found["low"] <= 0 <= found["high"]
    assert 0.93 < covered / 3000 < 0.97


@pytest.mark.parametrize("truth", [0.5, 0.9, 0.97])
def test_the_interval_of_a_share_stays_within_0_and_1_and_covers_the_truth_19_times_in_20(truth: float) -> None:
    """Runs are drawn from a beta distribution with the mean `truth`."""
    rng, covered, claim = np.random.default_rng(5), 0, Claim("1", "so", "share", low=truth, within=SHARE)
    for _ in range(3000):
        values = rng.beta(30 * truth, 30 * (1 - truth), 10).tolist()
        found = alone(claim, [[v] for v in values])
        assert 0 < found["low"] < found["value"] < found["high"] < 1
        assert [found[key] for key in ("value", "low", "high")] == pytest.approx(
            interval(values, within=SHARE), rel=1e-12
        )
        assert (found["verdict"] == "undecided") == (found["low"] <= truth <= found["high"])
        covered += found["verdict"] == "undecided"
    assert 0.93 < covered / 3000 < 0.97


def test_the_interval_of_a_share_is_students_of_its_logit_to_first_order() -> None:
    means = [0.6, 0.7, 0.75]
    number, low, high = interval(means, within=SHARE)
    half = student(0.95, 2) * stdev(means) / math.sqrt(3) / (number * (1 - number))
    logit = [math.log(p / (1 - p)) for p in (number, low, high)]
    assert number == pytest.approx(mean(means))
    assert logit[1:] == pytest.approx([logit[0] - half, logit[0] + half])
    assert interval([1.0, 1.0], within=SHARE) == (1.0, 1.0, 1.0)


def test_the_interval_of_a_correlation_is_that_of_its_place_between_minus_1_and_1() -> None:
    correlations = [0.2, 0.9, 0.95]
    shares = interval([(1 + r) / 2 for r in correlations], within=SHARE)
    assert interval(correlations, within=CORRELATION) == pytest.approx([2 * end - 1 for end in shares])
    assert -1 < interval(correlations, within=CORRELATION)[1] < 0 < interval(correlations)[2] - 1


def test_at_most_one_verdict_in_twenty_is_wrong() -> None:
    """Half of 40 claims have their bound for the truth, so that each verdict on them is wrong."""
    rng, wrong = np.random.default_rng(0), []
    for _ in range(200):
        truths = [0.0] * 20 + rng.choice([-1.0, 1.0], 20).tolist()
        claims = [finding(Claim("1", "so", "x", low=0.0), [[v] for v in rng.normal(t, 1, 10)]) for t in truths]
        verdicts = [entry["verdict"] for entry in judged({"": claims})[""]]
        right = ["holds" if t > 0 else "fails" if t < 0 else "neither" for t in truths]
        decided = [(v, r) for v, r in zip(verdicts, right, strict=True) if v != "undecided"]
        wrong.append(sum(v != r for v, r in decided) / max(len(decided), 1))
    assert mean(wrong) <= 0.05


def test_notes_are_printed_below_the_table() -> None:
    found = judged(
        {"faces": [finding(CLAIM, [[0.75], [0.75]])], "CelebA": [finding(CLAIM, [[0.75], [math.nan]], "and more")]}
    )
    lines = table(found)
    assert lines[2].endswith("| > 0.5 | **holds**: 0.75 (0.75 … 0.75) | **undecided**: 0.75 |")
    assert lines[3:] == ["", "- 1, CelebA: 1 of 2 values undefined; and more"]
