"""Faulty solutions: what an implementation with a known bug would have answered to a problem, stage by stage.

Each function takes the exact solution and makes a faulty one, or None where the problem has nothing to get wrong so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np

from .dual import Array
from .faulty_layers import (
    OtherEpsilon,
    SamePaddedConv,
    SamePaddedMaxPool,
    swapped,
    with_layers,
)
from .fields import directional_derivative, hvp_forward_over_reverse, vector_field
from .layers import Activation, BatchNorm, Layer
from .losses import LOSSES
from .models import Arrays
from .problems import Problem, Solution, by_definition, differentiated, solve
from .windows import Conv, MaxPool

Faulty = Solution | None


def loss_times(exact: Solution, factor: float) -> Solution:
    """Losses, gradients and Hessians times a factor."""
    return exact.replaced(
        loss=lambda _: factor * exact["loss"],
        grad=lambda _: {name: factor * g for name, g in exact["grad"].items()},
        hvp=lambda _: {name: factor**2 * h for name, h in exact["hvp"].items()},
    )


def summed_over_outputs(exact: Solution) -> Faulty:
    mean = exact.problem.loss in ("bce", "mse")
    return loss_times(exact, exact.problem.model.n_out) if mean else None


def averaged_over_examples(exact: Solution) -> Faulty:
    return None if exact.problem.batches else loss_times(exact, 1 / len(exact.problem.x))


def summed_over_batch(exact: Solution) -> Faulty:
    return loss_times(exact, exact.problem.x.shape[1]) if exact.problem.batches else None


def other_targets(loss: str, change: Callable[[Problem], Array], exact: Solution) -> Faulty:
    problem = exact.problem
    if problem.loss != loss:
        return None
    return solve(replace(problem, y=change(problem))).known({"logits": exact["logits"]})


def other_loss(loss: str, definition: Callable[[Any, Array], Any], exact: Solution) -> Faulty:
    problem = exact.problem
    return Solution(problem, by_definition(_network(problem), definition)) if problem.loss == loss else None


def sigmoid(z: Any) -> Any:
    return anp.exp(-anp.logaddexp(0.0, -z))


def softmax(z: Any) -> Any:
    e = anp.exp(z - anp.max(z, axis=-1, keepdims=True))
    return e / anp.sum(e, axis=-1, keepdims=True)


def clipped(z: Any) -> Any:
    """The logits of probabilities that are clipped to [1e-7, 1 − 1e-7]."""
    largest = np.log((1 - 1e-7) / 1e-7)
    return anp.clip(z, -largest, largest)


def _network(problem: Problem) -> Callable[[Any, Array, bool], Any]:
    return lambda params, x, training: problem.model.apply(params, problem.buffers, x, training)


def other_layers(change: Callable[[Layer], Layer], exact: Solution) -> Faulty:
    problem = exact.problem
    model = with_layers(problem.model, change)
    if model is None:
        return None
    return Solution(problem, by_definition(_network(replace(problem, model=model)), LOSSES[problem.loss].definition))


def padded_same(exact: Solution) -> Faulty:
    def change(layer: Layer) -> Layer:
        return swapped(Conv, SamePaddedConv)(swapped(MaxPool, SamePaddedMaxPool)(layer))

    return other_layers(change, exact)


def instead_of_mish(layer: Callable[[str], Layer]) -> Callable[[Layer], Layer]:
    return swapped(Activation, lambda name, _: layer(name), lambda a: a.function == "mish")


def fresh_statistics(exact: Solution) -> Solution:
    buffers = {name: np.full_like(b, name.endswith("running_var")) for name, b in exact.problem.buffers.items()}
    return solve(replace(exact.problem, buffers=buffers))


def other_epsilon(exact: Solution) -> Iterator[tuple[str, Faulty]]:
    for eps in (1e-3, 1e-6, 0.0, 1e-4, 1e-2, 1e-8, 1e-12):
        yield f"ε = {eps:g}", other_layers(swapped(BatchNorm, partial(OtherEpsilon, eps=eps)), exact)


def statistics_of_one(exact: Solution) -> Faulty:
    """Batch-norm in training mode, each input a mini-batch of its own."""
    problem = exact.problem
    if problem.batches or not problem.buffers:
        return None

    def network(params: Any, x: Array, training: bool) -> Any:
        return anp.concatenate([problem.model.apply(params, problem.buffers, one[None], True) for one in x])

    return Solution(problem, by_definition(network, LOSSES[problem.loss].definition))


def statistics_of_all(exact: Solution) -> Faulty:
    """Batch-norm in training mode, all inputs of a pass one mini-batch."""
    problem, definition = exact.problem, LOSSES[exact.problem.loss].definition
    if problem.batches or not problem.buffers:
        return None

    def network(params: Any, x: Array) -> Any:
        return problem.model.apply(params, problem.buffers, x, True)

    stages = differentiated(
        lambda p, i: lambda params: definition(network(params, p.x), p.y)[i], lambda p, params, x: network(params, x)
    )
    return Solution(problem, stages).known(
        {"logits": (z := network(problem.params, problem.x)), "loss": definition(z, problem.y)}
    )


def times(exact: Solution, factors: Callable[[Solution], Array | float]) -> Solution:
    """Products times a factor each, (p, 2) or a number."""

    def scaled(_: Solution) -> Arrays:
        factor = np.asarray(factors(exact))
        return {
            name: h * factor.reshape(factor.shape + (1,) * (h.ndim - factor.ndim)) for name, h in exact["hvp"].items()
        }

    return exact.replaced(hvp=scaled)


def hessian_of_sum(exact: Solution) -> Faulty:
    return times(exact, lambda s: s.problem.model.n_out) if exact.problem.loss in ("bce", "mse") else None


def normalised_direction(exact: Solution) -> Solution:
    def inverse_norms(s: Solution) -> Array:
        norms = np.sqrt(sum(np.square(g).reshape(len(g), -1).sum(axis=1) for g in s["grad"].values()))
        return 1 / norms[s.problem.pairs]

    return times(exact, inverse_norms)


def products_along(exact: Solution, directions: Arrays) -> Arrays:
    """The products for each pair with other directions in place of the gradients, name → (fields, *shape)."""
    return solve(exact.problem).known({"grad": directions})["hvp"]


def along(exact: Solution, directions: Arrays) -> Solution:
    return exact.replaced(hvp=lambda _: products_along(exact, directions))


GROUPS: dict[str, Callable[[str, Array, Problem], bool]] = {
    "biases": lambda name, p, problem: name.endswith("bias"),
    "batch-norm": lambda name, p, problem: f"{name.rpartition('.')[0]}.running_mean" in problem.buffers,
    "the last layer": lambda name, p, problem: name in list(problem.params)[-2:],
    "convolutions": lambda name, p, problem: p.ndim == 4,
    "weights": lambda name, p, problem: name.endswith("weight"),
}


def lacking_group(exact: Solution) -> Iterator[tuple[str, Faulty]]:
    for group, belongs in GROUPS.items():
        names = [name for name, p in exact.problem.params.items() if belongs(name, p, exact.problem)]
        if 0 < len(names) < len(exact.problem.params):
            directions = {name: g * (name not in names) for name, g in exact["grad"].items()}
            yield group, along(exact, directions)


def layerwise_product(exact: Solution, name: str) -> Array:
    """The products with the Hessian's block of one tensor alone, (p, 2, *shape)."""
    return products_along(exact, {other: g * (other == name) for other, g in exact["grad"].items()})[name]


def layerwise(exact: Solution) -> Solution:
    return exact.replaced(hvp=lambda _: {name: layerwise_product(exact, name) for name in exact["grad"]})


def own_gradient(exact: Solution) -> Solution:
    def products(_: Solution) -> Arrays:
        def own(fields: Array) -> Arrays:
            problem = replace(exact.problem, pairs=np.stack([fields, fields], axis=1))
            return solve(problem).known({"grad": exact["grad"]})["hvp"]

        i, j = exact.problem.pairs.T
        first, second = own(j), own(i)
        return {name: np.stack([first[name][:, 0], second[name][:, 0]], axis=1) for name in first}

    return exact.replaced(hvp=products)


def hessian_of_mean(exact: Solution) -> Faulty:
    problem = exact.problem
    if problem.batches:
        return None

    def products(_: Solution) -> Arrays:
        """Of one mini-batch of all examples, paired with itself, one direction at a time."""
        whole = replace(problem, x=problem.x[None], y=problem.y[None], pairs=np.array([[0, 0]]))
        found = [
            solve(whole).known({"grad": {name: g[k : k + 1] for name, g in exact["grad"].items()}})["hvp"]
            for k in range(len(problem.x))
        ]
        return {name: np.stack([h[name][0, 0] for h in found])[problem.pairs] for name in problem.params}

    return exact.replaced(hvp=products)


def gauss_newton(exact: Solution) -> Solution:
    """Jᵀ (∂²L/∂z²) J d for each pair and side, by autograd."""
    problem, definition = exact.problem, LOSSES[exact.problem.loss].definition
    x, y = problem.groups

    def product(field: int, direction: Arrays) -> Arrays:
        def network(params: Any) -> Any:
            return problem.model.apply(params, problem.buffers, x[field], problem.training)

        def loss(z: Any) -> Any:
            return definition(z, y[field]).mean()

        change = directional_derivative(network, problem.params, direction)
        weight = hvp_forward_over_reverse(loss, network(problem.params), change)
        return vector_field(lambda params: -anp.sum(network(params) * weight))(problem.params)

    def products(_: Solution) -> Arrays:
        g = [{name: a[k] for name, a in exact["grad"].items()} for k in range(len(problem.x))]
        found = [(product(j, g[i]), product(i, g[j])) for i, j in problem.pairs]
        return {name: np.stack([np.stack([a[name], b[name]]) for a, b in found]) for name in problem.params}

    return exact.replaced(hvp=products)


def combined(first: float, second: float, exact: Solution) -> Solution:
    """first · H_j g_i + second · H_i g_j."""
    return exact.replaced(bracket=lambda s: {name: first * h[:, 0] + second * h[:, 1] for name, h in s["hvp"].items()})


def swapped_pairs(exact: Solution) -> Solution:
    return exact.replaced(hvp=lambda _: {name: h[:, ::-1] for name, h in exact["hvp"].items()})


def pushed_onto_x(exact: Solution) -> Faulty:
    problem = exact.problem
    if problem.x.shape != problem.x_eval.shape or (problem.x == problem.x_eval).all():
        return None
    moved = solve(replace(problem, x_eval=problem.x))
    return exact.replaced(logit_delta=lambda s: moved.known({"bracket": s["bracket"]})["logit_delta"])


def changed_probabilities(exact: Solution) -> Solution:
    problem = exact.problem
    probabilities = softmax if LOSSES[problem.loss].labels else sigmoid

    def changes(s: Solution) -> Array:
        z = problem.model.apply(problem.params, problem.buffers, problem.x_eval)
        return np.stack([directional_derivative(probabilities, z, dz) for dz in exact["logit_delta"]])

    return exact.replaced(logit_delta=changes)


def changed_finitely(exact: Solution) -> Solution:
    problem = exact.problem

    def logits(k: int, step: float) -> Array:
        params = {name: p + step * exact["bracket"][name][k] for name, p in problem.params.items()}
        return problem.model.apply(params, problem.buffers, problem.x_eval)

    return exact.replaced(
        logit_delta=lambda _: np.stack([logits(k, 1) - logits(k, 0) for k in range(len(problem.pairs))])
    )
