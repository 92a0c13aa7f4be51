"""A problem asks for the brackets of examples; its solution goes from the logits to the effect of each bracket."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from .losses import LossFunction, loss_function
from .networks import Model
from .types import Array, Arrays

NO_PAIRS = np.empty((0, 2), int)


@dataclass(frozen=True)
class Weights:
    """A network at a point of its parameter space: parameters and buffers, name → array, all of one dtype."""

    model: Model
    params: Arrays
    buffers: Arrays


@dataclass(frozen=True)
class Problem(Weights):  # the fields model, params and buffers come first
    """The vector fields of some examples at these weights, and the pairs of fields that should be bracketed.

    Each example has a field: x is (n, …), y is (n, k), or (n,) labels.  If x has one axis more than x_eval, x (b, m, …)
    and y (b, m, …) hold mini-batches: each has a field, that of its mean loss, and `training` puts batch-norm into
    training mode.  `pairs` is (p, 2); `x_eval` (n_eval, …) are inputs whose logits are watched.  Nothing is checked.
    """

    x: Array
    y: Array
    pairs: Array
    x_eval: Array
    loss: str | LossFunction = "bce"
    training: bool = False

    @property
    def loss_function(self) -> LossFunction:
        return loss_function(self.loss)

    @property
    def batches(self) -> bool:
        """Whether each field belongs to a mini-batch."""
        return self.x.ndim > self.x_eval.ndim

    @property
    def groups(self) -> tuple[Array, Array]:
        """Inputs and targets with one axis for fields and one for the members of a field: (g, m, …) each."""
        return (self.x, self.y) if self.batches else (self.x[:, None], self.y[:, None])

    def astype(self, dtype: Any) -> Problem:
        """The same problem in another floating dtype."""
        params, buffers = ({n: a.astype(dtype) for n, a in arrays.items()} for arrays in (self.params, self.buffers))
        y = self.y if self.loss_function.labels else self.y.astype(dtype)
        x, x_eval = self.x.astype(dtype), self.x_eval.astype(dtype)
        return replace(self, params=params, buffers=buffers, x=x, y=y, x_eval=x_eval)


class Engine(Protocol):
    """What computes a solution: `core.engine.Autograd`, or `fast.engine` with rules of its own for each layer."""

    def logits(self, weights: Weights, x: Array, training: bool = False) -> Array: ...
    def gradients(self, problem: Problem) -> Arrays: ...
    def products(self, problem: Problem, directions: Arrays) -> Arrays: ...
    def brackets(self, problem: Problem, directions: Arrays) -> Arrays: ...
    def push_forward(self, weights: Weights, x: Array, tangents: Arrays) -> tuple[Array, Array]: ...


class Solution:
    """The six quantities of a problem.  Each is computed when it is first asked for, and kept.

    >>> from lie_ref.core import engine, networks
    >>> model, x, y = networks.mlp([2, 3, 1]), np.eye(2), np.array([[0.0], [1.0]])
    >>> problem = Problem(model, *model.init(seed=0), x, y, pairs=np.array([[0, 1]]), x_eval=x)
    >>> Solution(problem, engine.AUTOGRAD).bracket["0.weight"].shape
    (1, 3, 2)
    """

    def __init__(self, problem: Problem, engine: Engine) -> None:
        self.problem, self.engine = problem, engine

    @cached_property
    def logits(self) -> Array:
        """z(x) of the fields' inputs: (n, k) or (b, m, k)."""
        p = self.problem
        parts = p.groups[0] if p.training else [p.x.reshape(-1, *p.groups[0].shape[2:])]
        found = np.concatenate([self.engine.logits(p, x, p.training) for x in parts])
        return found.reshape(*p.x.shape[: 1 + p.batches], -1)

    @cached_property
    def loss(self) -> Array:
        """L_i of each field: (fields,)."""
        of, (x, y) = self.problem.loss_function, self.problem.groups
        each = [of.definition(*one).mean() for one in zip(self.logits.reshape(*x.shape[:2], -1), y, strict=True)]
        return np.array(each, self.logits.dtype) + of.regulariser(self.problem.params)

    @cached_property
    def grad(self) -> Arrays:
        """g_i = ∇L_i for each vector field v_i = −g_i: name → (fields, *shape)."""
        return self.engine.gradients(self.problem)

    @cached_property
    def hvp(self) -> Arrays:
        """H_j g_i and H_i g_j for each pair (i, j), with H = ∇²L: name → (p, 2, *shape)."""
        return self.engine.products(self.problem, self.grad)

    @cached_property
    def bracket(self) -> Arrays:
        """[v_i, v_j] = H_j g_i − H_i g_j for each pair: name → (p, *shape)."""
        if "hvp" in vars(self):  # already computed
            return {name: h[:, 0] - h[:, 1] for name, h in self.hvp.items()}
        return self.engine.brackets(self.problem, self.grad)  # which need not keep all products in memory

    @cached_property
    def logit_delta(self) -> Array:
        """D_θ z(x_eval) · [v_i, v_j]: what swapping i and j does to the logits, in units of ε²: (p, n_eval, k)."""
        return self.engine.push_forward(self.problem, self.problem.x_eval, self.bracket)[1]
