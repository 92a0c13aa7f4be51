"""The errors of the expansion are those of real swaps, and its reach ends where the first of them is too large."""

from __future__ import annotations

import numpy as np
import pytest
from networks import generic_problem

import lie_ref
from lie_ref.measure.reach import expansion_errors, reach

MLP = lie_ref.mlp([3, 5, 2], activation="tanh")
EPSILONS = [1e-5, 1e-3, 1e-1, 1.0]


def test_errors_and_cosines_compare_real_swaps_with_the_push_forward_of_the_bracket() -> None:
    p = generic_problem(MLP, (3, 3), 4, [(0, 1), (2, 1)])
    errors, cosines = expansion_errors(p, EPSILONS)
    brackets = lie_ref.brackets(MLP, p.params, p.buffers, p.x, p.y, p.pairs)
    predicted = lie_ref.push_forward(MLP, p.params, p.buffers, p.x_eval, brackets)

    def logits(order: tuple[int, int], e: float) -> np.ndarray:
        theta = p.params
        for i in order:
            g = lie_ref.gradients(MLP, theta, p.buffers, p.x[i : i + 1], p.y[i : i + 1])
            theta = {name: t - e * g[name][0] for name, t in theta.items()}
        return MLP.apply(theta, p.buffers, p.x_eval)

    for k, (i, j) in enumerate(p.pairs.tolist()):
        for n, e in enumerate(EPSILONS):
            real = ((logits((i, j), e) - logits((j, i), e)) / e**2).ravel()
            expected = predicted[k].ravel()
            error = np.linalg.norm(real - expected) / np.linalg.norm(expected)
            assert errors[k, n] == pytest.approx(error, rel=1e-3, abs=1e-5)
            assert cosines[k, n] == pytest.approx(
                np.corrcoef(np.append(real, -real), np.append(expected, -expected))[0, 1]
            )
    assert (errors[:, 0] < 1e-3).all()
    assert (errors[:, -1] > 0.1).all()


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([0.01, 0.02, 0.03, 0.04], 1.0),
        ([0.01, 0.1, 0.11, 0.04], 1e-3),  # 10 % is within; what agrees by chance beyond a failure does not count
        ([0.2, 0.01, 0.01, 0.01], 0.0),
        ([0.01, np.nan, 0.01, 0.01], 1e-5),
    ],
)
def test_the_reach_is_the_largest_epsilon_before_the_first_failure(errors: list[float], expected: float) -> None:
    assert reach(np.array([errors]), EPSILONS).tolist() == [expected]
