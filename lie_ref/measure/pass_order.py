"""What the order of a whole pass over mini-batches changes: by SGD steps that carry it out, and by brackets.

Two orders of the same mini-batches lead to weights that differ by the brackets of the pairs that change places:

    θ(other order) − θ(given order) = ε² Σ [v_b, v_a] + O(ε³)

The sum runs over the pairs a, b in which a stands before b in the given order and after b in the other.  Because
[v_b, v_a] = H_a g_b − H_b g_a, the terms with the same Hessian can be collected, and k mini-batches take k products:

    Σ [v_b, v_a] = Σ_a H_a (Σ_b s_ab g_b)

where s_ab is 1 if a and a later b change places, −1 if a and an earlier b do, and otherwise 0.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from ..core.differences import PLAIN
from ..core.engine import at
from ..core.fields import inner, norm, tree_map
from ..core.optimizers import Optimizer
from ..core.problem import Problem
from ..core.types import Array, Arrays
from ..fast import engine
from ..machine.threads import in_threads


def pass_displacement(
    problem: Problem, order: Sequence[int] | Array, epsilon: float, optimizer: Optimizer = PLAIN
) -> Arrays:
    """The sum of the optimizer's steps of size ε on each mini-batch x (k, m, …), in this order: name → (*shape).

    The displacement, unlike θ itself, keeps its digits when two of them are subtracted.  `buffers` do not change.
    """
    moved = {name: np.zeros_like(p) for name, p in problem.params.items()}
    for batch in order:
        some = slice(batch, batch + 1)
        here = {name: p + moved[name] for name, p in problem.params.items()}
        g = at(engine.gradients(replace(problem, params=here, x=problem.x[some], y=problem.y[some])), 0)
        update, optimizer = optimizer.step(g, here)
        for name, step in update.items():
            moved[name] -= epsilon * step
    return moved


def predicted_change(problem: Problem, orders: Array) -> Arrays:
    """Σ [v_b, v_a] over the pairs that each order (o, k) reverses: name → (o, *shape), in units of ε².

    In training mode, the batch statistics are differentiated through.

    >>> from lie_ref import batch_brackets, mlp
    >>> from lie_ref.fast.arguments import checked_problem
    >>> model, rng = mlp([2, 3, 1]), np.random.default_rng(0)
    >>> given = model, *model.init(seed=0), rng.normal(size=(2, 4, 2)), rng.random((2, 4, 1))
    >>> swapped = predicted_change(checked_problem(*given, training=True), np.array([[1, 0]]))["0.bias"]
    >>> bool(np.allclose(swapped, batch_brackets(*given, [(1, 0)], training=True)["0.bias"]))
    True
    """
    g = engine.gradients(problem)
    found = {name: np.zeros((len(orders), *p.shape), p.dtype) for name, p in problem.params.items()}
    signs = np.stack([turned_pairs(order) for order in orders])
    for a in range(len(problem.x)):  # one at a time: the products of a mini-batch take much memory
        directions = {name: np.tensordot(signs[:, a].astype(b.dtype), b, axes=1) for name, b in g.items()}
        alone = replace(problem, x=problem.x[a : a + 1], y=problem.y[a : a + 1])
        for name, product in engine.hvps(alone, directions).items():
            found[name] += product[:, 0]
    return found


def compare_passes(problem: Problem, epsilons: Sequence[float], rng: np.random.Generator) -> list[dict[str, Any]]:
    """True and predicted changes for passes over the first 2, 4, 8, … of the mini-batches x (k, m, …), y (k, m, …).

    The orders are the reverse of the given one and, for more than two mini-batches, a random one.  Returns a dict for
    each number of mini-batches and each ε: `mini_batches`, `epsilon`, and two lists with an entry for each order that
    is not the given one: the `cosine` between the true and the predicted change, and the `ratio` of their norms, true
    to predicted.
    """
    found = []
    for k in (2**n for n in range(1, len(problem.x).bit_length())):
        some = replace(problem, x=problem.x[:k], y=problem.y[:k])
        orders = np.array([range(k)[::-1]] + ([rng.permutation(k)] if k > 2 else []))
        predicted = predicted_change(some, orders)

        def moved(task: tuple[float, Array], some: Problem = some) -> Arrays:
            epsilon, order = task
            return pass_displacement(some, order, epsilon)

        everything = [(epsilon, order) for epsilon in epsilons for order in (np.arange(k), *orders)]
        displacements = in_threads(moved, everything)
        for epsilon in epsilons:
            given, *others = islice(displacements, 1 + len(orders))
            entry: dict[str, Any] = {"mini_batches": k, "epsilon": epsilon, "cosine": [], "ratio": []}
            for o, other in enumerate(others):
                truth = tree_map(lambda b, a, e=epsilon: (b - a) / e**2, other, given)
                prediction = tree_map(lambda p, o=o: p[o], predicted)
                sizes = [norm(truth), norm(prediction)]
                if all(sizes):  # the random order may be the given one
                    entry["cosine"].append(float(inner(truth, prediction)) / math.prod(sizes))
                    entry["ratio"].append(sizes[0] / sizes[1])
            found.append(entry)
    return found


def turned_pairs(order: Sequence[int] | Array) -> Array:
    """s_ab (k, k) for a given order 0 … k − 1: 1 if `order` puts a < b after b, −1 if it puts a > b before b, else 0.

    >>> turned_pairs([1, 0, 2])
    array([[ 0,  1,  0],
           [-1,  0,  0],
           [ 0,  0,  0]])
    """
    place = np.argsort(order)
    turned = np.triu(place[:, None] > place[None, :], 1).astype(int)
    return turned - turned.T
