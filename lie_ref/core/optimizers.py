"""What swapping two examples does under the optimizer in use, to second order in the learning rate.

An optimizer turns the gradient into an update u that depends on its state, and θ moves by −εu.  Steps on i and then on
j move it by −ε u(g_i(θ)) − ε u'(g_j(θ − ε u_i)), where u' is u with the state that the step on i left.  Write

    u_i = u(g_i(θ)),    u_ij = u'(g_j(θ)),    s_ij = ∂u'/∂g at g_j(θ), entry by entry, as these optimizers work.

Then the order of the two steps makes the difference

    θ(i then j) − θ(j then i) = ε [u_j + u_ji − u_i − u_ij] + ε² [s_ij H_j u_i − s_ji H_i u_j] + O(ε³).

For plain gradient steps the first term vanishes, and the second is the Lie bracket H_j g_i − H_i g_j of the fields −g.
For steps −εPg with a fixed preconditioner P it is the bracket P H_j P g_i − P H_i P g_j of the fields −Pg.  A state
that remembers gradients adds the first term, which is not part of any Lie bracket.

Gradients are points as in `fields`; they may have leading axes, (…, *shape), for a state (*shape).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from .fields import Point, difference, tree_map
from .types import Array


class Optimizer(Protocol):
    """The state of an optimizer between two steps, which never changes in place.

    `step(g)` gives the update u and the state after the step; `slope(g)` gives ∂u/∂g, entry by entry.
    """

    def step(self, gradient: Point) -> tuple[Point, Optimizer]: ...
    def slope(self, gradient: Point) -> Point: ...


@dataclass(frozen=True)
class GradientDescent:
    """u = g, with slope 1: torch.optim.SGD, which has no state."""

    def step(self, gradient: Point) -> tuple[Point, GradientDescent]:
        return gradient, self

    def slope(self, gradient: Point) -> Point:
        return tree_map(np.ones_like, gradient)


@dataclass(frozen=True)
class FixedPreconditioner:
    """u = P g with a fixed diagonal matrix P; the point `preconditioner` is its diagonal."""

    preconditioner: Point

    def step(self, gradient: Point) -> tuple[Point, FixedPreconditioner]:
        return tree_map(lambda g, p: p * g, gradient, self.preconditioner), self

    def slope(self, gradient: Point) -> Point:
        return self.preconditioner


@dataclass(frozen=True)
class Momentum(GradientDescent):
    """torch.optim.SGD with momentum μ (Polyak 1964): b ← μ b + g, u = b, slope 1; `buffer` is b, at first zeros."""

    buffer: Point
    momentum: float = 0.9

    def step(self, gradient: Point) -> tuple[Point, Momentum]:
        buffer = tree_map(lambda b, g: self.momentum * b + g, self.buffer, gradient)
        return buffer, replace(self, buffer=buffer)


@dataclass(frozen=True)
class AdamState:
    """torch.optim.Adam (Kingma & Ba 2015) after `count` steps: running means of g and g², at first zeros.

    m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  u = m̂ / (√v̂ + ε̂),  m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ).
    """

    mean: Point
    square: Point
    count: int
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def step(self, gradient: Point) -> tuple[Point, AdamState]:
        beta1, beta2 = self.betas
        mean = tree_map(lambda m, g: beta1 * m + (1 - beta1) * g, self.mean, gradient)
        square = tree_map(lambda v, g: beta2 * v + (1 - beta2) * g * g, self.square, gradient)
        after = replace(self, mean=mean, square=square, count=self.count + 1)
        return tree_map(lambda m, p: m / after._unbias()[0] * p, mean, after.preconditioner()), after

    def slope(self, gradient: Point) -> Point:
        after, (beta1, beta2) = self.step(gradient)[1], self.betas
        unbias1, unbias2 = after._unbias()

        def slope(m: Array, v: Array, g: Array) -> Array:
            root = np.sqrt(v / unbias2)
            # ∂√v̂/∂g; where v is 0, so is g
            d_root = (1 - beta2) / unbias2 * np.divide(g, root, out=np.zeros_like(root), where=root > 0)
            return ((1 - beta1) - m * d_root / (root + self.eps)) / (unbias1 * (root + self.eps))

        return tree_map(slope, after.mean, after.square, gradient)

    def preconditioner(self) -> Point:
        """1 / (√v̂ + ε̂) after the last step.  Raises ValueError before the first step."""
        if self.count == 0:
            raise ValueError("count: expected at least 1, as Adam has no preconditioner before its first step, got 0")
        return tree_map(lambda v: 1 / (np.sqrt(v / self._unbias()[1]) + self.eps), self.square)

    def _unbias(self) -> tuple[float, float]:
        return 1 - self.betas[0] ** self.count, 1 - self.betas[1] ** self.count


def first_order_effect(optimizer: Optimizer, g_i: Point, g_j: Point) -> Point:
    """u_j + u_ji − u_i − u_ij, the factor of ε.  It is exactly 0 for an optimizer without memory.

    >>> first_order_effect(Momentum(np.zeros(2), 0.5), np.array([3.0, 0.0]), np.array([1.0, 1.0]))  # −μ (g_i − g_j)
    array([-1. ,  0.5])
    """
    (u_i, after_i), (u_j, after_j) = optimizer.step(g_i), optimizer.step(g_j)
    return tree_map(lambda i, ij, j, ji: (j + ji) - (i + ij), u_i, after_i.step(g_j)[0], u_j, after_j.step(g_i)[0])


def second_order_effect(optimizer: Optimizer, g_i: Point, g_j: Point, h_j_u_i: Point, h_i_u_j: Point) -> Point:
    """s_ij H_j u_i − s_ji H_i u_j, the factor of ε²; u_i is the update of `optimizer.step(g_i)`.

    >>> g_i, g_j = np.array([3.0, 0.0]), np.array([1.0, 1.0])
    >>> h_i, h_j = np.diag([1.0, 0.0]), np.diag([2.0, 2.0])
    >>> second_order_effect(GradientDescent(), g_i, g_j, h_j @ g_i, h_i @ g_j)  # the Lie bracket H_j g_i − H_i g_j
    array([5., 0.])
    """
    s_ij, s_ji = optimizer.step(g_i)[1].slope(g_j), optimizer.step(g_j)[1].slope(g_i)
    return difference(tree_map(np.multiply, s_ij, h_j_u_i), tree_map(np.multiply, s_ji, h_i_u_j))
