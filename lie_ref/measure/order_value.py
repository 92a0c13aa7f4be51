"""Which of two orders is better: what a swap of two examples does to the loss on others, to second order.

Training on i then j ends at the θ of j then i, plus ε² [v_i, v_j].  The mean loss L on other examples
therefore differs by ε² ⟨∇L, [v_i, v_j]⟩ + O(ε³).  The Hessians are symmetric, so

    ⟨∇L, [v_i, v_j]⟩ = ⟨∇L, H_j g_i − H_i g_j⟩ = ⟨g_i, H_j ∇L⟩ − ⟨g_j, H_i ∇L⟩

and n Hessian-vector products give the values of all n (n − 1) / 2 pairs (as in Sweeney 2026, "The Geometry of
Sequential Learning: Lie-Bracket Prediction of Transfer Order").
"""

from dataclasses import replace

import numpy as np

from ..core.networks import Model
from ..core.problem import Problem
from ..core.types import Array, Arrays
from ..fast import engine
from ..fast.arguments import Errors, LossLike, checked_inputs, checked_problem, checked_result, checked_targets

BATCH = 64  # examples at a time in the gradient of a mean loss
MOST = 16  # the most fields that `best_order` takes


def order_value(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    x_val: Array,
    y_val: Array,
    loss: LossLike = "bce",
    errors: Errors = "raise",
) -> Array:
    """⟨∇L, [v_i, v_j]⟩ for all pairs of n examples, where L is the mean loss on (x_val, y_val): (n, n), antisymmetric.

    Times ε², it is the loss after "i then j" minus the loss after "j then i".  If it is negative, i first is better.
    x is (n, channels, height, width) or (n, features), y is (n, n_out), or (n,) integers for "softmax"; x_val and y_val
    likewise, for any number of examples.  Batch-norm is in evaluation mode, and the result has the dtype of the
    parameters.  Raises ValueError or TypeError for arrays that do not fit, and ValueError for a result that is not
    finite, unless `errors` is "ignore".

    >>> from lie_ref import brackets, gradients, mlp
    >>> state = mlp([2, 3, 1]), *mlp([2, 3, 1]).init(seed=0)
    >>> x, y = np.eye(2), np.array([[0.0], [1.0]])
    >>> value = order_value(*state, x, y, x_val=x[:1], y_val=y[:1])
    >>> g, bracket = gradients(*state, x[:1], y[:1]), brackets(*state, x, y, [(0, 1)])
    >>> bool(np.isclose(value[0, 1], sum((g[name] * bracket[name]).sum() for name in g)))
    True
    """
    problem = checked_problem(model, params, buffers, x, y, loss=loss, batches=False)
    x_val = checked_inputs("x_val", problem, x_val)
    y_val = checked_targets("y_val", model.n_out, y_val, x_val.shape[:1], x_val.dtype, loss)
    held_out = replace(problem, x=x_val, y=y_val, x_eval=x_val)
    return checked_result(values(problem, mean_gradient(held_out)), errors)


def values(problem: Problem, gradient: Arrays) -> Array:
    """The values (f, f) of all pairs of the fields of a problem, for the gradient ∇L, name → (*shape)."""
    g = engine.gradients(problem)
    turned = engine.hvps(problem, {name: a[None] for name, a in gradient.items()})
    along = sum(g[name].reshape(len(g[name]), -1) @ h[0].reshape(len(h[0]), -1).T for name, h in turned.items())
    return along - along.T


def mean_gradient(problem: Problem) -> Arrays:
    """∇L of the mean loss over all examples of a problem: name → (*shape)."""
    total = {name: np.zeros_like(p) for name, p in problem.params.items()}
    for start in range(0, len(problem.x), BATCH):
        x, y = (a[None, start : start + BATCH] for a in (problem.x, problem.y))
        for name, g in engine.gradients(replace(problem, x=x, y=y, x_eval=x[0])).items():
            total[name] += g[0] * (x.shape[1] / len(problem.x))
    return total


def best_order(values: Array) -> Array:
    """The order with the least `order_sum`, by dynamic programming over the sets of fields that come first.

    Raises ValueError for more than `MOST` fields, because there are 2ⁿ such sets.

    >>> best_order(np.array([[0, 2, -1], [-2, 0, -3], [1, 3, 0]])).tolist()
    [1, 0, 2]
    """
    count = len(values)
    if count > MOST:
        raise ValueError(f"values: expected those of at most {MOST} fields, got {count}")
    first = np.arange(1 << count)
    before = (first[:, None] >> np.arange(count) & 1) @ values  # [set, a] = Σ of the values of (b, a) for b in the set
    least, last = np.zeros(1 << count), np.zeros(1 << count, int)
    for chosen in first[1:].tolist():
        rest = [(a, chosen ^ 1 << a) for a in range(count) if chosen >> a & 1]
        least[chosen], last[chosen] = min((least[others] + before[others, a], a) for a, others in rest)
    order, chosen = [], (1 << count) - 1
    while chosen:
        order.append(int(last[chosen]))
        chosen ^= 1 << order[-1]
    return np.array(order[::-1])


def order_sum(values: Array, order: Array) -> float:
    """The loss after steps in this order minus its mean over all orders, in units of ε².

    It is half of the sum of the values of all pairs (a, b) in which a stands before b.

    >>> order_sum(np.array([[0, 2], [-2, 0]]), np.array([1, 0]))
    -1.0
    """
    return float(np.triu(values[np.ix_(order, order)], 1).sum()) / 2
