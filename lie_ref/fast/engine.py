"""Exact gradients, Hessian-vector products, brackets and push-forwards of the shipped networks, field by field.

Each function checks its arrays and runs `sweeps` over them, in the dtype of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..core.layers import Sweep
from ..core.losses import LossFunction, loss_function
from ..core.networks import Arrays, Model
from ..core.optimizers import Optimizer, first_order_effect, second_order_effect
from .arguments import (
    check_optimizer,
    checked_directions,
    checked_inputs,
    checked_pairs,
    checked_partners,
    checked_state,
    checked_targets,
)
from .dual import Array
from .sweeps import (
    channels_last,
    chunks,
    group_brackets,
    group_gradients,
    group_hvps,
    group_products,
    group_push_forward,
    mini_batch_gradient,
    with_group_axis,
)

BUDGET = 2**26  # numbers of the brackets that are held at a time, 512 MiB in float64


def gradients(
    model: Model, params: Arrays, buffers: Arrays, x: Array, y: Array, loss: str | LossFunction = "bce"
) -> Arrays:
    """g_i = ∇_θ L_i for each example, batch-norm in evaluation mode: name → (n, *shape), dtype of the parameters.

    x is (n, channels, height, width) or (n, features); y is (n, n_out), or (n,) integers for "softmax"; `loss` is
    "bce", "softmax", "mse" or a `losses.LossFunction`.  The vector field of example i is v_i = −g_i.  Raises ValueError
    or TypeError for arrays that do not fit.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> gradients(model, *model.init(seed=0), np.ones((5, 2)), np.zeros((5, 1)))["0.weight"].shape
    (5, 3, 2)
    """
    params, buffers = checked_state(model, params, buffers)
    x, y = _checked_examples(model, params, x, y, loss)
    return group_gradients(model, params, buffers, x[:, None], y[:, None], loss_function(loss))


def hvps(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    directions: Mapping[str, Array],
    loss: str | LossFunction = "bce",
) -> Arrays:
    """H_i d_k, the Hessian of L_i times direction k, for each example and direction: name → (k, n, *shape).

    `directions` is name → (k, *shape), all names of the parameters.  Else as `gradients`.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> params, buffers = model.init(seed=0)
    >>> directions = {name: np.ones((4, *p.shape)) for name, p in params.items()}
    >>> hvps(model, params, buffers, np.ones((5, 2)), np.zeros((5, 1)), directions)["2.bias"].shape
    (4, 5, 1)
    """
    params, buffers = checked_state(model, params, buffers)
    x, y = _checked_examples(model, params, x, y, loss)
    directions = checked_directions("directions", params, directions)
    return group_hvps(model, params, buffers, x[:, None], y[:, None], directions, loss_function(loss))


def brackets(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    pairs: Sequence[tuple[int, int]] | Array,
    loss: str | LossFunction = "bce",
) -> Arrays:
    """[v_i, v_j] = H_j g_i − H_i g_j for each pair (i, j) of examples: name → (len(pairs), *shape).

    ε²[v_i, v_j] is, to second order in ε, θ(step on i, then j) − θ(step on j, then i).  Else as `gradients`.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> params, buffers = model.init(seed=0)
    >>> b = brackets(model, params, buffers, np.eye(2), np.array([[0.0], [1.0]]), [(0, 1), (1, 0)])
    >>> bool(np.all(b["0.weight"][0] == -b["0.weight"][1]))
    True
    """
    params, buffers = checked_state(model, params, buffers)
    x, y = _checked_examples(model, params, x, y, loss)
    x, y, pairs = x[:, None], y[:, None], checked_pairs(pairs, len(x))
    g = group_gradients(model, params, buffers, x, y, loss_function(loss))
    return group_brackets(model, params, buffers, x, y, g, pairs, loss_function(loss))


def batch_brackets(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    pairs: Sequence[tuple[int, int]] | Array,
    loss: str | LossFunction = "bce",
    training: bool = False,
) -> Arrays:
    """[v_A, v_B] for pairs of mini-batches, v_B = −∇ mean of L over B: name → (len(pairs), *shape).

    x is (b, m, …) and y (b, m, …), one field a mini-batch.  In evaluation mode the bracket is the mean of the brackets
    of all pairs of examples; with `training` the batch statistics are differentiated through, twice.  `buffers` are not
    changed.  Else as `gradients`.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> x, y = np.ones((2, 4, 2)), np.zeros((2, 4, 1))
    >>> batch_brackets(model, *model.init(seed=0), x, y, [(0, 1)])["0.bias"].shape
    (1, 3)
    """
    params, buffers = checked_state(model, params, buffers)
    x, y = _checked_examples(model, params, x, y, loss, batches=True)
    pairs = checked_pairs(pairs, len(x))
    g = group_gradients(model, params, buffers, x, y, loss_function(loss), training)
    return group_brackets(model, params, buffers, x, y, g, pairs, loss_function(loss), training)


def bracket_norms(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    partners: Sequence[int] | Array | None = None,
    loss: str | LossFunction = "bce",
) -> Array:
    """‖[v_i, v_j]‖ over all parameters, for every example i and partner j: (n, n), or (n, len(partners)).

    Computed block by block; the brackets that are held at a time fill `BUDGET`, or are one.  Else as `gradients`.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> norms = bracket_norms(model, *model.init(seed=0), np.eye(2), np.array([[0.0], [1.0]]))
    >>> bool(norms[0, 0] == 0 and norms[0, 1] == norms[1, 0] > 0)
    True
    """
    params, buffers = checked_state(model, params, buffers)
    x, y = _checked_examples(model, params, x, y, loss)
    columns = np.arange(len(x)) if partners is None else checked_partners(partners, len(x))
    norms = np.zeros((len(x), len(columns)), next(iter(params.values())).dtype)
    held = max(1, min(128, BUDGET // model.parameter_count))
    width = min(8, len(columns), math.isqrt(held))
    height = width if partners is None else held // width
    for row in range(0, len(x), height):
        rows = np.arange(row, min(row + height, len(x)))
        for column in range(row if partners is None else 0, len(columns), width):
            chosen = columns[column : column + width]
            both = np.sort([(i, j) for i in rows for j in chosen])  # for [v_j, v_i] = −[v_i, v_j]
            pairs, place = np.unique(both, axis=0, return_inverse=True)
            used, local = np.unique(pairs, return_inverse=True)
            of = x[used, None], y[used, None]
            g = group_gradients(model, params, buffers, *of, loss_function(loss))
            found = group_brackets(model, params, buffers, *of, g, local.reshape(pairs.shape), loss_function(loss))
            sizes = np.sqrt(sum(squared_norms(b) for b in found.values()))
            norms[rows, column : column + len(chosen)] = sizes[place.ravel()].reshape(len(rows), -1)
    if partners is None:  # only the upper triangle was computed
        norms = np.triu(norms) + np.triu(norms, 1).T
    return norms


def swap_effects(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    pairs: Sequence[tuple[int, int]] | Array,
    optimizer: Optimizer,
    loss: str | LossFunction = "bce",
) -> tuple[Arrays, Arrays]:
    """What the order of i and j changes under an optimizer in this state, for each pair: name → (len(pairs), *shape).

    θ(step on i, then j) − θ(step on j, then i) = ε · first + ε² · second + O(ε³), with batch-norm in evaluation mode;
    returns (first, second).  See `optimizers` for the formulas.  Else as `brackets`.

    >>> from lie_ref import mlp
    >>> from lie_ref.core.optimizers import Momentum
    >>> model = mlp([2, 3, 1])
    >>> params, buffers = model.init(seed=0)
    >>> state = Momentum({name: np.zeros_like(p) for name, p in params.items()}, momentum=0.5)
    >>> x, y = np.eye(2), np.array([[0.0], [1.0]])
    >>> first, second = swap_effects(model, params, buffers, x, y, [(0, 1)], state)
    >>> g = gradients(model, params, buffers, x, y)
    >>> bool(np.allclose(first["2.bias"][0], -0.5 * (g["2.bias"][0] - g["2.bias"][1])))
    True
    """
    params, buffers = checked_state(model, params, buffers)
    x, y = _checked_examples(model, params, x, y, loss)
    x, y, pairs = x[:, None], y[:, None], checked_pairs(pairs, len(x))
    check_optimizer(params, optimizer)
    g = group_gradients(model, params, buffers, x, y, loss_function(loss))
    updates = optimizer.step(g)[0]
    products = [{name: np.empty((len(pairs), *p.shape), p.dtype) for name, p in params.items()} for _ in range(2)]
    for k, side, found in group_products(model, params, buffers, x, y, updates, pairs, loss_function(loss)):
        for name, product in found.items():
            products[side][name][k] = product
    g_i, g_j = ({name: a[pairs[:, side]] for name, a in g.items()} for side in range(2))
    return first_order_effect(optimizer, g_i, g_j), second_order_effect(optimizer, g_i, g_j, *products)


def push_forward(model: Model, params: Arrays, buffers: Arrays, x_eval: Array, tangents: Mapping[str, Array]) -> Array:
    """D_θ z(x_eval) · t_k, the change of the logits along each tangent t_k of the parameters: (k, n_eval, n_out).

    `tangents` is name → (k, *shape), as `brackets` returns.  Batch-norm in evaluation mode.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> params, buffers = model.init(seed=0)
    >>> tangents = {name: np.zeros((4, *p.shape)) for name, p in params.items()}
    >>> push_forward(model, params, buffers, np.ones((5, 2)), tangents).shape
    (4, 5, 1)
    """
    params, buffers = checked_state(model, params, buffers)
    x_eval = channels_last(checked_inputs("x_eval", model, params, x_eval))
    tangents = checked_directions("tangents", params, tangents)
    return group_push_forward(model, params, buffers, x_eval, tangents)[1]


def logits(model: Model, params: Arrays, buffers: Arrays, x: Array) -> Array:
    """The logits (n, n_out) in evaluation mode: what `model.apply` gives, by the sweeps' own forward pass.

    Raises as `gradients` does.
    """
    params, buffers = checked_state(model, params, buffers)
    x = channels_last(checked_inputs("x", model, params, x))
    state = with_group_axis(params)
    return np.concatenate(
        [model.network.forward(Sweep(state, buffers, tape=None), x[None, i])[0] for i in chunks(model, x, 1)]
    )


def training_gradients(
    model: Model, params: Arrays, buffers: Arrays, x: Array, y: Array, loss: str | LossFunction = "bce"
) -> tuple[float, Arrays, Arrays]:
    """What a training step needs, batch-norm in training mode: mean loss, gradient name → (*shape), new buffers.

    x, y and errors are as in `gradients`.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> mean_loss, grads, buffers = training_gradients(model, *model.init(seed=0), np.ones((5, 2)), np.zeros((5, 1)))
    >>> grads["0.weight"].shape
    (3, 2)
    """
    params, buffers = checked_state(model, params, buffers)
    x, y = _checked_examples(model, params, x, y, loss)
    return mini_batch_gradient(model, params, buffers, x, y, loss_function(loss), len(x))[:3]


def squared_norms(a: Array) -> Array:
    """The sum of squares of each a[i], (n,), in float64 or better: float32's own would vanish below 1e-38."""
    return np.square(a, dtype=np.promote_types(a.dtype, np.float64)).sum(axis=tuple(range(1, a.ndim)))


def _checked_examples(
    model: Model, params: Arrays, x: Array, y: Array, loss: str | LossFunction, batches: bool = False
) -> tuple[Array, Array]:
    x = checked_inputs("x", model, params, x, batches)
    return channels_last(x), checked_targets(model, x, y, loss, batches)
