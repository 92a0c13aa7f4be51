"""Each claim is judged by the statistic that it names, computed here from made-up runs."""

from __future__ import annotations

import copy
import math
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import pytest

from lie_ref.experiment.claims import CLAIMS, COMPARED, agreement, agreement_by_attribute, compare, found_in
from lie_ref.experiment.expansion import NETWORKS
from lie_ref.images.labels import HAIR
from lie_ref.study.verdicts import judged

NAMES = [*HAIR, "Bald", "Young"]
RNG = np.random.default_rng(4)
STEPS = (100, 200, 400, 1000, 5000)
LR = 5e-3


def some(low: float, high: float) -> float:
    return float(RNG.uniform(low, high))


def make_view() -> dict[str, Any]:
    fit = {"correlation": some(0.9, 0.99), "slope": some(0.9, 1.1), "constant": some(2, 4), "spread": some(1, 2)}
    shares = {name: some(0.01, 0.1) for name in HAIR}
    return fit | {"hair_rank": some(1, 30), "lead": some(0, 1), "hair_shares": shares}


def make_point(step: int) -> dict[str, Any]:
    reach = {key: [some(1e-5, 1e-2) for _ in range(3)] for key in ("reach", "error", "cosine")}
    return {
        "step": step,
        "views": {view: make_view() for view in ("plain", "preconditioned", "momentum")},
        "shuffled": make_view(),
        "probability_share": some(0, 1),
        "probability_share_apart": some(0, 1),
        "agreement": {name: [some(0.01, 0.1), some(0.01, 0.1)] for name in NAMES},
        "expansion": {name: copy.deepcopy(reach) for name in NETWORKS},
        "mini_batches": 1e-15,
    }


def make_trial(step: int, kind: str, optimizer: str, epsilon: float) -> dict[str, Any]:
    trial = {"step": step, "kind": kind, "optimizer": optimizer, "epsilon": epsilon}
    trial |= {key: RNG.standard_normal(5).tolist() for key in ("predicted", "real")}
    return trial | ({"best": some(-1, 0), "reverse": some(0, 1)} if kind == "passes" else {})


def make_run() -> dict[str, Any]:
    trials = [("examples", 1e-5), ("mini-batches", 1e-5), ("mini-batches", LR), ("passes", LR)]
    return {
        "checkpoints": [make_point(step) for step in STEPS],
        "passes": [
            {"network": network, "mini_batches": k, "epsilon": e, "cosine": [some(0, 1), some(0, 1)], "ratio": [1.0]}
            for network in ("as trained", "average pool")
            for k in (2, 8)
            for e in (1e-1, 1e-3, 1e-7)
        ],
        "orders": [
            make_trial(step, kind, optimizer, epsilon)
            for step in (400, 5000)
            for kind, epsilon in trials
            for optimizer in ("sgd", "adam")
        ],
    }


RUNS = [make_run() for _ in range(3)]


def value(key: str, runs: list[dict[str, Any]] = RUNS) -> Any:
    """The number of the claim with this id."""
    return next(entry["value"] for entry in found_in(runs) if entry["id"] == key)


def over(since: int, of: Any) -> Any:
    """The mean over the runs of the means over their checkpoints from this step on."""
    return pytest.approx(mean(mean(of(p) for p in run["checkpoints"] if p["step"] >= since) for run in RUNS))


def test_claims_have_different_names_and_at_least_one_bound() -> None:
    every = [*CLAIMS, *(claim for claim, *_ in COMPARED)]
    assert len({claim.id for claim in every}) == len(every)
    assert all(claim.low > -math.inf or claim.high < math.inf for claim in every)
    assert not any("|" in claim.claim + claim.statistic for claim in every)  # a Markdown table holds them


def test_every_claim_has_a_number_for_every_run() -> None:
    for entry in found_in(RUNS):
        assert math.isfinite(entry["value"]), entry["id"]
        assert (entry["runs"], entry["undefined"]) == (3, False), entry["id"]


def test_claims_about_gradients_are_means_from_step_100_on() -> None:
    for key, name in (("1a", "correlation"), ("1b", "slope"), ("1c", "spread")):
        assert value(key) == over(100, lambda p, name=name: p["views"]["plain"][name])
    assert value("1g") == over(100, lambda p: p["views"]["preconditioned"]["correlation"])
    assert value("1h") == over(100, lambda p: p["views"]["momentum"]["correlation"])
    assert value("4") == over(100, lambda p: p["mini_batches"])


def test_the_spread_over_training_is_a_factor_of_one_standard_deviation() -> None:
    factors = [math.exp(stdev(math.log(p["views"]["plain"]["constant"]) for p in run["checkpoints"])) for run in RUNS]
    assert value("1d") == pytest.approx(mean(factors))


def test_brackets_are_compared_with_those_of_shuffled_directions() -> None:
    def unexplained(p: dict[str, Any]) -> float:
        return (1 - p["views"]["plain"]["correlation"] ** 2) / (1 - p["shuffled"]["correlation"] ** 2)

    assert value("1e") == over(100, unexplained)
    assert value("1f") == over(100, lambda p: math.log10(p["views"]["plain"]["constant"] / p["shuffled"]["constant"]))


def test_claims_about_hair_are_means_from_step_400_on() -> None:
    assert value("2a") == over(400, lambda p: p["views"]["plain"]["lead"])
    assert value("2b") == over(400, lambda p: p["views"]["plain"]["hair_rank"])
    assert value("2g") == over(400, lambda p: p["views"]["preconditioned"]["hair_rank"])
    assert value("2h") == over(400, lambda p: p["views"]["momentum"]["hair_rank"])
    for letter, name in zip("cdef", HAIR, strict=True):
        assert value(f"2{letter}") == over(400, lambda p, name=name: p["views"]["plain"]["hair_shares"][name])


def ratio(run: dict[str, Any], name: str) -> float:
    """log₂ of an attribute's mean share where the pair disagrees over that where it agrees, at the late checkpoints."""
    late = [p["agreement"][name] for p in run["checkpoints"] if p["step"] >= 400]
    return math.log2(mean(apart for apart, _ in late) / mean(together for _, together in late))


def test_agreement_is_the_logarithm_of_a_ratio_of_shares() -> None:
    assert value("2i") == pytest.approx(mean(mean(ratio(run, name) for name in NAMES) for run in RUNS))
    assert value("2j") == pytest.approx(mean(mean(ratio(run, name) for name in HAIR) for run in RUNS))
    found = agreement_by_attribute(RUNS)
    assert list(found) == NAMES
    for name in NAMES:
        each = [ratio(run, name) for run in RUNS]
        half = 4.302652729749462 * stdev(each) / math.sqrt(3)
        assert [found[name][key] for key in ("value", "low", "high")] == pytest.approx(
            [mean(each), mean(each) - half, mean(each) + half]
        )


@pytest.mark.filterwarnings("error")
def test_an_attribute_on_which_no_pair_disagrees_is_left_out() -> None:
    runs = copy.deepcopy(RUNS)
    for point in runs[0]["checkpoints"]:
        point["agreement"]["Bald"][0] = math.nan
    rest = [name for name in NAMES if name != "Bald"]
    expected = [mean(ratio(run, name) for name in (rest if run is runs[0] else NAMES)) for run in runs]
    assert value("2i", runs) == pytest.approx(mean(expected))
    assert agreement(["Bald"], runs[0]) == []
    assert agreement_by_attribute(runs)["Bald"]["value"] == pytest.approx(mean(ratio(run, "Bald") for run in RUNS[1:]))


def test_an_attribute_that_no_run_tells_about_has_no_number() -> None:
    runs = copy.deepcopy(RUNS)
    for point in (point for run in runs for point in run["checkpoints"]):
        point["agreement"]["Bald"] = [0.1, math.nan]
    assert agreement_by_attribute(runs)["Bald"] == {"value": None, "low": None, "high": None}
    one = agreement_by_attribute(RUNS[:1])["Bald"]  # a single run has no interval
    assert one == {"value": pytest.approx(ratio(RUNS[0], "Bald")), "low": None, "high": None}


def test_equal_shares_are_a_tie_and_twice_the_share_is_one() -> None:
    run = copy.deepcopy(RUNS[0])
    for point in run["checkpoints"]:
        point["agreement"] = {"Bald": [0.04, 0.04], "Young": [0.04, 0.02]}
    assert agreement(["Bald"], run) == [0]
    assert agreement(["Young"], run) == [1]
    assert agreement(None, run) == [0.5]
    tied = judged({"": [entry for entry in found_in([run, run]) if entry["id"] == "2i"]})
    assert tied[""][0]["verdict"] == "holds"
    run["checkpoints"][-1]["agreement"]["Young"] = run["checkpoints"][-2]["agreement"]["Young"] = [0.04, 0.04]
    run["checkpoints"][-3]["agreement"]["Young"] = [0.04, 0.04]
    tied = judged({"": [entry for entry in found_in([run, run]) if entry["id"] == "2i"]})
    assert (tied[""][0]["value"], tied[""][0]["verdict"]) == (0, "undecided")


def test_passes_are_judged_by_their_cosines_over_the_most_mini_batches() -> None:
    def cosine(network: str, epsilon: float) -> Any:
        wanted = network, 8, epsilon
        each = [
            mean(
                c
                for p in run["passes"]
                if (p["network"], p["mini_batches"], p["epsilon"]) == wanted
                for c in p["cosine"]
            )
            for run in RUNS
        ]
        return pytest.approx(mean(each))

    for key, epsilon in (("5a", 1e-1), ("5b", 1e-3), ("5c", 1e-7)):
        assert value(key) == cosine("as trained", epsilon)
    assert value("5d") == cosine("average pool", 1e-3)


def test_a_cosine_that_is_not_finite_leaves_the_claim_undecided_or_failed() -> None:
    """ε may be too long a step; JSON then has null."""
    runs = copy.deepcopy(RUNS)
    for run in runs:
        for of in run["passes"]:
            of["cosine"] = [1.0, None] if of["mini_batches"] == 8 else [1.0]
    found = {entry["id"]: entry for entry in judged({"": found_in(runs)})[""]}
    for key in ("5a", "5b", "5c", "5d"):
        assert (found[key]["value"], found[key]["verdict"]) == (1.0, "undecided")
        assert found[key]["note"] == "3 of 6 values undefined"


def trials(run: dict[str, Any], *wanted: Any) -> list[dict[str, Any]]:
    return [of for of in run["orders"] if (of["kind"], of["optimizer"], of["epsilon"]) == wanted]


def test_foretold_changes_are_compared_by_their_cosine_and_passes_by_their_correlation() -> None:
    cases = {"6a": ("examples", "sgd", 1e-5), "6b": ("mini-batches", "sgd", 1e-5), "6c": ("mini-batches", "sgd", LR)}
    cases |= {"6d": ("mini-batches", "adam", 1e-5), "6e": ("mini-batches", "adam", LR)}
    for key, wanted in cases.items():
        each = []
        for run in RUNS:
            pairs = [(np.array(of["predicted"]), np.array(of["real"])) for of in trials(run, *wanted)]
            each.append(mean(float(a @ b / np.sqrt((a @ a) * (b @ b))) for a, b in pairs))
        assert value(key) == pytest.approx(mean(each)), key
    each = [
        mean(float(np.corrcoef(of["predicted"], of["real"])[0, 1]) for of in trials(run, "passes", "sgd", LR))
        for run in RUNS
    ]
    assert value("6f") == pytest.approx(mean(each))


@pytest.mark.filterwarnings("error")
def test_orders_without_any_predicted_or_real_change_are_undefined() -> None:
    runs = copy.deepcopy(RUNS)
    trials(runs[0], "examples", "sgd", 1e-5)[0]["predicted"] = [0.0] * 5
    trials(runs[1], "passes", "sgd", LR)[1]["real"] = [0.25] * 5  # all orders are alike
    found = {entry["id"]: entry for entry in found_in(runs)}
    for key in ("6a", "6f"):
        assert (found[key]["runs"], found[key]["note"]) == (3, "1 of 6 values undefined")


def test_what_only_shifts_or_scales_the_predictions_of_passes_leaves_their_correlation_at_one() -> None:
    runs = copy.deepcopy(RUNS)
    for of in (of for run in runs for of in trials(run, "passes", "sgd", LR)):
        of["predicted"] = [7 + 2 * real for real in of["real"]]
    for of in (of for run in runs for of in trials(run, "examples", "sgd", 1e-5)):
        of["predicted"] = [-3 * real for real in of["real"]]
    assert value("6f", runs) == pytest.approx(1)
    assert value("6a", runs) == pytest.approx(-1)


def test_the_best_order_is_compared_with_its_reverse_and_with_random_orders() -> None:
    for key, optimizer, other in (("6g", "sgd", "reverse"), ("6h", "sgd", "random"), ("6i", "adam", "reverse")):
        each = [
            mean(
                of["best"] - (of["reverse"] if other == "reverse" else mean(of["real"]))
                for of in trials(run, "passes", optimizer, LR)
            )
            for run in RUNS
        ]
        assert value(key) == pytest.approx(mean(each)), key


def test_the_reach_is_a_median_over_pairs_and_a_logarithm() -> None:
    for key, network in zip(("8a", "8b", "8c", "8d"), NETWORKS, strict=True):
        assert value(key) == over(100, lambda p, n=network: math.log10(median(p["expansion"][n]["reach"])))
    assert value("8e") == over(100, lambda p: median(p["expansion"]["as trained"]["error"]))


def test_a_reach_of_nothing_is_undefined_and_cannot_hold() -> None:
    runs = copy.deepcopy(RUNS)
    for point in runs[0]["checkpoints"][:1]:
        point["expansion"]["as trained"]["reach"] = [0.0, 0.0, 0.1]
    found = next(entry for entry in found_in(runs) if entry["id"] == "8a")
    assert (found["undefined"], found["note"]) == (True, "1 of 15 values undefined")


def test_one_checkpoint_tells_nothing_about_the_spread_over_training() -> None:
    runs = [run | {"checkpoints": run["checkpoints"][:1]} for run in RUNS]
    assert value("1d", runs) is None
    assert value("1c", runs) == pytest.approx(mean(run["checkpoints"][0]["views"]["plain"]["spread"] for run in RUNS))


def test_checkpoints_before_step_100_do_not_count() -> None:
    runs = [run | {"checkpoints": [make_point(0), make_point(30), *run["checkpoints"]]} for run in RUNS]
    assert found_in(runs) == found_in(RUNS)


def test_a_claim_holds_where_all_runs_are_within_its_bounds_and_fails_where_they_are_beyond() -> None:
    runs = copy.deepcopy(RUNS)
    for correlation, verdict in ((0.95, "holds"), (0.85, "fails")):
        for n, point in enumerate(point for run in runs for point in run["checkpoints"]):
            point["views"]["plain"]["correlation"] = correlation + 1e-3 * math.sin(n)
        found = {entry["id"]: entry for entry in judged({"": found_in(runs)})[""]}
        assert found["1a"]["verdict"] == verdict
        assert found["1a"]["low"] < found["1a"]["value"] < found["1a"]["high"]


def test_claims_without_late_checkpoints_passes_or_orders_have_no_number() -> None:
    early = {"checkpoints": [], "passes": [], "orders": []}
    found = judged({"": found_in([early, early])})[""]
    assert {(entry["value"], entry["verdict"], entry["runs"]) for entry in found} == {(None, "undecided", 0)}


def test_shares_of_hair_are_compared_at_steps_that_both_runs_have() -> None:
    claim, _, _, key = COMPARED[0]
    others = copy.deepcopy(RUNS)
    for run in others:
        run["checkpoints"] = [p for p in run["checkpoints"] if p["step"] <= 400]
        for point in run["checkpoints"]:
            point[key] = point[key] + 0.1
    found = judged({"": [compare(claim, RUNS, others, key)]})[""][0]
    shares = [next(p[key] for p in run["checkpoints"] if p["step"] == 400) for run in RUNS]
    assert (found["value"], found["verdict"], found["runs"]) == (pytest.approx(-0.1), "holds", 3)
    assert found["note"] == f"{mean(shares):.3f} against {mean(shares) + 0.1:.3f}"
    assert judged({"": [compare(claim, others, RUNS, key)]})[""][0]["verdict"] == "fails"
    early = [run | {"checkpoints": run["checkpoints"][:2]} for run in RUNS]
    assert compare(claim, early, early, key)["value"] is None


def test_a_difference_of_shares_is_the_mean_over_runs_and_late_steps() -> None:
    for claim, _, _, key in COMPARED:
        found = compare(claim, RUNS, RUNS[::-1], key)
        late = [[p[key] for p in run["checkpoints"] if p["step"] >= 400] for run in RUNS]
        apart = [mean(a - b for a, b in zip(*both, strict=True)) for both in zip(late, late[::-1], strict=True)]
        assert found["value"] == pytest.approx(mean(apart), abs=1e-15)
        assert found["error"] == pytest.approx(stdev(apart) / math.sqrt(3))


def test_equal_shares_decide_nothing_and_an_undefined_one_lets_no_claim_hold() -> None:
    claim, _, _, key = COMPARED[1]
    assert claim.low == 0
    same = judged({"": [compare(claim, RUNS, copy.deepcopy(RUNS), key)]})[""][0]
    assert (same["value"], same["error"], same["verdict"]) == (0, 0, "undecided")
    more = copy.deepcopy(RUNS)
    for point in (point for run in more for point in run["checkpoints"]):
        point[key] += 0.1
    assert judged({"": [compare(claim, more, RUNS, key)]})[""][0]["verdict"] == "holds"
    more[0]["checkpoints"][-1][key] = math.nan
    found = judged({"": [compare(claim, more, RUNS, key)]})[""][0]
    assert (found["verdict"], found["undefined"]) == ("undecided", True)
    assert found["value"] == pytest.approx(0.1)
