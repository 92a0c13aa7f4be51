"""Each claim is judged by the statistic that it names, computed here from made-up summaries."""

from __future__ import annotations

import copy
import math
from itertools import combinations
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest

from lie_ref.experiment.claims import CLAIMS, COMPARED, compare, judge, rank_chance
from lie_ref.images.labels import HAIR
from lie_ref.study.verdicts import Claim, finding

NAMES = [*HAIR, *(f"Attribute_{k}" for k in range(6))]
RNG = np.random.default_rng(4)


def make_point(step: int, ranks: list[int]) -> dict[str, Any]:
    """A made-up checkpoint at which the attributes of `NAMES` have these ranks."""
    under_adam = {"mean_correlation": 0.93, "mean_slope": 0.98, "mean_constant": 1.5}
    shares = [dict(zip(HAIR, RNG.uniform(0, 0.2, 4).tolist(), strict=True)) for _ in range(2)]
    return {
        "step": step,
        "brackets": [{"constant": c} for c in RNG.uniform(1, 2, 3).tolist()],
        **{"mean_correlation": 0.97, "mean_slope": 1.02, "mean_constant": float(RNG.uniform(2, 4))},
        "shuffled": {"mean_correlation": 0.95, "mean_slope": 1.0, "mean_constant": 0.5},
        "attributes": [{"name": name, "rank": rank} for name, rank in zip(NAMES, ranks, strict=True)],
        "hair_ranks": dict(zip(HAIR, ranks[:4], strict=True)),
        "hair_shares": dict(zip(("logits", "probabilities"), shares, strict=True)),
        "views": {"momentum": {**under_adam, "hair_ranks": dict(zip(HAIR, (4, 6, 9, 10), strict=True))}},
        "checks": {"mini_batches": 1e-15},
    }


def cosines(network: str, k: int, epsilon: float) -> list[float]:
    """The cosines of two orders, different for each case."""
    first = 0.1 * (network == "as trained") + k / 100 - math.log10(epsilon) / 20
    return [first, first + 0.04]


def make_run(steps: tuple[int, ...] = (0, 100, 400, 1000)) -> dict[str, Any]:
    passes = [
        {"network": network, "mini_batches": k, "epsilon": e, "cosine": cosines(network, k, e), "ratio": [1.0, 1.0]}
        for network in ("as trained", "average pool")
        for k in (2, 8)
        for e in (1e-1, 1e-3, 1e-7)
    ]
    ranks = [(RNG.permutation(10) + 1).tolist() for _ in steps]
    points = [make_point(step, r) for step, r in zip(steps, ranks, strict=True)]
    return {"attributes": NAMES, "checkpoints": points, "passes": passes}


RUNS = [make_run() for _ in range(3)]


def found(key: str, runs: list[dict[str, Any]] = RUNS) -> dict[str, Any]:
    """The finding on the claim with this id."""
    return next(entry for entry in judge(runs) if entry["id"] == key)


def test_claims_have_different_names_and_at_least_one_bound() -> None:
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    assert all(claim.low > -math.inf or claim.high < math.inf for claim in CLAIMS)
    assert not any("|" in claim.claim + claim.statistic for claim in CLAIMS)  # a Markdown table holds them


def test_only_checkpoints_from_the_named_step_on_count() -> None:
    run = copy.deepcopy(RUNS[0])
    for point, r in zip(run["checkpoints"], (0.1, 0.2, 0.6, 0.7), strict=True):
        point["mean_correlation"] = r
    judged = found("1a", [run])
    assert (judged["value"], judged["low"], judged["high"]) == (pytest.approx((0.2 + 0.6 + 0.7) / 3), 0.2, 0.7)
    ranks = [sum(point["hair_ranks"].values()) / 4 for point in run["checkpoints"][2:]]
    assert found("2b", [run])["value"] == pytest.approx(mean(ranks))


def test_spreads_are_factors_of_one_standard_deviation() -> None:
    for run in RUNS:
        late = run["checkpoints"][1:]
        pairs = [math.exp(stdev(math.log(b["constant"]) for b in point["brackets"])) for point in late]
        assert found("1c", [run])["value"] == pytest.approx(mean(pairs))
        training = math.exp(stdev(math.log(point["mean_constant"]) for point in late))
        assert found("1d", [run])["value"] == pytest.approx(training)


def test_brackets_are_compared_with_those_of_shuffled_directions() -> None:
    assert found("1e")["value"] == pytest.approx((1 - 0.97**2) / (1 - 0.95**2))
    logs = [mean(math.log10(p["mean_constant"] / 0.5) for p in run["checkpoints"][1:]) for run in RUNS]
    assert found("1f")["value"] == pytest.approx(mean(logs))


def test_both_colours_lead_where_they_have_the_first_two_ranks() -> None:
    run = make_run((400, 600, 1000, 2000))
    for point, ranks in zip(run["checkpoints"], ((1, 2), (2, 1), (1, 3), (2, 3)), strict=True):
        point["hair_ranks"] |= dict(zip(("Black_Hair", "Brown_Hair"), ranks, strict=True))
    assert found("2a", [run])["value"] == 0.5


def test_the_chance_of_a_rank_is_the_share_of_sets_of_attributes_that_rank_as_high() -> None:
    for run in RUNS:
        late = [point for point in run["checkpoints"] if point["step"] >= 400]
        mean_rank = {
            name: mean(a["rank"] for point in late for a in point["attributes"] if a["name"] == name) for name in NAMES
        }
        hair = sum(mean_rank[name] for name in HAIR)
        as_high = [sum(mean_rank[n] for n in names) <= hair + 1e-9 for names in combinations(NAMES, 4)]
        assert rank_chance(run) == pytest.approx(mean(as_high))
        assert f"{mean(as_high):.2g}" in found("2b", [run])["note"]
    assert rank_chance(make_run((0, 100))) is None


def test_a_view_that_no_checkpoint_has_decides_nothing() -> None:
    judged = found("1g")
    assert [judged[key] for key in ("value", "low", "high", "verdict", "runs")] == [None, None, None, "undecided", 0]
    assert judged["note"] == "no values; 9 of 9 values undefined"


def late_share(name: str) -> float:
    return mean(p["hair_shares"]["logits"][name] for run in RUNS for p in run["checkpoints"] if p["step"] >= 400)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("1b", 1.02),
        ("1h", 0.93),
        *((f"2{letter}", late_share(name)) for letter, name in zip("cdef", HAIR, strict=True)),
        ("2h", (4 + 6 + 9 + 10) / 4),
        ("4", 1e-15),
        ("5a", mean(cosines("as trained", 8, 1e-1))),  # 8 is the largest number of mini-batches
        ("5b", mean(cosines("as trained", 8, 1e-3))),
        ("5c", mean(cosines("as trained", 8, 1e-7))),
        ("5d", mean(cosines("average pool", 8, 1e-3))),
    ],
)
def test_other_statistics_are_means_over_runs_and_checkpoints(key: str, expected: float) -> None:
    assert found(key)["value"] == pytest.approx(expected)


BOUNDS = {  # ids of claims: a value for which they hold, and values for which they fail
    "1a 1g 1h": (0.95, 0.85),
    "1b": (1.0, 1.2, 0.8),
    "1c 1d": (1.2, 1.6),
    "1e": (0.3, 0.9),
    "1f": (0.5, -0.5),
    "2a 5a 5b": (0.95, 0.5),
    "2b 2g 2h": (5.0, 25.0),
    "2c 2d 2e 2f": (0.05, 0.01),
    "3a": (-0.1, 0.1),
    "3b 3c": (0.1, -0.1),
    "4": (1e-14, 1e-3),
    "5c 5d": (0.9999, 0.95),
}


def test_the_bounds_of_every_claim_are_on_the_right_side() -> None:
    claims = {claim.id: claim for claim in (*CLAIMS, *(claim for claim, _, _ in COMPARED))}
    cases = {key: values for keys, values in BOUNDS.items() for key in keys.split()}
    assert cases.keys() == claims.keys()
    for key, values in cases.items():
        verdicts = [finding(claims[key], [[value] * 2])["verdict"] for value in values]
        assert verdicts == ["holds", *["fails"] * (len(values) - 1)], key


def test_comparisons_pair_runs_of_the_same_seed() -> None:
    claim = Claim("3", "falls", "share", high=0.0)
    others = copy.deepcopy(RUNS)
    for run in others:
        for point in run["checkpoints"]:
            point["hair_shares"]["probabilities"]["Bald"] = 0.1  # so the sum is larger by 0.1 in each run
    difference = compare(claim, RUNS, others)
    assert (difference["value"], difference["verdict"], difference["runs"]) == (pytest.approx(-0.1), "holds", 3)
    assert difference["high"] - difference["low"] < 1e-12  # although the runs differ
    assert compare(claim, others, RUNS)["verdict"] == "fails"
    early = [make_run((0, 100))] * 2
    assert compare(claim, early, early)["verdict"] == "undecided"


def test_comparisons_use_the_steps_that_both_runs_have() -> None:
    claim = Claim("3", "falls", "share", high=0.0)
    longer, shorter = (make_run(steps) for steps in ((0, 400, 600, 2000), (0, 400, 600)))
    at = [[sum(p["hair_shares"]["probabilities"].values()) for p in run["checkpoints"]] for run in (longer, shorter)]
    difference = compare(claim, [longer], [shorter])
    assert difference["value"] == pytest.approx((at[0][1] + at[0][2] - at[1][1] - at[1][2]) / 2)
    assert difference["note"].endswith(f"{(at[0][1] + at[0][2]) / 2:.3f} against {(at[1][1] + at[1][2]) / 2:.3f}")
