"""The square that does not close: where two plain gradient steps lead in either order, seen in their own plane."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..core.engine import at
from ..core.fields import difference, inner, norm, tree_map
from ..core.problem import Problem
from ..core.types import Array, Arrays
from ..fast import engine


def squares(problem: Problem, epsilons: Sequence[float]) -> tuple[Array, Array]:
    """The corners of the square of each pair (i, j) at each ε, and the gap between its two ends.

    The plane through θ contains the steps −g_i and −g_j.  Its first axis points along −g_i and its second along the
    rest of −g_j.  `corners` (p, e, 4, 2) are four points seen in this plane, relative to θ and divided by ε: after i,
    after i and then j, after j, after j and then i.  `gaps` (p, e) are the distances between the second and the fourth
    point, divided by ε, including the part outside the plane.  By the expansion they are ε |[v_i, v_j]| + O(ε²).

    >>> from lie_ref import mlp
    >>> from lie_ref.fast.arguments import checked_problem
    >>> model = mlp([2, 3, 1])
    >>> given = model, *model.init(seed=0), np.eye(2), np.array([[0.0], [1.0]]), [(0, 1)]
    >>> corners, gaps = squares(checked_problem(*given), [1e-3, 1e-4])
    >>> corners.shape, round(float(gaps[0, 0] / gaps[0, 1]), 1)
    ((1, 2, 4, 2), 10.0)
    """
    g = engine.gradients(problem)
    corners, gaps = np.zeros((len(problem.pairs), len(epsilons), 4, 2)), np.zeros((len(problem.pairs), len(epsilons)))
    for p, (i, j) in enumerate(problem.pairs.tolist()):
        g_i, g_j = at(g, i), at(g, j)
        axes = _axes(g_i, g_j)
        for e, epsilon in enumerate(epsilons):
            i_then_j = tree_map(np.add, g_i, _gradient_after(problem, g_i, j, epsilon))
            j_then_i = tree_map(np.add, g_j, _gradient_after(problem, g_j, i, epsilon))
            corners[p, e] = [[inner(point, axis) for axis in axes] for point in (g_i, i_then_j, g_j, j_then_i)]
            gaps[p, e] = norm(difference(i_then_j, j_then_i))
    return corners, gaps


def _axes(g_i: Arrays, g_j: Arrays) -> tuple[Arrays, Arrays]:
    """Orthonormal axes of the plane of two gradients: along g_i, and along what is left of g_j."""

    def unit(arrays: Arrays) -> Arrays:
        size = norm(arrays) or 1.0
        return {name: a / size for name, a in arrays.items()}

    first = unit(g_i)
    along = inner(g_j, first)
    return first, unit(tree_map(lambda b, a: b - along * a, g_j, first))


def _gradient_after(problem: Problem, step: Arrays, example: int, epsilon: float) -> Arrays:
    """The gradient of an example after the parameters have moved by −ε times the step."""
    there = {name: p - epsilon * step[name] for name, p in problem.params.items()}
    x, y = (a[example : example + 1] for a in (problem.x, problem.y))
    return at(engine.gradients(replace(problem, x=x, y=y, params=there)), 0)
