"""Brackets without second derivatives: by differences of gradients, and by carrying out the order swap itself.

The gradient of a loss is a function of a point θ, an array or a flat dict of arrays, however it is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .fields import Point, difference, norm, tree_map
from .optimizers import GradientDescent, Optimizer

Gradient = Callable[[Point], Point]
GRADIENT_DESCENT = GradientDescent()

# Steps to try, relative to |θ|.  Where two entries of a max-pool window change places within a step, the gradient jumps
# and no expansion in powers of the step holds.  Two estimates with different steps then disagree, and the next smaller
# step is tried.  Differences are formed so that rounding leaves enough digits even at the smallest.
STEPS = (1e-5, 1e-6, 1e-7, 1e-8)
AGREEMENT = 1e-7  # of two differences of the gradient, if nothing jumps
# How much two extrapolations of order swaps may differ, relative to the change, by the order of the effect in ε.  In
# the second order a jump adds 1/ε.  In the first it only shifts the line; one more swap, `NEARER` as far, shows it.
STRAIGHTNESS = {1: 0.01, 2: 0.1}
NEARER = 256


def hvp_by_differences(gradient: Gradient, theta: Point, direction: Point, steps: Sequence[float] = STEPS) -> Point:
    """∇²L(θ)·d by central differences D(h) of the gradient, extrapolated: (4 D(h/2) − D(h)) / 3, error O(h⁴).

    `steps` are |h d| / |θ|, largest first.  The first is taken at which D(h) and D(h/2) agree to `AGREEMENT`, or else
    the last.

    >>> hvp_by_differences(lambda t: t**3, np.array([1.0]), np.array([2.0])).round(9)
    array([6.])
    """

    def quotient(h: float) -> Point:
        ahead = gradient(tree_map(lambda t, d: t + h * d, theta, direction))
        behind = gradient(tree_map(lambda t, d: t - h * d, theta, direction))
        return tree_map(lambda a, b: (a - b) / (2 * h), ahead, behind)

    if not norm(direction):
        return tree_map(np.zeros_like, direction)
    for step in steps:
        h = step * (norm(theta) or 1.0) / norm(direction)
        coarse, fine = quotient(h), quotient(h / 2)
        if relative_error(coarse, fine) <= AGREEMENT:
            break
    return tree_map(lambda a, b: (4 * a - b) / 3, fine, coarse)


def bracket_by_differences(gradient_x: Gradient, gradient_y: Gradient, theta: Point) -> Point:
    """[v_x, v_y] = H_y g_x − H_x g_y with both products by `hvp_by_differences`."""
    along_x = hvp_by_differences(gradient_y, theta, gradient_x(theta))
    return difference(along_x, hvp_by_differences(gradient_x, theta, gradient_y(theta)))


def order_swap(
    gradient_x: Gradient,
    gradient_y: Gradient,
    theta: Point,
    epsilon: float,
    optimizer: Optimizer = GRADIENT_DESCENT,
    order: int = 2,
) -> Point:
    """(θ(x then y) − θ(y then x)) / ε^order: for steps θ ↦ θ − ε g(θ), the bracket [v_x, v_y] up to O(ε).

    Both ends are kept as displacements from θ, so that the difference of two nearly equal points loses few digits.

    >>> order_swap(lambda t: t, lambda t: np.array([1.0, 0.0]), np.array([2.0, 3.0]), epsilon=0.5)
    array([-1.,  0.])
    """

    def displacement(first: Gradient, second: Gradient) -> Point:
        update, after = optimizer.step(first(theta))
        once = tree_map(lambda u: -epsilon * u, update)
        update, _ = after.step(second(tree_map(lambda t, d: t + d, theta, once)))
        return tree_map(lambda d, u: d - epsilon * u, once, update)

    swap = difference(displacement(gradient_x, gradient_y), displacement(gradient_y, gradient_x))
    return tree_map(lambda d: d / epsilon**order, swap)


@dataclass(frozen=True)
class OrderSwap:
    """How the order swap approaches its limit: `error[k]` = |swap(ε_k) / ε_kⁿ − limit| / |limit| at `epsilon[k]`.

    `observed_order` is the slope of log error against log ε.  It is 1 when the limit is right (the error is then C ε),
    0 when it is wrong, and None where an error is zero or infinite.
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

    `steps` are ε · max(|u_x|, |u_y|) / |θ| with the updates u of the optimizer, largest first.  The first is taken at
    which the four swaps lie on a line in ε, to `STRAIGHTNESS`, and in the first order that line also leads to the swap
    at ε / `NEARER`; or else the last.  The choice does not depend on `limit`.

    >>> x, y = (lambda t: t**2), (lambda t: np.ones(1))
    >>> swap = order_swap_convergence(x, y, np.array([3.0]), limit=np.array([-6.0]))
    >>> round(swap.observed_order, 2)
    1.0
    """

    def swap(epsilon: float) -> Point:
        return order_swap(gradient_x, gradient_y, theta, epsilon, optimizer, order)

    longest = max(norm(optimizer.step(gradient(theta))[0]) for gradient in (gradient_x, gradient_y)) or 1.0
    for step in steps:
        epsilons = [step * (norm(theta) or 1.0) / longest / 2**k for k in range(4)]
        swaps = [swap(epsilon) for epsilon in epsilons]
        limits = [tree_map(lambda s, t: 2 * t - s, *swaps[k : k + 2]) for k in (0, 2)]
        if order == 1:  # then a jump that all four cross shifts their line and leaves it straight
            limits.append(swap(epsilons[0] / NEARER))
        apart = max(norm(difference(other, limits[1])) for other in limits)
        if apart <= STRAIGHTNESS[order] * norm(difference(swaps[0], swaps[-1])):
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
    error, size = norm(difference(a, b)), norm(b)
    if size == 0:
        return float("inf") if error else 0.0
    return error / size
