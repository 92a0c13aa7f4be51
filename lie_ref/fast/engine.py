"""The answers of `core.engine`, quicker: by sweeps over dual numbers, in the dtype of the parameters.

Every public function has a twin of the same name and meaning among the methods of `core.engine.Autograd`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.problem import Problem, Weights
from ..core.types import Array, Arrays
from .dual import Dual, Number, value
from .rules import Sweep, forward
from .sweeps import batches, channels_last, chunks, lifted, spread, sweep_over, with_group_axis
from .trees import folded


def logits(weights: Weights, x: Array, training: bool = False) -> Array:
    """z (n, k) of inputs x (n, …); in training mode x is one mini-batch."""
    model, x, state = weights.model, channels_last(x), with_group_axis(weights)
    parts = [slice(None)] if training else chunks(model, x, 1)
    sweeps = ((Sweep(state, weights.buffers, training, tape=None), x[None, some]) for some in parts)
    return np.concatenate([forward(model.network, sweep, some)[0] for sweep, some in sweeps])


def gradients(problem: Problem) -> Arrays:
    """g_i of each field: name → (fields, *shape)."""
    x, y = _fields(problem)

    def of(chosen: slice) -> dict[str, Number]:
        sweep = Sweep(with_group_axis(problem), problem.buffers, problem.training)
        sweep_over(problem.model, sweep, x[chosen], y[chosen], problem.loss_function)
        return sweep.grads

    result = {name: np.empty((len(x), *p.shape), p.dtype) for name, p in problem.params.items()}
    mapped, parts = spread(problem.model, x, 1)
    chunked = list(chunks(problem.model, x, 1, parts))
    for chosen, grads in zip(chunked, mapped(of, chunked), strict=True):
        for name, g in result.items():
            g[chosen] = grads[name]
    return result


def hvps(problem: Problem, directions: Arrays) -> Arrays:
    """H_i d for each direction (k, *shape) and field: name → (k, fields, *shape)."""
    (x, y), count = _fields(problem), len(next(iter(directions.values())))
    result = {name: np.empty((count, len(x), *p.shape), p.dtype) for name, p in problem.params.items()}
    for some, params in lifted(problem, directions, x[0]):
        for chosen in chunks(problem.model, x, 1 + some.stop - some.start):
            sweep = Sweep(params, problem.buffers, problem.training)
            sweep_over(problem.model, sweep, x[chosen], y[chosen], problem.loss_function)
            for name, h in result.items():
                h[some, chosen] = sweep.grads[name].tangent
    return result


def products(problem: Problem, directions: Arrays) -> Arrays:
    """H_j d_i and H_i d_j for each pair: name → (p, 2, *shape), from a direction d_i for each field."""
    result = {name: np.empty((len(problem.pairs), 2, *p.shape), p.dtype) for name, p in problem.params.items()}
    for row, side, found in _each_product(problem, directions, np.arange(len(problem.pairs))):
        for name, product in found.items():
            result[name][row, side] = product
    return result


def brackets(problem: Problem, directions: Arrays) -> Arrays:
    """H_j d_i − H_i d_j for each pair, without all products in memory: name → (p, *shape); zeros for i = j."""
    result = {name: np.empty((len(problem.pairs), *p.shape), p.dtype) for name, p in problem.params.items()}
    equal = problem.pairs[:, 0] == problem.pairs[:, 1]
    for bracket in result.values():
        bracket[equal] = 0
    begun = set()
    for row, side, found in _each_product(problem, directions, np.flatnonzero(~equal)):
        for name, product in found.items():
            bracket = result[name][row]
            if row in begun:
                (np.subtract if side else np.add)(bracket, product, out=bracket)
            else:
                (np.negative if side else np.positive)(product, out=bracket)
        begun.add(row)
    return result


def push_forward(weights: Weights, x: Array, tangents: Arrays) -> tuple[Array, Array]:
    """z (n, k) of x (n, …), and D_θ z · t for each tangent, name → (t, *shape): (t, n, k)."""
    model, x = weights.model, channels_last(x)
    z = np.empty((len(x), model.n_out), x.dtype)
    changes = np.empty((len(next(iter(tangents.values()))), *z.shape), x.dtype)
    for some, params in lifted(weights, tangents, x[0]):
        network, state = folded(model, params, weights.buffers)
        sweep = Sweep(state, weights.buffers, tape=None)

        def push(chosen: slice, layers: Any = network.network, sweep: Sweep = sweep) -> Dual:
            return forward(layers, sweep, x[None, chosen])

        mapped, parts = spread(model, x, some.stop - some.start)
        chunked = list(chunks(model, x, 1 + some.stop - some.start, parts))
        for chosen, found in zip(chunked, mapped(push, chunked), strict=True):
            z[chosen], changes[some, chosen] = found.value[0], found.tangent[:, 0]
    return z, changes


def training_step(problem: Problem) -> tuple[float, Arrays, Arrays, Array]:
    """Loss, gradient name → (*shape), updated buffers and logits of a single mini-batch in training mode."""
    (x, y), loss = _fields(problem), problem.loss_function
    sweep = Sweep(with_group_axis(problem), problem.buffers, training=True)
    z = value(sweep_over(problem.model, sweep, x, y, loss))[0]
    mean_loss = float(loss.definition(z, y[0]).mean() + loss.regulariser(problem.params))
    grads = {name: sweep.grads[name][0] for name in problem.params}
    return mean_loss, grads, problem.buffers | sweep.running_statistics(), z


def _each_product(problem: Problem, directions: Arrays, rows: Array) -> Iterator[tuple[int, int, Arrays]]:
    """(row, side, product name → (*shape)) for these rows of the pairs: side 0 of (i, j) is H_j d_i, side 1 H_i d_j.

    One sweep gives the products of a group with all its partners.
    """
    uses: dict[int, dict[int, list[tuple[int, int]]]] = {}  # group → partner → (row, side) of the product
    for row, (i, j) in zip(rows.tolist(), problem.pairs[rows].tolist(), strict=True):
        for side, (group, partner) in enumerate(((j, i), (i, j))):
            uses.setdefault(group, {}).setdefault(partner, []).append((row, side))
    x, y = _fields(problem)

    def of(some: list[tuple[int, list[int]]]) -> list[tuple[int, int, Arrays]]:
        groups, partners = [group for group, _ in some], np.array([chosen for _, chosen in some]).T
        along: Any = partners
        if partners.size == 1:  # a view, because the direction of a large network should not be copied
            along = None, slice(partners[0, 0], partners[0, 0] + 1)
        params: dict[str, Number] = {n: Dual(p[None], directions[n][along]) for n, p in problem.params.items()}
        sweep = Sweep(params, problem.buffers, problem.training)
        sweep_over(problem.model, sweep, x[groups], y[groups], problem.loss_function)
        return [
            (row, side, {name: product.tangent[k, n] for name, product in sweep.grads.items()})
            for n, group in enumerate(groups)
            for k, partner in enumerate(partners[:, n])
            for row, side in uses[group][partner]
        ]

    mapped, parts = spread(problem.model, x[0], 2 * len(rows))
    for found in mapped(of, batches(problem.model, x, {g: list(p) for g, p in uses.items()}, parts)):
        yield from found


def _fields(problem: Problem) -> tuple[Array, Array]:
    """The inputs, channels last, and targets of the fields: (group, member, …) each."""
    x, y = problem.groups
    return channels_last(x), y
