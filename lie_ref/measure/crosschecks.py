"""Cross-checks of exact brackets: by differences of gradients, by the order swap itself, by reverse over reverse.

The differences take the gradient of a loss as a function of θ, an array or a flat dict of arrays, however it was found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.fields import Loss, Point, hvp_reverse_over_reverse, inner, tree_map, vector_field
from ..core.losses import LossFunction, loss_function
from ..core.networks import Arrays, Model
from ..core.optimizers import AdamState, FixedPreconditioner, GradientDescent, Momentum, Optimizer
from ..fast.dual import Array
from ..fast.engine import batch_brackets, brackets, gradients, swap_effects

Gradient = Callable[[Point], Point]
GRADIENT_DESCENT = GradientDescent()

# Steps to try, relative to |θ|.  Where two entries of a max-pool window change places within a step, the gradient jumps
# and no expansion in powers of the step holds; two estimates with different steps then disagree, and the next smaller
# step is tried.  Differences are formed so that rounding leaves enough digits even at the smallest.
STEPS = (1e-5, 1e-6, 1e-7, 1e-8)
AGREEMENT = 1e-7  # of two differences of the gradient, if nothing jumps
# By the order, how much two extrapolations of order swaps in ε may differ, relative to the change.  In the second
# a jump adds 1/ε; in the first it only shifts the line, which one more swap, so many times nearer, tells.
STRAIGHTNESS = {1: 0.01, 2: 0.1}
NEARER = 256


def hvp_by_differences(gradient: Gradient, theta: Point, direction: Point, steps: Sequence[float] = STEPS) -> Point:
    """∇²L(θ)·d by central differences D(h) of the gradient, extrapolated: (4 D(h/2) − D(h)) / 3, error O(h⁴).

    `steps` are |h d| / |θ|, largest first; the first is taken at which D(h) and D(h/2) agree to `AGREEMENT`, or else
    the last.

    >>> hvp_by_differences(lambda t: t**3, np.array([1.0]), np.array([2.0])).round(9)
    array([6.])
    """

    def difference(h: float) -> Point:
        ahead = gradient(tree_map(lambda t, d: t + h * d, theta, direction))
        behind = gradient(tree_map(lambda t, d: t - h * d, theta, direction))
        return tree_map(lambda a, b: (a - b) / (2 * h), ahead, behind)

    if not _norm(direction):
        return tree_map(np.zeros_like, direction)
    for step in steps:
        h = step * (_norm(theta) or 1.0) / _norm(direction)
        coarse, fine = difference(h), difference(h / 2)
        if relative_error(coarse, fine) <= AGREEMENT:
            break
    return tree_map(lambda a, b: (4 * a - b) / 3, fine, coarse)


def bracket_by_differences(gradient_x: Gradient, gradient_y: Gradient, theta: Point) -> Point:
    """[v_x, v_y] = H_y g_x − H_x g_y with both products by `hvp_by_differences`."""
    along_x = hvp_by_differences(gradient_y, theta, gradient_x(theta))
    along_y = hvp_by_differences(gradient_x, theta, gradient_y(theta))
    return _difference(along_x, along_y)


def bracket_reverse_over_reverse(loss_x: Loss, loss_y: Loss, theta: Point) -> Point:
    """[v_x, v_y] = H_x v_y − H_y v_x with both products by reverse over reverse.

    >>> bracket_reverse_over_reverse(lambda t: t[0] * t[1], lambda t: t[0] ** 2, np.array([1.0, 3.0]))
    array([ 6., -2.])
    """
    along_y = hvp_reverse_over_reverse(loss_x, theta, vector_field(loss_y)(theta))
    along_x = hvp_reverse_over_reverse(loss_y, theta, vector_field(loss_x)(theta))
    return _difference(along_y, along_x)


def order_swap(
    gradient_x: Gradient,
    gradient_y: Gradient,
    theta: Point,
    epsilon: float,
    optimizer: Optimizer = GRADIENT_DESCENT,
    order: int = 2,
) -> Point:
    """(θ(x then y) − θ(y then x)) / ε^order: for steps θ ↦ θ − ε g(θ) the bracket [v_x, v_y] up to O(ε).

    Both ends are kept as displacements from θ, so that the difference of two nearly equal points loses few digits.

    >>> order_swap(lambda t: t, lambda t: np.array([1.0, 0.0]), np.array([2.0, 3.0]), epsilon=0.5)
    array([-1.,  0.])
    """

    def displacement(first: Gradient, second: Gradient) -> Point:
        update, after = optimizer.step(first(theta))
        once = tree_map(lambda u: -epsilon * u, update)
        update, _ = after.step(second(tree_map(lambda t, d: t + d, theta, once)))
        return tree_map(lambda d, u: d - epsilon * u, once, update)

    return tree_map(
        lambda xy, yx: (xy - yx) / epsilon**order,
        displacement(gradient_x, gradient_y),
        displacement(gradient_y, gradient_x),
    )


@dataclass(frozen=True)
class OrderSwap:
    """How the order swap approaches its limit: `error[k]` = |swap(ε_k) / ε_kⁿ − limit| / |limit| at `epsilon[k]`.

    `observed_order` is the slope of log error against log ε: 1 when the limit is right (the error is then C ε), 0
    when it is not, and None where an error is zero or infinite.
    """

    epsilon: list[float]
    error: list[float]
    observed_order: float | None


def order_swap_convergence(
    gradient_x: Gradient,
    gradient_y: Gradient,
    theta: Point,
    limit: Point,
    optimizer: Optimizer = GRADIENT_DESCENT,
    order: int = 2,
    steps: Sequence[float] = STEPS,
) -> OrderSwap:
    """Compare a bracket, or another effect of the given order in ε, with the order swap at ε, ε/2, ε/4 and ε/8.

    `steps` are ε · max(|u_x|, |u_y|) / |θ| with the optimizer's updates u, largest first; the first is taken at which
    the four swaps lie on a line in ε, to `STRAIGHTNESS`, and in the first order that line leads to the swap at
    ε / `NEARER`; or else the last.  The choice does not depend on `limit`.

    >>> x, y = (lambda t: t**2), (lambda t: np.ones(1))
    >>> swap = order_swap_convergence(x, y, np.array([3.0]), limit=np.array([-6.0]))
    >>> round(swap.observed_order, 2)
    1.0
    """
    longest = max(_norm(optimizer.step(gradient(theta))[0]) for gradient in (gradient_x, gradient_y)) or 1.0
    for step in steps:
        epsilons = [step * (_norm(theta) or 1.0) / longest / 2**k for k in range(4)]
        swaps = [order_swap(gradient_x, gradient_y, theta, epsilon, optimizer, order) for epsilon in epsilons]
        limits = [tree_map(lambda s, t: 2 * t - s, *swaps[k : k + 2]) for k in (0, 2)]
        if order == 1:  # then a jump that all four cross shifts their line and leaves it straight
            limits.append(order_swap(gradient_x, gradient_y, theta, epsilons[0] / NEARER, optimizer, order))
        apart = max(_norm(_difference(other, limits[1])) for other in limits)
        if apart <= STRAIGHTNESS[order] * _norm(_difference(swaps[0], swaps[-1])):
            break
    errors = [relative_error(swap, limit) for swap in swaps]
    if not all(0 < error < np.inf for error in errors):
        return OrderSwap(epsilons, errors, None)
    return OrderSwap(epsilons, errors, float(np.polyfit(np.log(epsilons), np.log(errors), 1)[0]))


def relative_error(a: Point, b: Point) -> float:
    """|a − b| / |b| over all arrays together; 0 where both are zero, infinite where only b is.

    >>> relative_error(np.array([3.0, 4.5]), np.array([3.0, 4.0]))
    0.1
    """
    error, size = _norm(_difference(a, b)), _norm(b)
    if size == 0:
        return float("inf") if error else 0.0
    return error / size


def largest_relative_error(a: Arrays, b: Arrays) -> float:
    """The largest `relative_error` of any one tensor; nan if one is."""
    return float(np.max([relative_error(a[name], b[name]) for name in b]))


def _in_double(arrays: Arrays) -> Arrays:
    return {name: np.asarray(a, np.promote_types(np.asarray(a).dtype, np.float64)) for name, a in arrays.items()}


def _difference(a: Point, b: Point) -> Point:
    return tree_map(lambda u, v: u - v, a, b)


def _norm(point: Point) -> float:
    return float(np.sqrt(inner(point, point)))


@dataclass(frozen=True)
class BracketCheck:
    """How far a bracket is from three other derivations of it.

    `hvp_modes`: from reverse over reverse, by autograd through the layers' definitions, the largest relative error of
    any one tensor; `richardson`: from differences of the gradient, the same; `order_swap`: from the order itself.
    """

    hvp_modes: float
    richardson: float
    order_swap: OrderSwap


def check_bracket(
    model: Model, params: Arrays, buffers: Arrays, x: Array, y: Array, bracket: Arrays, loss: str | LossFunction = "bce"
) -> BracketCheck:
    """Check the bracket of the two examples x (2, …), y (2, …), name → (*shape), three ways, in float64 or better.

    >>> from lie_ref import brackets, mlp
    >>> model = mlp([2, 3, 1])
    >>> (params, buffers), x, y = model.init(seed=0), np.eye(2), np.array([[0.0], [1.0]])
    >>> bracket = {name: b[0] for name, b in brackets(model, params, buffers, x, y, [(0, 1)]).items()}
    >>> check_bracket(model, params, buffers, x, y, bracket).hvp_modes < 1e-12
    True
    """

    params, buffers, bracket = (_in_double(arrays) for arrays in (params, buffers, bracket))
    x = _in_double({"x": x})["x"]

    def loss_of(i: int) -> Loss:
        return lambda p: loss_function(loss).definition(model.apply(p, buffers, x[i : i + 1]), y[i : i + 1])[0]

    gradient_of = _gradients_of(model, buffers, x, y, loss)
    return BracketCheck(
        hvp_modes=largest_relative_error(bracket_reverse_over_reverse(loss_of(0), loss_of(1), params), bracket),
        richardson=largest_relative_error(bracket_by_differences(gradient_of(0), gradient_of(1), params), bracket),
        order_swap=order_swap_convergence(gradient_of(0), gradient_of(1), params, bracket),
    )


def check_swaps(
    model: Model,
    params: Arrays,
    buffers: Arrays,
    x: Array,
    y: Array,
    adam: AdamState,
    loss: str | LossFunction = "bce",
) -> dict[str, OrderSwap]:
    """The swap of the two examples x (2, …), y (2, …) carried out with optimizers in this state, beside the formulas.

    "adam" with its state and "sgd-momentum" with the same mean gradient, both to first order in ε, and "preconditioned"
    with Adam's preconditioner held fixed, to second (left out before Adam's first step, when it has none).
    """
    beta = adam.betas[0]
    momentum = Momentum(tree_map(lambda m: m / (1 - beta), adam.mean), beta)
    optimizers: dict[str, tuple[Optimizer, int]] = {"sgd-momentum": (momentum, 1), "adam": (adam, 1)}
    if adam.count:
        optimizers["preconditioned"] = FixedPreconditioner(adam.preconditioner()), 2

    gradient_of, found = _gradients_of(model, buffers, x, y, loss), {}
    for name, (optimizer, order) in optimizers.items():
        effect = swap_effects(model, params, buffers, x, y, [(0, 1)], optimizer, loss)[order - 1]
        limit = {key: a[0] for key, a in effect.items()}
        found[name] = order_swap_convergence(gradient_of(0), gradient_of(1), params, limit, optimizer, order)
    return found


def _gradients_of(
    model: Model, buffers: Arrays, x: Array, y: Array, loss: str | LossFunction
) -> Callable[[int], Gradient]:
    """i ↦ the gradient of the loss of example i, as a function of the parameters."""
    return lambda i: (
        lambda p: {name: g[0] for name, g in gradients(model, p, buffers, x[i : i + 1], y[i : i + 1], loss).items()}
    )


def mini_batch_error(
    model: Model, params: Arrays, buffers: Arrays, x: Array, y: Array, loss: str | LossFunction = "bce"
) -> float:
    """How far the bracket of two mini-batches x (2, m, …), y (2, m, …) is from the mean over all pairs of examples.

    The largest relative error of any one tensor, batch-norm in evaluation mode; rounding, if all is right.
    """
    m = x.shape[1]
    whole = batch_brackets(model, params, buffers, x, y, [(0, 1)], loss)
    pairs = [(i, m + j) for i in range(m) for j in range(m)]
    single = brackets(
        model, params, buffers, x.reshape(2 * m, *x.shape[2:]), y.reshape(2 * m, *y.shape[2:]), pairs, loss
    )
    return largest_relative_error({k: b.mean(axis=0) for k, b in single.items()}, {k: b[0] for k, b in whole.items()})
