"""The reach of the expansion is measured for the network as it was trained, and for smoother ones."""

from __future__ import annotations

import numpy as np
from networks import generic_problem

import lie_ref
from lie_ref.core.activations import mish, relu
from lie_ref.core.layers import Activation, AvgPool, MaxPool
from lie_ref.core.problem import Problem
from lie_ref.experiment.expansion import NETWORKS, expansion, variant
from lie_ref.fast.trees import with_layers

NET = lie_ref.mxresnet((2, 3, 2), (2, 4), (1, 1), n_out=3, n_in=1)
PROBLEM = generic_problem(NET, (6, 1, 9, 9), 2)


def kinds(problem: Problem) -> list[object]:
    """The pools and the activations of the network, in the order of `with_layers`."""
    found: list[object] = []

    def look(layer: object) -> object:
        if isinstance(layer, (MaxPool, AvgPool)):
            found.append(type(layer))
        if isinstance(layer, Activation):
            found.append(layer.function)
        return layer

    with_layers(problem.model, look)  # type: ignore[arg-type]
    return found


def test_a_variant_replaces_the_max_pool_or_mish_and_nothing_else() -> None:
    before = kinds(PROBLEM)
    assert before.count(MaxPool) == 1
    assert before.count(mish) >= 7
    for name in NETWORKS:
        expected = [
            AvgPool if k is MaxPool and "average" in name else relu if k is mish and "relu" in name else k
            for k in before
        ]
        assert kinds(variant(PROBLEM, name)) == expected
    assert variant(PROBLEM, "as trained").model is NET


def test_a_smooth_network_is_predicted_further_than_one_that_jumps() -> None:
    found = {name: expansion(variant(PROBLEM, name), 5e-3) for name in NETWORKS}
    assert all(len(of[key]) == 3 for of in found.values() for key in ("reach", "error", "cosine"))
    assert np.median(found["average pool"]["reach"]) >= np.median(found["as trained"]["reach"])
    assert min(found["average pool"]["reach"]) >= 1e-4
