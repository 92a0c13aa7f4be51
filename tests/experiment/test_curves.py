"""The points of a curve are means over the runs, computed here from made-up runs of two seeds."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lie_ref.experiment.curves import curves
from lie_ref.experiment.expansion import NETWORKS


def trial(kind: str, predicted: list[float], real: list[float]) -> dict[str, Any]:
    return {
        "kind": kind, "optimizer": "sgd", "epsilon": 1e-3, "step": 400, "predicted": predicted, "real": real,
        "best": -1.0, "reverse": 1.0,
    }  # fmt: skip


def run(shift: float, orders: list[dict[str, Any]]) -> dict[str, Any]:
    def point(step: int) -> dict[str, Any]:
        reached = {"reach": [1e-6, 10 ** (-4 + shift), 1e-1], "error": [0.0, 0.2 + shift, 9.0], "cosine": [1.0] * 3}
        shares = {"probability_share": 0.3 + shift, "probability_share_apart": 0.4 + shift}
        return {"step": step, "expansion": dict.fromkeys(NETWORKS, reached), **shares}

    return {"checkpoints": [point(100), point(400)], "passes": [], "orders": orders}


# One seed whose two predictions point the right way and are half as large as the truth, one with a wrong sign.
FOUND = curves(
    {
        "plain": [
            run(0.0, [trial("examples", [1.0, -2.0], [2.0, -4.0]), trial("passes", [1.0, 2.0], [7.0, 9.0])]),
            run(0.1, [trial("examples", [3.0, 4.0], [3.0, -4.0]), trial("passes", [0.0, 0.0], [1.0, 2.0])]),
        ],
        "exclusive": [run(-0.1, []), run(-0.1, [])],
    }
)


def test_orders_have_cosine_sign_and_ratio() -> None:
    examples, passes = FOUND["orders"]
    assert {key: examples[key] for key in ("kind", "optimizer", "epsilon", "step")} == {
        "kind": "examples", "optimizer": "sgd", "epsilon": 1e-3, "step": 400,
    }  # fmt: skip
    assert examples["cosine"]["value"] == pytest.approx((1 + (9 - 16) / 25) / 2)
    assert examples["sign"]["value"] == pytest.approx((1 + 0.5) / 2)
    assert examples["ratio"]["value"] == pytest.approx((2 + 1) / 2)
    assert passes["cosine"] == {"value": pytest.approx(1.0), "low": None, "high": None}  # undefined in the other run


def test_hair_has_a_share_for_each_variant_kind_of_pairs_and_late_step() -> None:
    found = {(of["variant"], of["pairs"], of["step"]): of["share"] for of in FOUND["hair"]}
    assert {step for _, _, step in found} == {400}
    half = 12.706204736174694 * 0.05  # t of one degree of freedom at 97.5 %; the scale is that of the logit
    ends = [1 / (1 + math.exp(-math.log(0.35 / 0.65) - side * half / 0.35 / 0.65)) for side in (-1, 1)]
    assert found["plain", "all pairs", 400] == pytest.approx({"value": 0.35, "low": ends[0], "high": ends[1]})
    assert found["plain", "pairs that disagree on hair", 400]["value"] == pytest.approx(0.45)
    assert found["exclusive", "all pairs", 400] == pytest.approx({"value": 0.2, "low": 0.2, "high": 0.2})


def test_reach_has_the_median_pair_of_each_network_and_step() -> None:
    assert [(of["network"], of["step"]) for of in FOUND["reach"]] == [(n, s) for n in NETWORKS for s in (100, 400)]
    assert FOUND["reach"][0]["reach"]["value"] == pytest.approx((-4 - 3.9) / 2)
    assert FOUND["reach"][0]["error"]["value"] == pytest.approx(0.25)


def test_an_expansion_that_never_holds_has_no_reach() -> None:
    never = run(0.0, [])
    for of in never["checkpoints"][0]["expansion"].values():
        of["reach"] = [0.0, 0.0, 1e-3]
    assert curves({"plain": [never]})["reach"][0]["reach"]["value"] is None
    assert math.isfinite(curves({"plain": [never]})["reach"][0]["error"]["value"])
