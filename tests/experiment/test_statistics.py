"""The statistics in summary.json follow from the arrays in evaluation/."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
from networks import examples, generic_state

import lie_ref
from lie_ref.core.problem import Solution
from lie_ref.experiment.statistics import (
    beats_majority,
    checkpoint_statistics,
    proportionality,
    rank_attributes,
    sample_statistics,
)
from lie_ref.fast import engine
from lie_ref.fast.arguments import checked_problem
from lie_ref.images.labels import ATTRIBUTES, HAIR
from lie_ref.machine.files import read_npz
from lie_ref.measure.evaluation import Swaps, among_first, plain_swaps

PAIRS = np.array([(0, 1), (0, 2), (1, 2)])
NO_FIT = {"correlation": None, "slope": None, "constant": None}


@pytest.fixture(scope="module")
def points(small_run: Path) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """The statistics of each checkpoint of a real run, and the arrays of its evaluation."""
    summary = json.loads((small_run / "summary.json").read_text())
    assert tuple(summary["attributes"]) == ATTRIBUTES
    folder = small_run / "evaluation"
    return [(point, read_npz(folder / f"step_{point['step']:06d}.npz")) for point in summary["checkpoints"]]


def rms_pairs(arrays: dict[str, np.ndarray]) -> list[tuple[list[int], np.ndarray, np.ndarray]]:
    """For each pair, its examples and the RMS of bracket and gradients in the tensors where neither is zero."""
    found = []
    for p, (i, j) in enumerate(arrays["pairs"]):
        b = arrays["rms_bracket"][p]
        g = np.sqrt(0.5 * arrays["rms_gradient"][i] ** 2 + 0.5 * arrays["rms_gradient"][j] ** 2)
        found.append(([int(i), int(j)], b[(b != 0) & (g != 0)], g[(b != 0) & (g != 0)]))
    return found


def test_correlations_and_slopes_are_those_of_the_logarithms(points):
    for point, arrays in points:
        logs = [(np.log(b), np.log(g)) for _, b, g in rms_pairs(arrays)]
        correlations = [np.corrcoef(b, g)[0, 1] for b, g in logs]
        assert [fit["correlation"] for fit in point["brackets"]] == pytest.approx(correlations, abs=1e-11)
        assert point["mean_correlation"] == pytest.approx(np.mean(correlations), abs=1e-11)
        slopes = [np.cov(b, g)[0, 1] / np.var(g, ddof=1) for b, g in logs]
        assert [fit["slope"] for fit in point["brackets"]] == pytest.approx(slopes, rel=1e-9)
        assert point["mean_slope"] == pytest.approx(np.mean(slopes), rel=1e-9)


def test_constant_is_the_minimiser_of_the_squared_log_residual(points):
    """Σ (log b − log c g)² is a parabola in log c: three of its values give its minimum."""
    for point, arrays in points:
        for fit, (pair, b, g) in zip(point["brackets"], rms_pairs(arrays), strict=True):
            assert fit["pair"] == pair
            at = np.array([-1.0, 0.0, 1.0])
            below, here, above = (((np.log(b) - np.log(np.exp(log_c) * g)) ** 2).sum() for log_c in at)
            least = (below - above) / (2 * (below - 2 * here + above))
            assert np.log(fit["constant"]) == pytest.approx(least, rel=1e-9)


def test_mean_constant_is_the_geometric_mean_of_the_pairs(points):
    for point, _ in points:
        product = math.prod(fit["constant"] for fit in point["brackets"])
        assert point["mean_constant"] == pytest.approx(product ** (1 / 15), rel=1e-12)


def test_the_norm_covers_all_tensors_of_the_bracket(points):
    sizes = [np.prod(shape) for shape in lie_ref.preset("mxresnet-tiny").parameter_shapes.values()]
    for point, arrays in points:
        norms = np.sqrt(arrays["rms_bracket"] ** 2 @ np.array(sizes))
        assert [fit["norm"] for fit in point["brackets"]] == pytest.approx(norms.tolist(), rel=1e-12)


def test_tensors_without_a_gradient_at_step_0_are_left_out_and_counted(points):
    """The last batch-norm weight of each block is zero at first, so no gradient reaches the block."""
    point, arrays = points[0]
    names = arrays["tensor_names"].tolist()
    zero = (arrays["rms_gradient"] == 0).all(axis=0)
    assert {names[t] for t in np.flatnonzero(zero)} == {
        f"{block}.0.convs.{name}"
        for block in (4, 5, 6)
        for name in ("0.0.weight", "0.1.weight", "0.1.bias", "1.0.weight")
    }
    for fit, (_, b, _) in zip(point["brackets"], rms_pairs(arrays), strict=True):
        assert fit["tensors"] == len(b) < len(names)
    assert {fit["tensors"] for fit in points[-1][0]["brackets"]} == {len(names)}


def test_attributes_are_ranked_by_the_mean_change_of_their_logit(points):
    for point, arrays in points:
        change = dict(zip(ATTRIBUTES, np.abs(arrays["logit_delta"]).mean(axis=(0, 1)), strict=True))
        expected = sorted(ATTRIBUTES, key=lambda name: -change[name])
        assert [entry["name"] for entry in point["attributes"]] == expected
        assert [entry["rank"] for entry in point["attributes"]] == list(range(1, 41))
        shown = [entry["mean_abs_logit_change"] for entry in point["attributes"]]
        assert shown == pytest.approx([change[name] for name in expected], rel=1e-12)
        assert point["hair_ranks"] == {name: 1 + expected.index(name) for name in HAIR}


# --- For made-up numbers

MODEL = lie_ref.mlp([5, 4, 40])


@pytest.fixture(scope="module")
def plain() -> Swaps:
    """Brackets among three of four examples, and the logits of all four."""
    whole = checked_problem(MODEL, *generic_state(MODEL, seed=1), *examples(MODEL, (4, 5), seed=1))
    return plain_swaps(Solution(among_first(whole, 3), engine))


def test_the_order_of_a_pair_does_not_matter(plain):
    swapped = replace(plain, logit_delta=-plain.logit_delta)
    one = checkpoint_statistics(plain, PAIRS, ATTRIBUTES, plain.rms_bracket)
    other = checkpoint_statistics(swapped, PAIRS[:, ::-1], ATTRIBUTES, plain.rms_bracket)
    for fit in other["brackets"]:
        fit["pair"].reverse()
    assert one == other


def test_statistics_are_undefined_where_every_bracket_is_zero(plain):
    nothing = replace(plain, rms_bracket=np.zeros_like(plain.rms_bracket), norm=np.zeros_like(plain.norm))
    statistics = checkpoint_statistics(nothing, PAIRS, ATTRIBUTES, nothing.rms_bracket)
    assert {statistics[key] for key in ("mean_correlation", "mean_slope", "mean_constant")} == {None}
    assert set(statistics["shuffled"].values()) == {None}
    assert statistics["brackets"][0] == {"pair": [0, 1], "norm": 0.0, "tensors": 0, **NO_FIT}
    assert "NaN" not in json.dumps(statistics)


@pytest.mark.parametrize("zeros", ["bracket", "gradient"])
def test_tensors_with_a_zero_bracket_or_gradient_are_left_out(zeros):
    rng = np.random.default_rng(0)
    b, g = np.exp(rng.normal(size=(2, 9)))
    expected = proportionality(b[:7], g[:7])
    (b if zeros == "bracket" else g)[7:] = 0
    assert proportionality(b, g) == expected
    assert expected["tensors"] == 7


def test_scaling_the_bracket_scales_the_constant_and_keeps_the_correlation():
    rng = np.random.default_rng(1)
    b, g = np.exp(rng.normal(size=(2, 9)))
    one, scaled = proportionality(b, g), proportionality(100 * b, g)
    assert scaled["constant"] == pytest.approx(100 * one["constant"])
    assert scaled["correlation"] == pytest.approx(one["correlation"])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_tensors_give_no_fit(count):
    assert proportionality(np.ones(count), np.ones(count)) == NO_FIT | {"tensors": count}


def test_attributes_with_equal_changes_keep_their_order():
    ranking = rank_attributes(np.array([[[1.0, -2.0, 2.0, 1.0]]]), ["a", "b", "c", "d"])
    assert [entry["name"] for entry in ranking] == ["b", "c", "a", "d"]


def answers(both: int, network: int, majority: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and targets (100, 1): how often both are right, only the network, or only the common answer 0."""
    neither = 100 - both - network - majority
    targets = np.repeat([0.0, 1.0, 0.0, 1.0], [both, network, majority, neither])
    p = np.repeat([0.4, 0.9, 0.6, 0.1], [both, network, majority, neither])
    return p[:, None], targets[:, None]


@pytest.mark.parametrize(
    ("network", "majority", "clearly"),
    [(0, 0, False), (4, 0, False), (5, 0, True), (12, 4, False), (13, 4, True), (0, 20, False), (10, 10, False)],
)
def test_the_common_answer_is_beaten_by_more_than_two_standard_deviations(network, majority, clearly):
    """If only one of the two is right on n examples, each with equal odds, their difference has a deviation of √n."""
    assert clearly == (network - majority > 2 * (network + majority) ** 0.5)
    p, targets = answers(60, network, majority)
    assert beats_majority(p, targets).tolist() == [clearly]
    assert beats_majority(1 - p, 1 - targets).tolist() == [clearly]  # the common answer is 1


def test_a_network_that_says_the_opposite_does_not_beat_the_common_answer():
    p, targets = answers(60, 13, 4)
    assert beats_majority(p, 1 - targets).tolist() == [False]


# --- Of samples of sixes

SIX = list(combinations(range(6), 2))


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    """A made-up sample of three sixes, with four tensors and two views."""
    rng = np.random.default_rng(3)
    arrays: dict[str, np.ndarray] = {
        "step": np.array(400),
        "attributes": np.array(ATTRIBUTES),
        "targets": rng.random((3, 6, 40)) < 0.4,
        "moved_probability": rng.random((3, 15, 40)),
        "rms_bracket/shuffled": rng.random((3, 15, 4)),
    }
    for view in ("plain", "momentum"):
        arrays |= {f"rms_gradient/{view}": rng.random((3, 6, 4)), f"rms_bracket/{view}": rng.random((3, 15, 4))}
        arrays[f"moved/{view}"] = rng.random((3, 15, 40)) ** 3
    return arrays


@pytest.mark.parametrize(("of", "gradient"), [("plain", "plain"), ("momentum", "momentum"), ("shuffled", "plain")])
def test_fits_of_sixes_are_means_over_their_pairs(drawn: dict[str, np.ndarray], of: str, gradient: str) -> None:
    correlations, slopes, constants = [], [], []
    for six in range(3):
        for p, (i, j) in enumerate(SIX):
            g = drawn[f"rms_gradient/{gradient}"][six]
            x = 0.5 * np.log((g[i] ** 2 + g[j] ** 2) / 2)
            y = np.log(drawn[f"rms_bracket/{of}"][six, p])
            correlations.append(np.corrcoef(x, y)[0, 1])
            slopes.append(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
            constants.append(float(np.mean(y - x)))
    found = sample_statistics(drawn)
    fit = found["shuffled"] if of == "shuffled" else found["views"][of]
    assert fit["correlation"] == pytest.approx(mean(correlations), rel=1e-9)
    assert fit["slope"] == pytest.approx(mean(slopes), rel=1e-9)
    assert fit["constant"] == pytest.approx(math.exp(mean(constants)), rel=1e-9)
    spreads = [math.exp(stdev(constants[15 * six : 15 * six + 15])) for six in range(3)]
    assert fit["spread"] == pytest.approx(mean(spreads), rel=1e-9)


def test_ranks_and_shares_of_sixes_are_those_of_each_six(drawn: dict[str, np.ndarray]) -> None:
    for view in ("plain", "momentum"):
        ranks, shares = [], []
        for moved in drawn[f"moved/{view}"]:
            total = {name: float(sum(moved[:, k])) for k, name in enumerate(ATTRIBUTES)}
            order = sorted(ATTRIBUTES, key=lambda name: -total[name])
            ranks.append([1 + order.index(name) for name in HAIR])
            shares.append([total[name] / sum(total.values()) for name in HAIR])
        found = sample_statistics(drawn)["views"][view]
        assert found["hair_rank"] == pytest.approx(np.mean(ranks))
        assert found["lead"] == mean(float({r[0], r[1]} == {1, 2}) for r in ranks)
        assert list(found["hair_shares"].values()) == pytest.approx(np.mean(shares, axis=0))


def test_black_and_brown_lead_where_they_have_the_first_two_ranks(drawn: dict[str, np.ndarray]) -> None:
    moved = drawn["moved/plain"].copy()
    black, brown, male = (ATTRIBUTES.index(name) for name in ("Black_Hair", "Brown_Hair", "Male"))
    moved[..., [black, brown]] = 5.0
    moved[2, :, male] = 9.0
    assert sample_statistics(drawn | {"moved/plain": moved})["views"]["plain"]["lead"] == pytest.approx(2 / 3)


def test_shares_of_pairs_that_disagree_are_means_over_the_pairs(drawn: dict[str, np.ndarray]) -> None:
    found, hair = sample_statistics(drawn), [ATTRIBUTES.index(name) for name in HAIR]
    of_hair, every = [], []
    shares: dict[tuple[str, bool], list[float]] = {}
    for six in range(3):
        for p, (i, j) in enumerate(SIX):
            a, b = drawn["targets"][six, i], drawn["targets"][six, j]
            moved, probable = drawn["moved/plain"][six, p], drawn["moved_probability"][six, p]
            for k, name in enumerate(ATTRIBUTES):
                shares.setdefault((name, bool(a[k] != b[k])), []).append(moved[k] / moved.sum())
            if list(a[hair]) != list(b[hair]):
                of_hair.append(probable[hair].sum())
                every.append(probable.sum())
    for name in ATTRIBUTES:
        assert found["agreement"][name] == pytest.approx([mean(shares[name, True]), mean(shares[name, False])])
    assert found["probability_share_apart"] == pytest.approx(sum(of_hair) / sum(every))
    each = [six[:, hair].sum() / six.sum() for six in drawn["moved_probability"]]
    assert found["probability_share"] == pytest.approx(mean(each))


def test_an_attribute_on_which_all_agree_has_no_share_of_pairs_that_disagree(drawn: dict[str, np.ndarray]) -> None:
    targets = drawn["targets"].copy()
    targets[..., 0] = True
    apart, together = sample_statistics(drawn | {"targets": targets})["agreement"][ATTRIBUTES[0]]
    assert math.isnan(apart)
    assert together > 0


def test_a_tensor_without_a_gradient_is_left_out_of_the_fits_of_sixes(drawn: dict[str, np.ndarray]) -> None:
    zero = {name: np.concatenate([a, 0 * a[..., :2]], axis=-1) for name, a in drawn.items() if name.startswith("rms")}
    assert sample_statistics(drawn | zero) == sample_statistics(drawn)


@pytest.mark.parametrize(("tensors", "defined"), [(2, False), (3, True)])
def test_sixes_have_a_fit_with_at_least_three_tensors(
    drawn: dict[str, np.ndarray], tensors: int, defined: bool
) -> None:
    few = {name: a[..., :tensors] for name, a in drawn.items() if name.startswith("rms")}
    found = sample_statistics(drawn | few)
    for of in (found["shuffled"], *found["views"].values()):
        assert {math.isfinite(of[key]) for key in ("correlation", "slope", "constant", "spread")} == {defined}


def test_hair_is_found_by_its_name_wherever_it_stands(drawn: dict[str, np.ndarray]) -> None:
    order = np.random.default_rng(5).permutation(40)
    moved = {name: a[..., order] for name, a in drawn.items() if name == "targets" or name.startswith("moved")}
    found = sample_statistics(drawn | moved | {"attributes": np.array(ATTRIBUTES)[order]})
    expected = sample_statistics(drawn)
    for view in ("plain", "momentum"):
        for key in ("hair_rank", "lead", "hair_shares"):
            assert found["views"][view][key] == pytest.approx(expected["views"][view][key])
    for key in ("probability_share", "probability_share_apart"):
        assert found[key] == pytest.approx(expected[key])
    assert found["agreement"] == {name: pytest.approx(expected["agreement"][name]) for name in ATTRIBUTES}


def test_hair_shares_of_equal_changes_are_one_of_forty(drawn: dict[str, np.ndarray]) -> None:
    """Attributes that tie are ranked in the order of the file: none of the hair colours is among the first two."""
    same = {name: np.ones_like(a) for name, a in drawn.items() if name.startswith("moved")}
    found = sample_statistics(drawn | same)
    assert list(found["views"]["plain"]["hair_shares"].values()) == pytest.approx([1 / 40] * 4)
    assert found["views"]["plain"]["hair_rank"] == mean(1 + ATTRIBUTES.index(name) for name in HAIR)
    assert found["views"]["plain"]["lead"] == 0
    assert found["probability_share"] == pytest.approx(4 / 40)
    assert found["agreement"]["Bald"] == pytest.approx([1 / 40] * 2)


def test_without_pairs_that_disagree_on_hair_their_share_is_undefined(drawn: dict[str, np.ndarray]) -> None:
    targets = drawn["targets"].copy()
    targets[..., [ATTRIBUTES.index(name) for name in HAIR]] = False
    with np.errstate(invalid="ignore"):
        found = sample_statistics(drawn | {"targets": targets})
    assert math.isnan(found["probability_share_apart"])
    assert math.isfinite(found["probability_share"])


def test_the_step_the_views_and_the_checks_are_those_of_the_file(drawn: dict[str, np.ndarray]) -> None:
    found = sample_statistics(drawn | {"checks": np.array('{"mini_batches": 1e-15, "expansion": {}}')})
    assert (found["step"], list(found["views"])) == (400, ["plain", "momentum"])
    assert (found["mini_batches"], found["expansion"]) == (1e-15, {})
    assert not {"mini_batches", "expansion"} & sample_statistics(drawn).keys()
