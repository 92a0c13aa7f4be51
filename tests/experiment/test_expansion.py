"""The reach of the expansion is measured for the network as it was trained, and for smoother ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from networks import generic_problem

import lie_ref
from lie_ref.core.activations import mish, relu
from lie_ref.core.layers import Activation, AvgPool, MaxPool
from lie_ref.core.problem import Problem
from lie_ref.experiment import expansion as module
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


@pytest.mark.parametrize("network", NETWORKS)
def test_a_variant_keeps_its_weights_and_computes_other_logits(network: str) -> None:
    other = variant(PROBLEM, network)
    assert other.params is PROBLEM.params
    assert other.buffers is PROBLEM.buffers
    z, as_trained = (of.model.apply(of.params, of.buffers, of.x) for of in (other, PROBLEM))
    assert z.shape == as_trained.shape
    assert (network == "as trained") == np.allclose(z, as_trained)


def test_a_network_without_a_max_pool_or_mish_is_its_own_variant() -> None:
    problem = generic_problem(lie_ref.mlp([3, 4, 2], "tanh"), (6, 3), 0)
    assert all(variant(problem, name).model is problem.model for name in NETWORKS)


def test_the_reach_is_that_of_the_pairs_01_23_and_45_at_the_learning_rates_of_the_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "EPSILONS", (1e-4, 1e-2, 1.0))
    p = generic_problem(lie_ref.mlp([3, 5, 2], "tanh"), (6, 3), 4)
    watched = np.random.default_rng(8).standard_normal((20, 3))
    found = expansion(replace(p, x_eval=watched), 0.5)

    def logits(order: tuple[int, int], e: float) -> np.ndarray:
        theta = p.params
        for i in order:
            g = lie_ref.gradients(p.model, theta, p.buffers, p.x[i : i + 1], p.y[i : i + 1])
            theta = {name: t - e * g[name][0] for name, t in theta.items()}
        return p.model.apply(theta, p.buffers, watched[:16]).ravel()

    for k, (i, j) in enumerate([(0, 1), (2, 3), (4, 5)]):
        bracket = lie_ref.brackets(p.model, p.params, p.buffers, p.x, p.y, [(i, j)])
        predicted = lie_ref.push_forward(p.model, p.params, p.buffers, watched[:16], bracket).ravel()
        real = {e: (logits((i, j), e) - logits((j, i), e)) / e**2 for e in (1e-4, 1e-2, 1.0, 0.5)}
        errors = {e: np.linalg.norm(r - predicted) / np.linalg.norm(predicted) for e, r in real.items()}
        assert found["reach"][k] == max(e for e in (1e-4, 1e-2, 1.0) if errors[e] <= 0.1)
        assert found["epsilon"] == list(errors)
        assert found["errors"][k] == pytest.approx(list(errors.values()), rel=1e-4)
        assert found["error"][k] == pytest.approx(errors[0.5], rel=1e-9)


def test_the_learning_rate_itself_is_not_among_those_of_the_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EPSILONS", (1e-5, 1e-4))
    found = expansion(generic_problem(lie_ref.mlp([3, 5, 2], "tanh"), (6, 3), 4), 2e-4)
    assert max(found["error"]) < 0.1
    assert found["reach"] == [1e-4] * 3


def test_a_smooth_network_is_predicted_further_than_one_that_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EPSILONS", (1e-5, 1e-4, 1e-3, 1e-2))
    smooth, trained = (expansion(variant(PROBLEM, name), 5e-3)["reach"] for name in ("average pool", "as trained"))
    assert np.median(smooth) >= np.median(trained)
    assert min(smooth) >= 1e-4
