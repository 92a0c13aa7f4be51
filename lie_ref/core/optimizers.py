"""What swapping two examples does under the optimizer in use, to second order in the learning rate.

An optimizer turns the gradient into an update u(g, θ) that depends on its state, and θ moves by −εu.  A step on i and
then one on j move θ by −ε u(g_i(θ), θ) and by −ε u'(g_j(θ − ε u_i), θ − ε u_i), where u' is u with the state that the
first step left.  Write u_i = u(g_i(θ), θ) and u_ij = u'(g_j(θ), θ), and d_ij for the derivative of u_ij as θ moves
along u_i, and the gradient with it: d_ij = ∂u'/∂g · H_j u_i + ∂u'/∂θ · u_i.  Then

    θ(i then j) − θ(j then i) = ε [u_j + u_ji − u_i − u_ij] + ε² [d_ij − d_ji] + O(ε³).

For plain gradient steps the first term vanishes, and the second is the Lie bracket H_j g_i − H_i g_j of the fields −g.
A state that remembers gradients adds the first term, which is not part of any Lie bracket.

Gradients are points as in `fields`; they may have leading axes, (…, *shape), for θ and a state (*shape).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .fields import Point, difference, tree_map
from .types import Array


class Optimizer:
    """The state of an optimizer between two steps, which never changes in place.

    This one is gradient descent, u = g, which is torch.optim.SGD and has no state; the others derive from it.
    `step(g, θ)` gives u and the state after the step; `change(g, θ, dg, dθ)` gives ∂u/∂g · dg + ∂u/∂θ · dθ.
    """

    def step(self, gradient: Point, theta: Point) -> tuple[Point, Optimizer]:
        return gradient, self

    def change(self, gradient: Point, theta: Point, d_gradient: Point, d_theta: Point) -> Point:
        return d_gradient


@dataclass(frozen=True)
class FixedPreconditioner(Optimizer):
    """u = P g with a fixed diagonal matrix P; the point `preconditioner` is its diagonal."""

    preconditioner: Point

    def step(self, gradient: Point, theta: Point) -> tuple[Point, FixedPreconditioner]:
        return tree_map(np.multiply, gradient, self.preconditioner), self

    def change(self, gradient: Point, theta: Point, d_gradient: Point, d_theta: Point) -> Point:
        return tree_map(np.multiply, d_gradient, self.preconditioner)


@dataclass(frozen=True)
class Momentum(Optimizer):
    """torch.optim.SGD with momentum μ (Polyak 1964): b ← μ b + g, u = b; `buffer` is b, at first zeros."""

    buffer: Point
    momentum: float = 0.9

    def step(self, gradient: Point, theta: Point) -> tuple[Point, Momentum]:
        buffer = tree_map(lambda b, g: self.momentum * b + g, self.buffer, gradient)
        return buffer, replace(self, buffer=buffer)


@dataclass(frozen=True)
class AdamState(Optimizer):
    """torch.optim.Adam (Kingma & Ba 2015) after `count` steps: running means of g and g², at first zeros.

    m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  u = m̂ / (√v̂ + ε̂),  m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ).
    """

    mean: Point
    square: Point
    count: int
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def step(self, gradient: Point, theta: Point) -> tuple[Point, AdamState]:
        beta1, beta2 = self.betas
        mean = tree_map(lambda m, g: beta1 * m + (1 - beta1) * g, self.mean, gradient)
        square = tree_map(lambda v, g: beta2 * v + (1 - beta2) * g * g, self.square, gradient)
        after = replace(self, mean=mean, square=square, count=self.count + 1)
        return tree_map(lambda m, p: m / after._unbias()[0] * p, mean, after.preconditioner()), after

    def change(self, gradient: Point, theta: Point, d_gradient: Point, d_theta: Point) -> Point:
        after, (beta1, beta2) = self.step(gradient, theta)[1], self.betas
        unbias1, unbias2 = after._unbias()

        def along(m: Array, v: Array, g: Array, dg: Array) -> Array:
            root = np.sqrt(v / unbias2)
            # ∂√v̂/∂g; where v is 0, so is g
            d_root = (1 - beta2) / unbias2 * np.divide(g, root, out=np.zeros_like(root), where=root > 0)
            return dg * ((1 - beta1) - m * d_root / (root + self.eps)) / (unbias1 * (root + self.eps))

        return tree_map(along, after.mean, after.square, gradient, d_gradient)

    def preconditioner(self) -> Point:
        """1 / (√v̂ + ε̂) after the last step.  Raises ValueError before the first step."""
        if self.count == 0:
            raise ValueError("count: expected at least 1, as Adam has no preconditioner before its first step, got 0")
        return tree_map(lambda v: 1 / (np.sqrt(v / self._unbias()[1]) + self.eps), self.square)

    def _unbias(self) -> tuple[float, float]:
        return 1 - self.betas[0] ** self.count, 1 - self.betas[1] ** self.count


@dataclass(frozen=True)
class WeightDecay(Optimizer):
    """Gives an optimizer g + λθ in place of g, and adds μθ to its update; λ is `l2`, μ is `decoupled`.

    `l2` is the `weight_decay` of torch.optim.SGD and Adam, `decoupled` that of AdamW (Loshchilov & Hutter 2019).
    """

    optimizer: Optimizer
    l2: float = 0.0
    decoupled: float = 0.0

    def step(self, gradient: Point, theta: Point) -> tuple[Point, WeightDecay]:
        update, after = self.optimizer.step(_plus(gradient, self.l2, theta), theta)
        return _plus(update, self.decoupled, theta), replace(self, optimizer=after)

    def change(self, gradient: Point, theta: Point, d_gradient: Point, d_theta: Point) -> Point:
        here, along = _plus(gradient, self.l2, theta), _plus(d_gradient, self.l2, d_theta)
        return _plus(self.optimizer.change(here, theta, along, d_theta), self.decoupled, d_theta)


def first_order_effect(optimizer: Optimizer, theta: Point, g_i: Point, g_j: Point) -> Point:
    """u_j + u_ji − u_i − u_ij, the factor of ε.  It is exactly 0 for an optimizer without memory.

    >>> theta, g_i, g_j = np.ones(2), np.array([3.0, 0.0]), np.array([1.0, 1.0])
    >>> first_order_effect(Momentum(np.zeros(2), 0.5), theta, g_i, g_j)  # −μ (g_i − g_j)
    array([-1. ,  0.5])
    """
    (u_i, after_i), (u_j, after_j) = optimizer.step(g_i, theta), optimizer.step(g_j, theta)
    u_ij, u_ji = after_i.step(g_j, theta)[0], after_j.step(g_i, theta)[0]
    return tree_map(lambda i, ij, j, ji: (j + ji) - (i + ij), u_i, u_ij, u_j, u_ji)


def second_order_effect(opt: Optimizer, theta: Point, g_i: Point, g_j: Point, h_j_u_i: Point, h_i_u_j: Point) -> Point:
    """d_ij − d_ji, the factor of ε²; u_i and u_j are the updates of `step(g_i, θ)` and `step(g_j, θ)`."""
    (u_i, after_i), (u_j, after_j) = opt.step(g_i, theta), opt.step(g_j, theta)
    return difference(after_i.change(g_j, theta, h_j_u_i, u_i), after_j.change(g_i, theta, h_i_u_j, u_j))


def _plus(a: Point, factor: float, b: Point) -> Point:
    """a + factor · b."""
    return tree_map(lambda u, v: u + factor * v, a, b)
