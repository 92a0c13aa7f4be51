"""Exact gradients, Hessian-vector products, brackets and push-forwards of a network, from plain arrays.

Each function checks its arrays, makes a `Problem` of them and passes it to the fast engine.  Results have the dtype of
the parameters.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..core.networks import Model, check_shapes
from ..core.optimizers import Optimizer, first_order_effect, second_order_effect
from ..core.problem import Problem, Solution
from ..core.types import Array, Arrays
from ..fast import engine
from ..fast.arguments import (
    Errors,
    LossLike,
    Pairs,
    checked_directions,
    checked_indices,
    checked_inputs,
    checked_problem,
    checked_result,
    checked_weights,
)
from ..fast.norms import row_norms
from ..machine.errors import shortened

BUDGET = 2**26  # gradients or brackets in memory at a time, in numbers: 512 MiB in float64


def gradients(
    model: Model, params: Arrays, buffers: Arrays, x: Array, y: Array, loss: LossLike = "bce", errors: Errors = "raise"
) -> Arrays:
    """g_i = ∇_θ L_i of each example, with batch-norm in evaluation mode: name → (n, *shape).

    x is (n, channels, height, width) or (n, features).  y is (n, n_out), or (n,) integers for "softmax".  `loss` is
    "bce", "softmax", "mse" or a `LossFunction`.  The vector field of example i is v_i = −g_i.  Raises ValueError or
    TypeError for arrays that do not fit, and ValueError for a result that is not finite, unless `errors` is "ignore".

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> gradients(model, *model.init(seed=0), np.ones((5, 2)), np.zeros((5, 1)))["0.weight"].shape
    (5, 3, 2)
    """
    problem = checked_problem(model, params, buffers, x, y, loss=loss, batches=False)
    return checked_result(engine.gradients(problem), errors)


def hvps(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    directions: Mapping[str, Array],
    loss: LossLike = "bce",
    errors: Errors = "raise",
) -> Arrays:
    """H_i d, the Hessian of L_i times each direction d, for every example: name → (k, n, *shape).

    `directions` is name → (k, *shape).  Other arguments and errors are those of `gradients`.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> params, buffers = model.init(seed=0)
    >>> directions = {name: np.ones((4, *p.shape)) for name, p in params.items()}
    >>> hvps(model, params, buffers, np.ones((5, 2)), np.zeros((5, 1)), directions)["0.weight"].shape
    (4, 5, 3, 2)
    """
    problem = checked_problem(model, params, buffers, x, y, loss=loss, batches=False)
    return checked_result(engine.hvps(problem, checked_directions("directions", problem, directions)), errors)


def brackets(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    pairs: Pairs,
    loss: LossLike = "bce",
    errors: Errors = "raise",
) -> Arrays:
    """[v_i, v_j] = H_j g_i − H_i g_j for each pair (i, j): name → (len(pairs), *shape).

    Other arguments and errors are those of `gradients`.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> params, buffers = model.init(seed=0)
    >>> b = brackets(model, params, buffers, np.eye(2), np.array([[0.0], [1.0]]), [(0, 1), (1, 0)])
    >>> bool(np.all(b["0.weight"][0] == -b["0.weight"][1]))
    True
    """
    problem = checked_problem(model, params, buffers, x, y, pairs, loss=loss, batches=False)
    return checked_result(Solution(problem, engine).bracket, errors)


def batch_brackets(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    pairs: Pairs,
    loss: LossLike = "bce",
    training: bool = False,
    errors: Errors = "raise",
) -> Arrays:
    """[v_A, v_B] for pairs of mini-batches, where v_B is minus the gradient of the mean loss of B: name → (p, *shape).

    x is (b, m, …) and y (b, m, …): b mini-batches of m examples.  In evaluation mode the bracket is the mean bracket of
    all pairs of examples.  With `training`, the batch statistics are differentiated through, twice; `buffers` do not
    change.  Other arguments and errors are those of `gradients`.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> x, y = np.ones((2, 4, 2)), np.zeros((2, 4, 1))
    >>> batch_brackets(model, *model.init(seed=0), x, y, [(0, 1)])["0.bias"].shape
    (1, 3)
    """
    problem = checked_problem(model, params, buffers, x, y, pairs, None, loss, training, batches=True)
    return checked_result(Solution(problem, engine).bracket, errors)


def bracket_norms(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    partners: Sequence[int] | Array | None = None,
    loss: LossLike = "bce",
    errors: Errors = "raise",
) -> Array:
    """‖[v_i, v_j]‖ over all parameters, for every example i and partner j: (n, n), or (n, len(partners)).

    The brackets are computed in blocks of at most 2²⁶ numbers, or one bracket.  Other arguments and errors are
    those of `gradients`.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> norms = bracket_norms(model, *model.init(seed=0), np.eye(2), np.array([[0.0], [1.0]]))
    >>> bool(norms[0, 0] == 0 and norms[0, 1] == norms[1, 0] > 0)
    True
    """
    problem = checked_problem(model, params, buffers, x, y, loss=loss, batches=False)
    columns = np.arange(len(x)) if partners is None else checked_indices("partners", partners, len(x))
    norms = np.zeros((len(x), len(columns)), problem.x.dtype)
    held = max(1, min(128, BUDGET // model.parameter_count))
    width = min(8, len(columns), math.isqrt(held))
    height = width if partners is None else held // width
    for row in range(0, len(x), height):
        rows = np.arange(row, min(row + height, len(x)))
        for column in range(row if partners is None else 0, len(columns), width):
            chosen = columns[column : column + width]
            both = np.sort([(i, j) for i in rows for j in chosen])  # [v_j, v_i] = −[v_i, v_j]
            pairs, place = np.unique(both, axis=0, return_inverse=True)
            sizes = tensor_norms(_of_pairs(problem, pairs))
            norms[rows, column : column + len(chosen)] = sizes[place.ravel()].reshape(len(rows), -1)
    if partners is None:  # only the upper triangle was computed
        norms = np.triu(norms) + np.triu(norms, 1).T
    return checked_result(norms, errors)


def _of_pairs(problem: Problem, pairs: Array) -> Arrays:
    """The brackets of these pairs, from the gradients of the examples in them."""
    used, local = np.unique(pairs, return_inverse=True)
    part = replace(problem, x=problem.x[used], y=problem.y[used], pairs=local.reshape(pairs.shape))
    return engine.brackets(part, engine.gradients(part))


def swap_effects(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    pairs: Pairs,
    optimizer: Optimizer,
    loss: LossLike = "bce",
    errors: Errors = "raise",
) -> tuple[Arrays, Arrays]:
    """What a swap of i and j changes under an optimizer in a given state: (first, second), each name → (p, *shape).

    θ(step on i, then j) − θ(step on j, then i) = ε · first + ε² · second + O(ε³) for each pair, with batch-norm in
    evaluation mode.  `core.optimizers` has the formulas.  Other arguments and errors are those of `brackets`.

    >>> from lie_ref import mlp, optimizers
    >>> model = mlp([2, 3, 1])
    >>> params, buffers = model.init(seed=0)
    >>> state = optimizers.Momentum({name: np.zeros_like(p) for name, p in params.items()}, momentum=0.5)
    >>> x, y = np.eye(2), np.array([[0.0], [1.0]])
    >>> first, second = swap_effects(model, params, buffers, x, y, [(0, 1)], state)
    >>> g = gradients(model, params, buffers, x, y)
    >>> bool(np.allclose(first["2.bias"][0], -0.5 * (g["2.bias"][0] - g["2.bias"][1])))
    True
    """
    problem = checked_problem(model, params, buffers, x, y, pairs, loss=loss, batches=False)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected one of lie_ref.optimizers, got {shortened(optimizer)}")
    try:
        updates = optimizer.step(problem.params, problem.params)[0]
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f"optimizer: expected a state with the parameters' names and shapes, got others ({error})"
        ) from error
    check_shapes("optimizer", updates, {name: p.shape for name, p in problem.params.items()})
    if not all(isinstance(update, np.ndarray) for update in updates.values()):
        raise TypeError("optimizer: expected a state of NumPy arrays, got one of other arrays")
    g, dtype = engine.gradients(problem), problem.x.dtype  # that of the state may be another
    effects = (swap_effect(problem, g, optimizer, order) for order in (1, 2))
    first, second = ({name: a.astype(dtype, copy=False) for name, a in effect.items()} for effect in effects)
    return checked_result(first, errors), checked_result(second, errors)


def swap_effect(problem: Problem, g: Arrays, optimizer: Optimizer, order: int) -> Arrays:
    """The factor of ε, or of ε² for order 2, for each pair, from the gradients g of all fields: name → (p, *shape)."""
    g_i, g_j = ({name: a[problem.pairs[:, side]] for name, a in g.items()} for side in range(2))
    if order == 1:
        return first_order_effect(optimizer, problem.params, g_i, g_j)
    products = engine.products(problem, optimizer.step(g, problem.params)[0])
    sides = ({name: h[:, side] for name, h in products.items()} for side in range(2))
    return second_order_effect(optimizer, problem.params, g_i, g_j, *sides)


def push_forward(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x_eval: Array,
    tangents: Mapping[str, Array],
    errors: Errors = "raise",
) -> Array:
    """D_θ z(x_eval) · t_k, the change of the logits along each tangent t_k of the parameters: (k, n_eval, n_out).

    `tangents` is name → (k, *shape), as `brackets` returns it.  Batch-norm is in evaluation mode.  Errors
    are those of `gradients`.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> params, buffers = model.init(seed=0)
    >>> tangents = {name: np.zeros((4, *p.shape)) for name, p in params.items()}
    >>> push_forward(model, params, buffers, np.ones((5, 2)), tangents).shape
    (4, 5, 1)
    """
    weights = checked_weights(model, params, buffers)
    x_eval = checked_inputs("x_eval", weights, x_eval)
    changes = engine.push_forward(weights, x_eval, checked_directions("tangents", weights, tangents))[1]
    return checked_result(changes, errors)


def logits(model: Model, params: Arrays, buffers: Arrays, x: Array) -> Array:
    """The logits (n, n_out) in evaluation mode: what `model.apply` gives, sooner.  Errors are those of `gradients`."""
    weights = checked_weights(model, params, buffers)
    return engine.logits(weights, checked_inputs("x", weights, x))


def tensor_norms(arrays: Arrays) -> Array:
    """The norm of each gradient or bracket over all tensors, (n,), from name → (n, *shape)."""
    return row_norms(np.stack([row_norms(a) for a in arrays.values()], axis=1))
