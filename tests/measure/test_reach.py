"""The errors of the expansion are those of real swaps, and its reach ends where the first of them is too large."""

from __future__ import annotations

import numpy as np
import pytest
from networks import generic_problem

import lie_ref
from lie_ref.core.problem import Problem
from lie_ref.measure.reach import expansion_errors, reach

MLP = lie_ref.mlp([3, 5, 2], activation="tanh")
NET = lie_ref.mxresnet((2, 3, 2), (2, 4), (1, 1), n_out=3, n_in=1)
EPSILONS = [1e-5, 1e-3, 1e-1, 1.0]


@pytest.mark.parametrize(
    "problem", [generic_problem(MLP, (3, 3), 4, [(0, 1), (2, 1)]), generic_problem(NET, (2, 1, 9, 9), 4, [(1, 0)])]
)
def test_errors_compare_real_swaps_with_the_push_forward_of_the_bracket(problem: Problem) -> None:
    p, model = problem, problem.model
    errors = expansion_errors(p, EPSILONS)
    brackets = lie_ref.brackets(model, p.params, p.buffers, p.x, p.y, p.pairs)
    predicted = lie_ref.push_forward(model, p.params, p.buffers, p.x_eval, brackets)

    def logits(order: tuple[int, ...], e: float) -> np.ndarray:
        theta = p.params
        for i in order:
            g = lie_ref.gradients(model, theta, p.buffers, p.x[i : i + 1], p.y[i : i + 1])
            theta = {name: t - e * g[name][0] for name, t in theta.items()}
        return model.apply(theta, p.buffers, p.x_eval)

    for k, (i, j) in enumerate(p.pairs.tolist()):
        for n, e in enumerate(EPSILONS):
            real = ((logits((i, j), e) - logits((j, i), e)) / e**2).ravel()
            expected = predicted[k].ravel()
            rounding = 1e-14 * np.linalg.norm(logits((), e)) / e**2 / np.linalg.norm(expected)
            error = np.linalg.norm(real - expected) / np.linalg.norm(expected)
            assert errors[k, n] == pytest.approx(error, rel=1e-9, abs=rounding)


def test_the_error_of_a_smooth_network_grows_in_proportion_to_epsilon() -> None:
    errors = expansion_errors(generic_problem(MLP, (3, 3), 4, [(0, 1), (2, 1)]), [1e-3, 2e-3, 1.0])
    np.testing.assert_allclose(errors[:, 1] / errors[:, 0], 2, rtol=0.02)
    assert (errors[:, 0] < 0.01).all()
    assert (errors[:, -1] > 0.1).all()


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([0.01, 0.02, 0.03, 0.04], 1.0),
        ([0.01, 0.1, 0.11, 0.04], 1e-3),  # 10 % is within; what agrees by chance beyond a failure does not count
        ([0.2, 0.01, 0.01, 0.01], 0.0),
        ([0.01, np.nan, 0.01, 0.01], 1e-5),
        ([0.01, 0.01, np.inf, np.inf], 1e-3),
        ([np.nan, 0.01, 0.01, 0.01], 0.0),
    ],
)
def test_the_reach_is_the_largest_epsilon_before_the_first_failure(errors: list[float], expected: float) -> None:
    assert reach(np.array([errors]), EPSILONS).tolist() == [expected]


def test_each_pair_has_a_reach_of_its_own_and_the_tolerance_can_be_chosen() -> None:
    errors = np.array([[0.01, 0.02, 0.3, 0.4], [0.2, 0.3, 0.3, 0.6]])
    assert reach(errors, EPSILONS).tolist() == [1e-3, 0.0]
    assert reach(errors, EPSILONS, tolerance=0.3).tolist() == [1e-1, 1e-1]
    assert reach(errors, EPSILONS, tolerance=0.015).tolist() == [1e-5, 0.0]
