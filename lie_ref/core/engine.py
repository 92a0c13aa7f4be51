"""Solves a problem by autograd alone, from the definitions of network and loss: the plain twin of `fast.engine`."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from autograd import grad

from .fields import Loss, Point, directional_derivative, hvp_forward_over_reverse
from .problem import Problem, Weights
from .types import Array, Arrays


@dataclass(frozen=True)
class Autograd:
    """An engine that computes products by `hvp(loss, θ, d)`, which may be either of the two in `core.fields`."""

    hvp: Callable[[Loss, Point, Point], Point] = hvp_forward_over_reverse

    def logits(self, weights: Weights, x: Array, training: bool = False) -> Array:
        """z (n, k) of inputs x (n, …); in training mode x is one mini-batch."""
        return weights.model.apply(weights.params, weights.buffers, x, training)

    def field_loss(self, problem: Problem, i: int) -> Loss:
        """θ ↦ L_i(θ), the mean loss of the members of field i."""
        x, y = (a[i] for a in problem.groups)
        of, train = problem.loss_function, problem.training
        return lambda p: of.definition(self.logits(replace(problem, params=p), x, train), y).mean() + of.regulariser(p)

    def gradients(self, problem: Problem) -> Arrays:
        """g_i = ∇L_i of each field: name → (fields, *shape)."""
        return stacked([grad(self.field_loss(problem, i))(problem.params) for i in range(len(problem.x))])

    def product(self, problem: Problem, i: int, directions: Arrays, k: int) -> Arrays:
        """H_i d, the Hessian of field i times the k-th of the directions (…, *shape): name → (*shape)."""
        return self.hvp(self.field_loss(problem, i), problem.params, at(directions, k))

    def hvps(self, problem: Problem, directions: Arrays) -> Arrays:
        """H_i d for each direction (k, *shape) and each field: name → (k, fields, *shape)."""
        ways, fields = range(len(next(iter(directions.values())))), range(len(problem.x))
        return stacked([stacked([self.product(problem, i, directions, k) for i in fields]) for k in ways])

    def products(self, problem: Problem, directions: Arrays) -> Arrays:
        """H_j d_i and H_i d_j for each pair (i, j), from a direction d_i for each field: name → (p, 2, *shape)."""
        sides = [side for i, j in problem.pairs for side in ((j, i), (i, j))]
        found, lead = [self.product(problem, field, directions, k) for field, k in sides], problem.pairs.shape
        return {n: np.array([h[n] for h in found], p.dtype).reshape(*lead, *p.shape) for n, p in problem.params.items()}

    def brackets(self, problem: Problem, directions: Arrays) -> Arrays:
        """H_j d_i − H_i d_j for each pair (i, j): name → (p, *shape)."""
        return {name: h[:, 0] - h[:, 1] for name, h in self.products(problem, directions).items()}

    def push_forward(self, weights: Weights, x: Array, tangents: Arrays) -> tuple[Array, Array]:
        """z (n, k) of x (n, …), and D_θ z · t for each tangent t, name → (t, *shape): (t, n, k)."""

        def z(params: Point) -> Array:
            return self.logits(replace(weights, params=params), x)

        values, ways = z(weights.params), range(len(next(iter(tangents.values()))))
        changes = [directional_derivative(z, weights.params, at(tangents, k)) for k in ways]
        return values, np.array(changes, values.dtype).reshape(len(ways), *values.shape)

    def training_step(self, problem: Problem) -> tuple[float, Arrays, Arrays, Array]:
        """Loss, gradient name → (*shape), updated buffers and logits of a single mini-batch in training mode."""
        loss, buffers = self.field_loss(replace(problem, training=True), 0), dict(problem.buffers)
        z = problem.model.network.apply(problem.params, buffers, problem.x[0], training=True)
        return float(loss(problem.params)), grad(loss)(problem.params), buffers, z


AUTOGRAD = Autograd()


def at(arrays: Arrays, k: int) -> Arrays:
    """One gradient, product or bracket of several: name → (*shape) from name → (n, *shape)."""
    return {name: a[k] for name, a in arrays.items()}


def stacked(points: list[Arrays]) -> Arrays:
    """The inverse of `at`: name → (n, *shape) from n points name → (*shape)."""
    return {name: np.stack([point[name] for point in points]) for name in points[0]}
