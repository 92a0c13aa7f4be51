"""The corners of a square are where real steps lead, and its gap is what the bracket says."""

from __future__ import annotations

import numpy as np
import pytest
from networks import generic_problem

import lie_ref
from lie_ref.core.problem import Problem
from lie_ref.measure.square import squares

MLP = generic_problem(lie_ref.mlp([3, 5, 2], activation="tanh"), (3, 3), 4, [(0, 1), (2, 1)])
NET = generic_problem(lie_ref.mxresnet((2, 3, 2), (2, 4), (1, 1), n_out=3, n_in=1), (2, 1, 9, 9), 4, [(1, 0)])


def flat(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([a.ravel() for a in arrays.values()])


@pytest.mark.parametrize("problem", [MLP, NET])
def test_corners_are_the_ends_of_real_steps_seen_in_the_plane_of_the_two_gradients(problem: Problem) -> None:
    p, epsilons = problem, [1e-3, 0.5]
    corners, gaps = squares(p, epsilons)
    assert corners.shape == (len(p.pairs), 2, 4, 2)

    def step(theta: dict[str, np.ndarray], example: int, epsilon: float) -> dict[str, np.ndarray]:
        x, y = (a[example : example + 1] for a in (p.x, p.y))
        g = lie_ref.gradients(p.model, theta, p.buffers, x, y)
        return {name: t - epsilon * g[name][0] for name, t in theta.items()}

    for k, (i, j) in enumerate(p.pairs.tolist()):
        for e, epsilon in enumerate(epsilons):
            after_i, after_j = step(p.params, i, epsilon), step(p.params, j, epsilon)
            ends = [after_i, step(after_i, j, epsilon), after_j, step(after_j, i, epsilon)]
            moved = np.stack([flat(end) - flat(p.params) for end in ends]) / epsilon
            axes, _ = np.linalg.qr(moved[[0, 2]].T)  # the plane of −g_i and −g_j, from the ends themselves
            expected = moved @ axes * np.sign(axes.T @ moved[[0, 2]].T).diagonal()
            np.testing.assert_allclose(corners[k, e], expected, rtol=1e-9, atol=1e-9)
            assert gaps[k, e] == pytest.approx(np.linalg.norm(moved[1] - moved[3]), rel=1e-8)


@pytest.mark.parametrize("problem", [MLP, NET])
def test_the_gap_is_epsilon_times_the_norm_of_the_bracket(problem: Problem) -> None:
    p = problem
    _, gaps = squares(p, [1e-6, 1e-7])
    bracket = lie_ref.brackets(p.model, p.params, p.buffers, p.x, p.y, p.pairs)
    for k, found in enumerate(gaps):
        size = np.linalg.norm(flat({name: b[k] for name, b in bracket.items()}))
        np.testing.assert_allclose(found, [1e-6 * size, 1e-7 * size], rtol=2e-3)


def test_an_example_with_itself_has_a_square_that_closes() -> None:
    same = generic_problem(lie_ref.mlp([3, 5, 2], activation="tanh"), (3, 3), 4, [(1, 1)])
    corners, gaps = squares(same, [0.5])
    assert gaps.tolist() == [[0.0]]
    np.testing.assert_array_equal(corners[0, 0, 1], corners[0, 0, 3])
