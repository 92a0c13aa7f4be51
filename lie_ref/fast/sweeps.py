"""Sweeps over groups of examples: the derivatives of each group's mean loss, many groups and many directions at once.

A group is what one vector field is made of: one example, or a mini-batch whose mean loss it descends.  One forward and
one backward sweep give the gradients of many groups; the same sweep over `Dual` parameters gives their Hessian-vector
products along all directions (forward over reverse).  Inputs are (group, member, …) with channels last, arrays are
checked by the caller, and everything is computed in the dtype of the parameters, over as many groups and directions at
a time as memory should hold; a group is never split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np

from ..core.layers import Sweep
from ..core.losses import LossFunction
from ..core.networks import Arrays, Model, folded
from ..machine.parallel import Reduce, in_threads
from .dual import Array, Dual, Number, value

ENTRIES = 2**21  # how many numbers the largest array of a sweep should hold
THREADED = 2**17  # how many numbers it must hold, over all sweeps, for threads to be worth starting


def sweep_over(model: Model, sweep: Sweep, x: Array, y: Array, loss: LossFunction) -> Number:
    """Forward and backward: returns the groups' logits, and leaves the gradient of their mean loss in the sweep."""
    z = model.network.forward(sweep, x)
    members = sweep.members or x.shape[1]
    model.network.backward(sweep, loss.gradient(z, y) * np.asarray(1 / members, x.dtype))
    return z


def mini_batch_gradient(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    loss: LossFunction,
    members: int,
    total: Reduce = lambda a: a,
) -> tuple[float, Arrays, Arrays, Array]:
    """Of a mini-batch in training mode: its mean loss, the gradient name → (*shape), buffers after the pass, logits.

    x and y may be a part of its `members`; then `total` adds up over all parts, and the logits are those of the part.
    """
    sweep = Sweep(with_group_axis(params), buffers, training=True, members=members, reduce=total)
    z = value(sweep_over(model, sweep, x[None], y[None], loss))
    mean_loss = total(loss.definition(z, y[None]).sum(keepdims=True) / members)
    gradient = total(np.concatenate([sweep.grads[name].ravel() for name in params]))
    ends = np.cumsum([p.size for p in params.values()])
    parts = zip(params.items(), np.split(gradient, ends[:-1]), strict=True)
    grads = {name: part.reshape(p.shape) for (name, p), part in parts}
    return float(mean_loss[0, 0]), grads, buffers | sweep.running_statistics(), z[0]


def group_gradients(
    model: Model, params: Arrays, buffers: Arrays, x: Array, y: Array, loss: LossFunction, training: bool = False
) -> Arrays:
    """The gradient of each group's mean loss: name → (g, *shape)."""

    def of(chosen: slice) -> dict[str, Number]:
        sweep = Sweep(with_group_axis(params), buffers, training)
        sweep_over(model, sweep, x[chosen], y[chosen], loss)
        return sweep.grads

    result = {name: np.empty((len(x), *p.shape), p.dtype) for name, p in params.items()}
    mapped, parts = _spread(model, x, 1)
    chunked = list(chunks(model, x, 1, parts))
    for chosen, grads in zip(chunked, mapped(of, chunked), strict=True):
        for name, g in result.items():
            g[chosen] = grads[name]
    return result


def group_hvps(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    directions: Arrays,
    loss: LossFunction,
    training: bool = False,
) -> Arrays:
    """The Hessian of each group's mean loss times each direction (k, *shape): name → (k, g, *shape)."""
    count = len(next(iter(directions.values())))
    products = {name: np.empty((count, len(x), *p.shape), p.dtype) for name, p in params.items()}
    for some, lifted in _lifted(model, params, directions, x[0]):
        for chosen in chunks(model, x, 1 + some.stop - some.start):
            sweep = Sweep(dict(lifted), buffers, training)
            sweep_over(model, sweep, x[chosen], y[chosen], loss)
            for name, product in products.items():
                product[some, chosen] = sweep.grads[name].tangent
    return products


def group_products(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    directions: Arrays,
    pairs: Array,
    loss: LossFunction,
    training: bool = False,
) -> Iterator[tuple[int, int, Arrays]]:
    """(row, side, H d) for each pair (i, j), name → (*shape): side 0 is H_j d_i and side 1 H_i d_j.

    `directions` (g, *shape) has one for each group; a group's products with all its partners come from one sweep.
    """
    uses: dict[int, dict[int, list[tuple[int, int]]]] = {}  # group → partner → where the product belongs
    for row, (i, j) in enumerate(pairs.tolist()):
        for side, (group, partner) in enumerate(((j, i), (i, j))):
            uses.setdefault(group, {}).setdefault(partner, []).append((row, side))

    def of(some: list[tuple[int, list[int]]]) -> list[tuple[int, int, Arrays]]:
        groups, partners = [group for group, _ in some], np.array([chosen for _, chosen in some]).T
        along: Any = partners
        if partners.size == 1:  # a view will do: a large network's direction is not copied
            along = None, slice(partners[0, 0], partners[0, 0] + 1)
        lifted: dict[str, Number] = {name: Dual(p[None], directions[name][along]) for name, p in params.items()}
        sweep = Sweep(lifted, buffers, training)
        sweep_over(model, sweep, x[groups], y[groups], loss)
        return [
            (row, side, {name: product.tangent[k, n] for name, product in sweep.grads.items()})
            for n, group in enumerate(groups)
            for k, partner in enumerate(partners[:, n])
            for row, side in uses[group][partner]
        ]

    mapped, parts = _spread(model, x[0], 2 * len(pairs))
    batches = _batches(model, x, {group: list(partners) for group, partners in uses.items()}, parts)
    for found in mapped(of, batches):
        yield from found


def _batches(
    model: Model, x: Array, partners: dict[int, list[int]], parts: int
) -> Iterator[list[tuple[int, list[int]]]]:
    """Groups with some of their partners, all of a batch with as many, few enough that a sweep keeps within `ENTRIES`.

    There are at least so many parts where there are as many groups.
    """
    room = max(2, ENTRIES // model.largest_array(x[0]))  # for the copies of an activation: the value's, and a partner's
    tasks = [(g, some[k : k + room - 1]) for g, some in partners.items() for k in range(0, len(some), room - 1)]
    for count, alike in groupby(sorted(tasks, key=lambda task: len(task[1])), key=lambda task: len(task[1])):
        of_count = list(alike)
        step = max(1, min(room // (1 + count), -(-len(of_count) // parts)))
        yield from (of_count[start : start + step] for start in range(0, len(of_count), step))


def group_brackets(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    g: Arrays,
    pairs: Array,
    loss: LossFunction,
    training: bool = False,
) -> Arrays:
    """H_j g_i − H_i g_j for each pair of groups, from their gradients g: name → (p, *shape); zeros for i = j."""
    result = {name: np.empty((len(pairs), *p.shape), p.dtype) for name, p in params.items()}
    equal = pairs[:, 0] == pairs[:, 1]
    for brackets in result.values():
        brackets[equal] = 0
    different, begun = np.flatnonzero(~equal), set()
    for k, side, products in group_products(model, params, buffers, x, y, g, pairs[different], loss, training):
        for name, product in products.items():
            bracket = result[name][different[k]]
            if k in begun:
                (np.subtract if side else np.add)(bracket, product, out=bracket)
            else:
                (np.negative if side else np.positive)(product, out=bracket)
        begun.add(k)
    return result


def group_push_forward(
    model: Model, params: Arrays, buffers: Arrays, x: Array, tangents: Arrays
) -> tuple[Array, Array]:
    """Logits z (n, n_out) of inputs x (n, …) and D_θ z(x) · t_k (k, n, n_out); tangents t name → (k, *shape).

    Batch-norm is in evaluation mode.
    """
    z = np.empty((len(x), model.n_out), x.dtype)
    changes = np.empty((len(next(iter(tangents.values()))), *z.shape), x.dtype)
    for some, lifted in _lifted(model, params, tangents, x[0]):
        network, state = folded(model, lifted, buffers)
        sweep = Sweep(state, buffers, tape=None)

        def push(chosen: slice, network: Model = network, sweep: Sweep = sweep) -> Dual:
            return network.network.forward(sweep, x[None, chosen])

        mapped, parts = _spread(model, x, some.stop - some.start)
        chunked = list(chunks(model, x, 1 + some.stop - some.start, parts))
        for chosen, found in zip(chunked, mapped(push, chunked), strict=True):
            z[chosen], changes[some, chosen] = found.value[0], found.tangent[:, 0]
    return z, changes


def _spread(model: Model, x: Array, copies: int) -> tuple[Callable[..., Iterator[Any]], int]:
    """`in_threads`, or `map` where so many sweeps over x are sooner done than threads are started; in how many parts.

    Two parts at least, or the second thread would have nothing to do: as many on every machine.
    """
    return (in_threads, 2) if copies * model.largest_array(x) >= THREADED else (map, 1)


def with_group_axis(params: Arrays) -> dict[str, Number]:
    """Parameters (1, *shape), as a sweep takes them."""
    return {name: p[None] for name, p in params.items()}


def channels_last(x: Array) -> Array:
    """(…, channels, height, width) → (…, height, width, channels); rows of features stay."""
    return np.ascontiguousarray(np.moveaxis(x, -3, -1)) if x.ndim > 3 else x


def chunks(model: Model, x: Array, copies: int, parts: int = 1) -> Iterator[slice]:
    """Slices of x's first axis, so short that a sweep with `copies` of each activation keeps within `ENTRIES`.

    There are at least so many parts where x is long enough.
    """
    step = max(1, min(ENTRIES // (copies * model.largest_array(x[0])), -(-len(x) // parts)))
    return (slice(start, start + step) for start in range(0, len(x), step))


def _lifted(
    model: Model, params: Arrays, directions: Mapping[str, Array], one: Array
) -> Iterator[tuple[slice, dict[str, Dual]]]:
    """Slices of the directions, few enough that a sweep over `one` input keeps within `ENTRIES`; for each of them the
    parameters (1, *shape) as duals with tangents (k, 1, *shape)."""
    count = len(next(iter(directions.values())))
    step = max(1, ENTRIES // model.largest_array(one) - 1)
    for start in range(0, count, step):
        some = slice(start, min(start + step, count))
        yield some, {name: Dual(p[None], directions[name][some, None]) for name, p in params.items()}
