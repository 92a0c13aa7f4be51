"""Brackets without second derivatives: by differences of gradients, and by carrying out the order swap itself.

The gradients ∇L may be any functions of a point θ, which is an array or a flat dict of arrays.
"""

from collections.abc import Sequence

import numpy as np

from .fields import Field, Point, checked, difference, norm, tree_map
from .optimizers import Optimizer

PLAIN = Optimizer()  # gradient descent
# Steps to try, relative to |θ|.  Where the gradient jumps within a step, as at a kink or where entries of a max-pool
# window change places, estimates with two steps disagree by more than `AGREEMENT`.  Then the next step is tried.
STEPS = (1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
AGREEMENT = 1e-7


def hvp_by_differences(gradient: Field, theta: Point, direction: Point, steps: Sequence[float] = STEPS) -> Point:
    """∇²L(θ)·d by central differences D(h) of the gradient, extrapolated: (4 D(h/2) − D(h)) / 3, error O(h⁴).

    `steps` are |h d| / |θ|.  It uses the first at which D(h) and D(h/2) agree to `AGREEMENT`, or else the one at which
    they agree best.  Raises TypeError for a θ below float64, of which differences have no digits.

    >>> hvp_by_differences(lambda t: t**3, np.array([1.0]), np.array([2.0])).round(9)
    array([6.])
    """

    def quotient(h: float) -> Point:
        ahead, behind = (gradient(tree_map(lambda t, d, k=k: t + k * d, theta, direction)) for k in (h, -h))
        return tree_map(lambda a, b: (a - b) / (2 * h), ahead, behind)

    theta, direction, best = checked("theta", theta, bits=52), checked("direction", direction, theta), np.inf
    for step in steps:
        h = step * (norm(theta) or 1.0) / (norm(direction) or 1.0)
        coarse, fine = quotient(h), quotient(h / 2)
        if not (apart := relative_error(coarse, fine)) > best:
            best, found = apart, tree_map(lambda a, b: (4 * a - b) / 3, fine, coarse)
        if best <= AGREEMENT:
            break
    return found


def bracket_by_differences(gradient_x: Field, gradient_y: Field, theta: Point) -> Point:
    """[v_x, v_y] = H_y g_x − H_x g_y with both products by `hvp_by_differences`."""
    along_x = hvp_by_differences(gradient_y, theta, gradient_x(theta))
    return difference(along_x, hvp_by_differences(gradient_x, theta, gradient_y(theta)))


def order_swap(
    gradient_x: Field, gradient_y: Field, theta: Point, epsilon: float, optimizer: Optimizer = PLAIN, order: int = 2
) -> Point:
    """(θ(x then y) − θ(y then x)) / ε^order: for steps θ ↦ θ − ε g(θ), the bracket [v_x, v_y] up to O(ε).

    For an optimizer with memory, `order` 1 gives its first-order effect, up to O(ε).  Both ends are kept as
    displacements from θ, so that the difference of two nearly equal points loses few digits.

    >>> order_swap(lambda t: t, lambda t: np.array([1.0, 0.0]), np.array([2.0, 3.0]), epsilon=0.5)
    array([-1.,  0.])
    """

    def displacement(first: Field, second: Field) -> Point:
        update, after = optimizer.step(first(theta), theta)
        once = tree_map(lambda u: -epsilon * u, update)
        update, _ = after.step(second(there := tree_map(lambda t, d: t + d, theta, once)), there)
        return tree_map(lambda d, u: d - epsilon * u, once, update)

    swap = difference(displacement(gradient_x, gradient_y), displacement(gradient_y, gradient_x))
    return tree_map(lambda d: d / epsilon**order, swap)


def relative_error(a: Point, b: Point) -> float:
    """|a − b| / |b| over all arrays together; 0 if both norms are, infinite if only that of b is.

    >>> relative_error(np.array([3.0, 4.5]), np.array([3.0, 4.0]))
    0.1
    """
    error, size = norm(difference(a, b)), norm(b)
    return error / size if size else float("inf") if error else 0.0
