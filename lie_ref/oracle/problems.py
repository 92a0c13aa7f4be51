"""A problem of brackets, whole, and its solution stage by stage: logits, loss, gradients, products, brackets, changes.

A stage is a function of the stages before it.  `solve` takes the right ones, by sweeps; `by_definition` makes others
from any network and loss written in `autograd.numpy`.  Whoever gets one stage wrong gets the later ones wrong with it,
so replacing a stage answers what a faulty implementation would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.fields import Loss, directional_derivative, hvp_forward_over_reverse, vector_field
from ..core.layers import Sweep
from ..core.losses import LOSSES, LossFunction
from ..core.networks import Arrays, Model
from ..fast.arguments import checked_inputs, checked_pairs, checked_state, checked_targets
from ..fast.dual import Array
from ..fast.engine import logits
from ..fast.sweeps import channels_last, group_gradients, group_products, group_push_forward, with_group_axis

QUANTITIES = ("logits", "loss", "grad", "hvp", "bracket", "logit_delta")  # in the order in which they are made
Stage = Callable[["Solution"], Any]


@dataclass(frozen=True)
class Problem:
    """The brackets of these pairs of fields, and what they do to the logits of x_eval.

    A field is an example, x (n, …) and y (n, …), or where x has one more axis than x_eval a mini-batch, x (b, m, …) and
    y (b, m, …), whose batch-norm is in training mode if `training` says so.  `pairs` (p, 2); `x_eval` (n_eval, …).
    """

    model: Model
    params: Arrays
    buffers: Arrays
    x: Array
    y: Array
    pairs: Array
    x_eval: Array
    loss: str
    training: bool = False

    @property
    def batches(self) -> bool:
        return self.x.ndim > self.x_eval.ndim

    @property
    def groups(self) -> tuple[Array, Array]:
        """Inputs and targets with an axis of fields and one of their members: (g, m, …) and (g, m, …)."""
        return (self.x, self.y) if self.batches else (self.x[:, None], self.y[:, None])

    def astype(self, dtype: Any) -> Problem:
        """The same problem in another floating dtype."""
        return replace(
            self,
            params={name: p.astype(dtype) for name, p in self.params.items()},
            buffers={name: b.astype(dtype) for name, b in self.buffers.items()},
            x=self.x.astype(dtype),
            y=self.y if LOSSES[self.loss].labels else self.y.astype(dtype),
            x_eval=self.x_eval.astype(dtype),
        )


def checked_problem(
    model: Model,
    params: Mapping[str, Array],
    buffers: Mapping[str, Array],
    x: Array,
    y: Array,
    pairs: Sequence[tuple[int, int]] | Array,
    x_eval: Array | None = None,
    loss: str = "bce",
    training: bool = False,
) -> Problem:
    """The problem in the dtype of the parameters; `x_eval` is x (all members, of mini-batches) unless it is given.

    Raises ValueError or TypeError for arrays that do not fit the model or each other.
    """
    params, buffers = checked_state(model, params, buffers)
    batches = np.ndim(x) == (5 if model.pictures else 3)
    if training and not batches:
        raise ValueError(f"training: expected mini-batches x (b, m, …) for it, got x of shape {np.shape(x)}")
    x = checked_inputs("x", model, params, x, batches)
    y = checked_targets(model, x, y, loss, batches)
    pairs = checked_pairs(pairs, len(x))
    if x_eval is None:
        x_eval = x.reshape(-1, *x.shape[2:]) if batches else x
    x_eval = checked_inputs("x_eval", model, params, x_eval)
    return Problem(model, params, buffers, x, y, pairs, x_eval, loss, training)


class Solution:
    """The answers to a problem, by the stages given, each computed when it is first asked for.

    `solution[quantity]` is an array, or for "grad", "hvp" and "bracket" name → array: `logits` (n, k) or (b, m, k);
    `loss` (fields,); `grad` (fields, *shape); `hvp` (p, 2, *shape), H_j g_i and H_i g_j for each pair (i, j); `bracket`
    (p, *shape); `logit_delta` (p, n_eval, k).
    """

    def __init__(self, problem: Problem, stages: Mapping[str, Stage], found: Mapping[str, Any] | None = None) -> None:
        self.problem = problem
        self._stages = dict(stages)
        self._found = dict(found or {})

    def __getitem__(self, quantity: str) -> Any:
        if quantity not in self._found:
            self._found[quantity] = self._stages[quantity](self)
        return self._found[quantity]

    def replaced(self, **stages: Stage) -> Solution:
        """These stages computed otherwise, and the later ones from them; what comes before stays as it is here."""
        first = min(QUANTITIES.index(quantity) for quantity in stages)
        earlier: dict[str, Stage] = {quantity: lambda _, q=quantity: self[q] for quantity in QUANTITIES[:first]}  # type: ignore[misc]
        return Solution(self.problem, self._stages | earlier | stages)

    def known(self, found: Mapping[str, Any]) -> Solution:
        """The same solution, with these answers already there."""
        return Solution(self.problem, self._stages, self._found | dict(found))

    def outputs(self) -> Arrays:
        """Everything under the keys of a test vector: `loss`, `logits`, `grad/NAME`, …"""
        return {key: a for quantity in QUANTITIES for key, a in keyed(quantity, self[quantity]).items()}


def keyed(quantity: str, found: Any) -> Arrays:
    """A quantity's arrays under the keys of a test vector: `quantity`, or `quantity/NAME` for each tensor."""
    return {f"{quantity}/{name}": a for name, a in found.items()} if isinstance(found, dict) else {quantity: found}


def solve(problem: Problem) -> Solution:
    """The exact answers, by sweeps, in the problem's dtype."""
    return Solution(problem, sweeping(LOSSES[problem.loss]))


def sweeping(loss: LossFunction) -> dict[str, Stage]:
    """The stages by sweeps, for a loss with this gradient."""

    def all_logits(s: Solution) -> Array:
        p = s.problem
        if p.training:
            sweep = Sweep(with_group_axis(p.params), p.buffers, training=True, tape=None)
            found = p.model.network.forward(sweep, channels_last(p.groups[0]))
            return found if p.batches else found[:, 0]
        inputs = p.x.reshape(-1, *p.x_eval.shape[1:])
        return logits(p.model, p.params, p.buffers, inputs).reshape(*p.x.shape[: 1 + p.batches], -1)

    def losses(s: Solution) -> Array:
        each = loss.definition(s["logits"], s.problem.y)
        return each.mean(axis=-1) if s.problem.batches else each

    def gradients(s: Solution) -> Arrays:
        p, (x, y) = s.problem, s.problem.groups
        return group_gradients(p.model, p.params, p.buffers, channels_last(x), y, loss, p.training)

    def products(s: Solution) -> Arrays:
        p, (x, y) = s.problem, s.problem.groups
        result = {name: np.empty((len(p.pairs), 2, *a.shape), a.dtype) for name, a in p.params.items()}
        for row, side, found in group_products(
            p.model, p.params, p.buffers, channels_last(x), y, s["grad"], p.pairs, loss, p.training
        ):
            for name, product in found.items():
                result[name][row, side] = product
        return result

    def changes(s: Solution) -> Array:
        p = s.problem
        return group_push_forward(p.model, p.params, p.buffers, channels_last(p.x_eval), s["bracket"])[1]

    return {
        "logits": all_logits,
        "loss": losses,
        "grad": gradients,
        "hvp": products,
        "bracket": difference,
        "logit_delta": changes,
    }


def difference(s: Solution) -> Arrays:
    """[v_i, v_j] = H_j g_i − H_i g_j for each pair."""
    return {name: h[:, 0] - h[:, 1] for name, h in s["hvp"].items()}


Network = Callable[[Any, Array, bool], Any]  # params, inputs (m, …), training → logits (m, k)
LossDefinition = Callable[[Any, Array], Any]  # logits (m, k), targets (m, …) → losses (m,)


def by_definition(network: Network, loss: LossDefinition) -> dict[str, Stage]:
    """The stages by autograd from a network and a loss written in `autograd.numpy`."""

    def field_loss(p: Problem, i: int) -> Loss:
        x, y = p.groups
        return lambda params: loss(network(params, x[i], p.training), y[i]).mean()

    def all_logits(s: Solution) -> Array:
        p = s.problem
        found = np.stack([network(p.params, x, p.training) for x in p.groups[0]])
        return found if p.batches else found[:, 0]

    def losses(s: Solution) -> Array:
        return np.array([field_loss(s.problem, i)(s.problem.params) for i in range(len(s.problem.x))])

    return differentiated(field_loss, lambda p, params, x: network(params, x, False)) | {
        "logits": all_logits,
        "loss": losses,
    }


def differentiated(
    field_loss: Callable[[Problem, int], Loss], evaluated: Callable[[Problem, Any, Array], Any]
) -> dict[str, Stage]:
    """The stages from the gradient on, by autograd, of the loss of field i and the logits of evaluation inputs."""

    def gradients(s: Solution) -> Arrays:
        p = s.problem
        return _stacked([_negative(vector_field(field_loss(p, i))(p.params)) for i in range(len(p.x))])

    def products(s: Solution) -> Arrays:
        p, g = s.problem, s["grad"]

        def product(field: int, direction: int) -> Arrays:
            along = {name: d[direction] for name, d in g.items()}
            return hvp_forward_over_reverse(field_loss(p, field), p.params, along)

        return both_ways(p.pairs, product)

    def changes(s: Solution) -> Array:
        p = s.problem
        tangents = [{name: b[k] for name, b in s["bracket"].items()} for k in range(len(p.pairs))]
        return np.stack(
            [directional_derivative(lambda params: evaluated(p, params, p.x_eval), p.params, t) for t in tangents]
        )

    return {"grad": gradients, "hvp": products, "bracket": difference, "logit_delta": changes}


def both_ways(pairs: Array, product: Callable[[int, int], Arrays]) -> Arrays:
    """product(j, i) and product(i, j) for each pair (i, j), of a field and a direction: name → (p, 2, *shape)."""
    return _stacked([_stacked([product(j, i), product(i, j)]) for i, j in pairs])


def gradient_norms(grad: Arrays) -> Array:
    """‖g_i‖ over all tensors, (fields,), of name → (fields, *shape)."""
    return np.sqrt(np.sum([np.square(g).reshape(len(g), -1).sum(axis=1) for g in grad.values()], axis=0))


def _stacked(points: list[Arrays]) -> Arrays:
    return {name: np.stack([point[name] for point in points]) for name in points[0]}


def _negative(point: Arrays) -> Arrays:
    return {name: -a for name, a in point.items()}
