"""Each statistic is that of the findings that it names."""

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
    kinds = ("logits", "probabilities")
    shares = {kind: dict(zip(HAIR, RNG.uniform(0, 0.2, 4).tolist(), strict=True)) for kind in kinds}
    fits = {"mean_correlation": 0.97, "mean_slope": 1.02, "mean_constant": float(RNG.uniform(2, 4))}
    under_adam = {"mean_correlation": 0.93, "mean_slope": 0.98, "mean_constant": 1.5}
    hair = dict(zip(HAIR, ranks[:4], strict=True))
    return {
        "step": step,
        "brackets": [{"constant": c} for c in RNG.uniform(1, 2, 3).tolist()],
        **fits,
        "shuffled": {"mean_correlation": 0.95, "mean_slope": 1.0, "mean_constant": 0.5},
        "attributes": [{"name": name, "rank": rank} for name, rank in zip(NAMES, ranks, strict=True)],
        "hair_ranks": hair,
        "hair_shares": shares,
        "views": {"momentum": {**under_adam, "hair_ranks": dict(zip(HAIR, (4, 6, 9, 10), strict=True))}},
        "checks": {"mini_batches": 1e-15},
    }


def cosines(network: str, k: int, epsilon: float) -> list[float]:
    """Of two orders, other numbers for each case."""
    first = 0.1 * (network == "as trained") + k / 100 - math.log10(epsilon) / 20
    return [first, first + 0.04]


def make_run(steps: tuple[int, ...] = (0, 100, 400, 1000)) -> dict[str, Any]:
    passes = [
        {"network": network, "mini_batches": k, "epsilon": e, "cosine": cosines(network, k, e), "ratio": [1.0, 1.0]}
        for network in ("as trained", "average pool")
        for k in (2, 8)
        for e in (1e-1, 1e-3, 1e-7)
    ]
    ranks = [[int(r) for r in RNG.permutation(10) + 1] for _ in steps]
    return {
        "attributes": NAMES,
        "checkpoints": [make_point(step, r) for step, r in zip(steps, ranks, strict=True)],
        "passes": passes,
    }


RUNS = [make_run() for _ in range(3)]


def values(key: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    return next(entry for entry in judge(runs) if entry["id"] == key)


def test_claims_have_names_of_their_own_and_bounds() -> None:
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    assert all(claim.low > -math.inf or claim.high < math.inf for claim in CLAIMS)
    assert not any("|" in claim.claim + claim.statistic for claim in CLAIMS)  # they stand in a table in Markdown


def test_only_the_checkpoints_from_the_step_that_is_named_count() -> None:
    run = copy.deepcopy(RUNS[0])
    for point, r in zip(run["checkpoints"], (0.1, 0.2, 0.6, 0.7), strict=True):
        point["mean_correlation"] = r
    assert values("1a", [run])["value"] == pytest.approx((0.2 + 0.6 + 0.7) / 3)
    assert (values("1a", [run])["low"], values("1a", [run])["high"]) == (0.2, 0.7)
    ranks = [sum(point["hair_ranks"].values()) / 4 for point in run["checkpoints"][2:]]
    assert values("2b", [run])["value"] == pytest.approx(mean(ranks))


def test_spreads_are_factors_of_one_standard_deviation() -> None:
    for run in RUNS:
        late = run["checkpoints"][1:]
        pairs = [math.exp(stdev(math.log(b["constant"]) for b in point["brackets"])) for point in late]
        assert values("1c", [run])["value"] == pytest.approx(mean(pairs))
        training = math.exp(stdev(math.log(point["mean_constant"]) for point in late))
        assert values("1d", [run])["value"] == pytest.approx(training)


def test_what_shuffled_directions_do_is_taken_off() -> None:
    assert values("1e", RUNS)["value"] == pytest.approx((1 - 0.97**2) / (1 - 0.95**2))
    logs = [mean(math.log10(p["mean_constant"] / 0.5) for p in run["checkpoints"][1:]) for run in RUNS]
    assert values("1f", RUNS)["value"] == pytest.approx(mean(logs))


def test_both_colours_lead_only_where_they_have_the_first_two_ranks() -> None:
    run = make_run((400, 600, 1000, 2000))
    for point, ranks in zip(run["checkpoints"], ((1, 2), (2, 1), (1, 3), (2, 3)), strict=True):
        point["hair_ranks"] |= dict(zip(("Black_Hair", "Brown_Hair"), ranks, strict=True))
    assert values("2a", [run])["value"] == 0.5


def test_the_chance_of_a_rank_is_the_share_of_all_sets_of_names_that_rank_as_high() -> None:
    for run in RUNS:
        late = [point for point in run["checkpoints"] if point["step"] >= 400]
        mean_rank = {
            name: mean(a["rank"] for point in late for a in point["attributes"] if a["name"] == name) for name in NAMES
        }
        hair = sum(mean_rank[name] for name in HAIR)
        as_high = [sum(mean_rank[n] for n in names) <= hair + 1e-9 for names in combinations(NAMES, 4)]
        assert rank_chance(run) == pytest.approx(mean(as_high))
        assert f"{mean(as_high):.2g}" in values("2b", [run])["note"]
    assert rank_chance(make_run((0, 100))) is None


def test_a_view_that_checkpoints_lack_decides_nothing() -> None:
    assert values("1g", RUNS) == {
        "id": "1g",
        "claim": "1a of fields scaled by Adam’s preconditioner",
        "statistic": "log–log correlation, steps ≥ 100",
        "value": None,
        "low": None,
        "high": None,
        "verdict": "undecided",
        "runs": 0,
        "note": "no values; 9 of 9 values undefined",
    }
    assert values("1h", RUNS)["value"] == pytest.approx(0.93)


def test_passes_are_judged_over_the_most_mini_batches() -> None:
    for key, network, epsilon in (
        ("5a", "as trained", 1e-1),
        ("5b", "as trained", 1e-3),
        ("5c", "as trained", 1e-7),
        ("5d", "average pool", 1e-3),
    ):
        assert values(key, RUNS)["value"] == pytest.approx(mean(cosines(network, 8, epsilon)))


def test_slopes_ranks_under_adam_shares_and_mini_batches_are_read_from_their_places() -> None:
    assert values("1b", RUNS)["value"] == pytest.approx(1.02)
    assert values("2h", RUNS)["value"] == pytest.approx((4 + 6 + 9 + 10) / 4)
    assert values("4", RUNS)["value"] == pytest.approx(1e-15)
    for key, name in zip(("2c", "2d", "2e", "2f"), HAIR, strict=True):
        late = [[p["hair_shares"]["logits"][name] for p in run["checkpoints"] if p["step"] >= 400] for run in RUNS]
        assert values(key, RUNS)["value"] == pytest.approx(mean(mean(shares) for shares in late))


@pytest.mark.parametrize(
    ("key", "holding", "failing"),
    [
        ("1a", 0.95, 0.85),
        ("1b", 1.0, 1.2),
        ("1b", 1.0, 0.8),
        ("1c", 1.2, 1.6),
        ("1d", 1.2, 1.6),
        ("1e", 0.3, 0.9),
        ("1f", 0.5, -0.5),
        ("1g", 0.95, 0.85),
        ("1h", 0.95, 0.85),
        ("2a", 0.95, 0.5),
        ("2b", 5.0, 25.0),
        ("2c", 0.05, 0.01),
        ("2d", 0.05, 0.01),
        ("2e", 0.05, 0.01),
        ("2f", 0.05, 0.01),
        ("2g", 5.0, 25.0),
        ("2h", 5.0, 25.0),
        ("3a", -0.1, 0.1),
        ("3b", 0.1, -0.1),
        ("3c", 0.1, -0.1),
        ("4", 1e-14, 1e-3),
        ("5a", 0.95, 0.5),
        ("5b", 0.95, 0.5),
        ("5c", 0.9999, 0.95),
        ("5d", 0.9999, 0.95),
    ],
)
def test_bounds_are_on_the_side_that_the_claim_means(key: str, holding: float, failing: float) -> None:
    claim = next(claim for claim in (*CLAIMS, *(claim for claim, _, _ in COMPARED)) if claim.id == key)
    assert [finding(claim, [[value] * 2])["verdict"] for value in (holding, failing)] == ["holds", "fails"]


def test_comparisons_pair_runs_of_the_same_seed() -> None:
    claim = Claim("3", "falls", "share", high=0.0)
    others = copy.deepcopy(RUNS)
    for run in others:
        for point in run["checkpoints"]:
            point["hair_shares"]["probabilities"]["Bald"] = 0.1  # the sum is a tenth larger, in each run
    found = compare(claim, RUNS, others)
    assert (found["value"], found["verdict"], found["runs"]) == (pytest.approx(-0.1), "holds", 3)
    assert found["high"] - found["low"] < 1e-12  # though runs differ
    assert compare(claim, others, RUNS)["verdict"] == "fails"
    early = [make_run((0, 100))] * 2
    assert compare(claim, early, early)["verdict"] == "undecided"


def test_comparisons_are_of_the_steps_that_both_runs_have() -> None:
    claim = Claim("3", "falls", "share", high=0.0)
    longer, shorter = (make_run(steps) for steps in ((0, 400, 600, 2000), (0, 400, 600)))
    at = [[sum(p["hair_shares"]["probabilities"].values()) for p in run["checkpoints"]] for run in (longer, shorter)]
    found = compare(claim, [longer], [shorter])
    assert found["value"] == pytest.approx((at[0][1] + at[0][2] - at[1][1] - at[1][2]) / 2)
    assert found["note"].endswith(f"{(at[0][1] + at[0][2]) / 2:.3f} against {(at[1][1] + at[1][2]) / 2:.3f}")
