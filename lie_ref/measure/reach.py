"""How far the expansion reaches: up to which learning rate a bracket predicts what a swap does to the logits."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..core.engine import at
from ..core.problem import Problem
from ..core.types import Array, Arrays
from ..fast import engine


def expansion_errors(problem: Problem, epsilons: Sequence[float]) -> Array:
    """How the change of the logits by a real swap of plain gradient steps differs from ε² D_θ z · [v_i, v_j].

    The logits are those of the problem's `x_eval`.  Returns the relative error for each pair and each ε: (p, e).

    >>> from lie_ref import mlp
    >>> from lie_ref.fast.arguments import checked_problem
    >>> model = mlp([2, 3, 1])
    >>> given = model, *model.init(seed=0), np.eye(2), np.array([[0.0], [1.0]]), [(0, 1)]
    >>> errors = expansion_errors(checked_problem(*given, x_eval=np.eye(2)), [1e-1, 1e-4])
    >>> bool(errors[0, 1] < 1e-3 < errors[0, 0])
    True
    """
    g = engine.gradients(problem)
    predicted = engine.push_forward(problem, problem.x_eval, engine.brackets(problem, g))[1]
    errors = np.zeros((len(problem.pairs), len(epsilons)))
    for p, (i, j) in enumerate(problem.pairs.tolist()):
        for e, epsilon in enumerate(epsilons):
            ends = [_logits_after(problem, g, first, second, epsilon) for first, second in ((i, j), (j, i))]
            actual, expected = (ends[0] - ends[1]) / epsilon**2, predicted[p]
            errors[p, e] = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    return errors


def reach(errors: Array, epsilons: Sequence[float], tolerance: float = 0.1) -> Array:
    """The largest ε up to which all errors (p, e) of rising `epsilons` are within the tolerance: (p,); 0 if none is.

    >>> reach(np.array([[0.01, 0.05, 0.3, 0.02], [0.2, 0.2, 0.2, 0.2]]), [1e-4, 1e-3, 1e-2, 1e-1]).tolist()
    [0.001, 0.0]
    """
    within = np.logical_and.accumulate(errors <= tolerance, axis=1).sum(axis=1)
    return np.array([0.0, *epsilons])[within]


def _logits_after(problem: Problem, g: Arrays, first: int, second: int, epsilon: float) -> Array:
    """The logits of `x_eval` after a step of size ε on the first example and then one on the second."""
    there = {name: p - epsilon * g[name][first] for name, p in problem.params.items()}
    alone = replace(problem, x=problem.x[second : second + 1], y=problem.y[second : second + 1], params=there)
    step = at(engine.gradients(alone), 0)
    params = {name: p - epsilon * step[name] for name, p in there.items()}
    return engine.logits(replace(problem, params=params), problem.x_eval)
