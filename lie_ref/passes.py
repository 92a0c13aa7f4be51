"""What the order of a whole pass over mini-batches changes: carried out by SGD, and as its brackets predict it.

Between a pass in the given order and one in another, the pairs of mini-batches that change places add up:

    θ(other order) − θ(given order) = ε² Σ [v_b, v_a] + O(ε³)   over the pairs a, b, a given before b and now after it.

Of [v_b, v_a] = H_a g_b − H_b g_a each mini-batch's products come together, so k mini-batches take k products with sums
of gradients: Σ_a H_a (Σ_b s_ab g_b), s_ab = 1 if a and b > a change places, −1 if a and b < a do, else 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .dual import Array
from .fields import inner, tree_map
from .losses import LossFunction, loss_function
from .models import Arrays, Model
from .sweeps import channels_last, group_gradients, group_products


def pass_displacement(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    order: Sequence[int] | Array,
    epsilon: float,
    loss: str | LossFunction = "bce",
    training: bool = True,
) -> Arrays:
    """θ after one SGD step of size ε on each mini-batch x (k, m, …), y (k, m, …), in this order, minus θ before.

    As a displacement it loses few digits where two of them are compared.  Batch-norm is in training mode, or not;
    `buffers` do not change.
    """
    x, of = channels_last(x), loss_function(loss)
    moved = {name: np.zeros_like(p) for name, p in params.items()}
    for batch in order:
        here = {name: p + moved[name] for name, p in params.items()}
        chosen = slice(batch, batch + 1)
        for name, g in group_gradients(model, here, buffers, x[chosen], y[chosen], of, training).items():
            moved[name] -= epsilon * g[0]
    return moved


def predicted_change(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    orders: Array,
    loss: str | LossFunction = "bce",
    training: bool = True,
) -> Arrays:
    """Σ [v_b, v_a] over the pairs that each order (o, k) turns round: name → (o, *shape), in units of ε².

    >>> from lie_ref import batch_brackets, mlp
    >>> model, rng = mlp([2, 3, 1]), np.random.default_rng(0)
    >>> (params, buffers), x, y = model.init(seed=0), rng.normal(size=(2, 4, 2)), rng.random((2, 4, 1))
    >>> turned = predicted_change(model, params, buffers, x, y, np.array([[1, 0]]))["0.bias"]
    >>> bool(np.allclose(turned, batch_brackets(model, params, buffers, x, y, [(1, 0)], training=True)["0.bias"]))
    True
    """
    x, of = channels_last(x), loss_function(loss)
    g = group_gradients(model, params, buffers, x, y, of, training)
    found = {name: np.zeros((len(orders), *p.shape), p.dtype) for name, p in params.items()}
    itself = np.repeat(np.arange(len(x))[:, None], 2, axis=1)
    for o, order in enumerate(orders):
        signs = turned_pairs(order)
        directions = {name: np.tensordot(signs.astype(a.dtype), a, axes=1) for name, a in g.items()}
        for _, side, products in group_products(model, params, buffers, x, y, directions, itself, of, training):
            if side == 0:
                for name, product in products.items():
                    found[name][o] += product
    return found


def compare_passes(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    epsilons: Sequence[float],
    seed: int,
    loss: str | LossFunction = "bce",
) -> list[dict[str, Any]]:
    """Truth and prediction for passes over the first 2, 4, 8, … of the mini-batches x (k, m, …), y (k, m, …).

    For each number of mini-batches and ε a dict of `mini_batches`, `epsilon`, and for each order, the reverse one and
    for more than two mini-batches a random one, `cosine` of the two changes and `ratio` of their norms, truth first.
    """
    rng, found = np.random.default_rng(seed), []
    for k in (2**n for n in range(1, len(x).bit_length())):
        some = x[:k], y[:k]
        orders = np.array([range(k)[::-1]] + ([rng.permutation(k)] if k > 2 else []))
        predicted = predicted_change(model, params, buffers, *some, orders, loss)
        for epsilon in epsilons:
            given, *others = (
                pass_displacement(model, params, buffers, *some, order, epsilon, loss) for order in (range(k), *orders)
            )
            entry: dict[str, Any] = {"mini_batches": k, "epsilon": epsilon, "cosine": [], "ratio": []}
            for o, other in enumerate(others):
                truth = tree_map(lambda b, a, e=epsilon: (b - a) / e**2, other, given)
                prediction = tree_map(lambda p, o=o: p[o], predicted)
                sizes = [float(np.sqrt(inner(a, a))) for a in (truth, prediction)]
                if all(sizes):  # an order that is the given one changes nothing
                    entry["cosine"].append(float(inner(truth, prediction)) / math.prod(sizes))
                    entry["ratio"].append(sizes[0] / sizes[1])
            found.append(entry)
    return found


def turned_pairs(order: Sequence[int] | Array) -> Array:
    """s_ab (k, k): 1 where a stands before b in 0 … k − 1 and after it in `order`, −1 the other way round, else 0.

    >>> turned_pairs([1, 0, 2])
    array([[ 0,  1,  0],
           [-1,  0,  0],
           [ 0,  0,  0]])
    """
    place = np.argsort(order)
    turned = np.triu(place[:, None] > place[None, :], 1).astype(int)
    return turned - turned.T
