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

from ...core.fields import directional_derivative, hvp_forward_over_reverse, vector_field
from ...core.layers import EPS, Activation, BatchNorm, Layer
from ...core.losses import LOSSES, LossFunction, probabilities
from ...core.networks import Arrays, swapped, with_layers
from ...fast.convolution import Conv, MaxPool
from ...fast.dual import Array, Dual, elementwise
from ..problems import (
    Problem,
    Solution,
    both_ways,
    by_definition,
    differentiated,
    gradient_norms,
    solve,
    sweeping,
)
from .layers import EpsilonOutsideRoot, OtherEpsilon, SamePaddedConv, SamePaddedMaxPool, ThresholdSoftplus
from .losses import ONE_THRESHOLD, TWO_THRESHOLDS, sigmoid_derivatives

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
    """With this loss, the solution for changed targets, of the shape of y; the logits stay."""
    problem = exact.problem
    if problem.loss != loss:
        return None
    return solve(replace(problem, y=change(problem))).known({"logits": exact["logits"]})


def other_loss(loss: str, wrong: LossFunction, exact: Solution) -> Faulty:
    """The solution for another loss in place of this one."""
    return Solution(exact.problem, sweeping(wrong)) if exact.problem.loss == loss else None


def other_layers(change: Callable[[Layer], Layer], exact: Solution) -> Faulty:
    """The solution of the network with other layers, by sweeps, which the layers must have."""
    model = with_layers(exact.problem.model, change)
    return None if model is None else solve(replace(exact.problem, model=model))


def threshold_softplus_for_softplus(exact: Solution) -> Iterator[tuple[str, Faulty]]:
    """In the activations, in the loss softplus(z) − y z or y softplus(−z) + (1 − y) softplus(z), or in both."""
    problem = exact.problem
    model = with_layers(problem.model, swapped(Activation, ThresholdSoftplus, lambda a: a.function == "softplus"))
    losses = {"softplus(z) − y z": ONE_THRESHOLD, "y softplus(−z) + (1 − y) softplus(z)": TWO_THRESHOLDS}
    if model is not None:
        yield "in the activations", solve(replace(problem, model=model))
    if problem.loss == "bce":
        for form, loss in losses.items():
            yield f"in the loss {form}", Solution(problem, sweeping(loss))
            if model is not None:
                yield (
                    f"in the activations and the loss {form}",
                    Solution(replace(problem, model=model), sweeping(loss)),
                )


def other_batch_norm(change: Callable[[Layer], Layer], exact: Solution) -> Faulty:
    """The same for batch-norm layers that are only defined, by autograd."""
    problem = exact.problem
    model = with_layers(problem.model, change)
    if model is None:
        return None

    def network(params: Any, x: Array, training: bool) -> Any:
        return model.apply(params, problem.buffers, x, training)

    return Solution(problem, by_definition(network, LOSSES[problem.loss].definition))


def in_training(change: Callable[[Layer], Layer], exact: Solution) -> Faulty:
    return other_batch_norm(change, exact) if exact.problem.training else None


def other_scale(layer: Callable[..., BatchNorm], variance: Callable[[Array], Array], exact: Solution) -> Faulty:
    """Batch-norm that divides otherwise: running variances that give the same, or with mini-batches that layer."""
    problem = exact.problem
    if problem.training or not problem.buffers:
        return other_batch_norm(swapped(BatchNorm, layer), exact)
    return solve(
        replace(problem, buffers={k: variance(b) if k.endswith("var") else b for k, b in problem.buffers.items()})
    )


def epsilon_outside_root(exact: Solution) -> Faulty:
    return other_scale(EpsilonOutsideRoot, lambda v: (np.sqrt(v) + EPS) ** 2 - EPS, exact)


def other_epsilon(exact: Solution) -> Iterator[tuple[str, Faulty]]:
    for eps in (1e-3, 1e-6, 0.0, 1e-8, 1e-12):
        faulty = other_scale(partial(OtherEpsilon, eps=eps), lambda v, eps=eps: v + (eps - EPS), exact)  # type: ignore[misc]
        yield f"ε = {eps:g}", faulty


def running_statistics(change: Callable[[str, Array], Array], exact: Solution) -> Faulty:
    """Other running statistics, as they are used in evaluation mode."""
    buffers = {name: change(name, b) for name, b in exact.problem.buffers.items()}
    return solve(replace(exact.problem, buffers=buffers)) if buffers else None


def fresh_statistics(exact: Solution) -> Faulty:
    return running_statistics(lambda name, b: np.full_like(b, name.endswith("var")), exact)


def variance_for_deviation(exact: Solution) -> Faulty:
    return running_statistics(lambda name, b: (b + EPS) ** 2 - EPS if name.endswith("var") else b, exact)


def padded_same(exact: Solution) -> Faulty:
    def change(layer: Layer) -> Layer:
        return swapped(Conv, SamePaddedConv)(swapped(MaxPool, SamePaddedMaxPool)(layer))

    return other_layers(change, exact)


def instead_of_mish(layer: Callable[[str], Layer]) -> Callable[[Layer], Layer]:
    return swapped(Activation, lambda name, _: layer(name), lambda a: a.function == "mish")


def statistics_of_one(exact: Solution) -> Faulty:
    """Batch-norm in training mode, each input a mini-batch of its own."""
    problem = exact.problem
    if problem.batches or not problem.buffers:
        return None

    def network(params: Any, x: Array, _: bool) -> Any:
        return anp.concatenate([problem.model.apply(params, problem.buffers, one[None], True) for one in x])

    pushed = by_definition(network, LOSSES[problem.loss].definition)["logit_delta"]
    return Solution(replace(problem, training=True), sweeping(LOSSES[problem.loss]) | {"logit_delta": pushed})


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
    """Products times a factor each: a number, or (p, 2), for each pair that of H_j g_i and that of H_i g_j."""

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
        norms = gradient_norms(s["grad"])
        return np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)[s.problem.pairs]

    return times(exact, inverse_norms)


def products_along(exact: Solution, directions: Arrays) -> Arrays:
    """The products for each pair with other directions in place of the gradients, name → (fields, *shape)."""
    return solve(exact.problem).known({"grad": directions})["hvp"]


def along(exact: Solution, directions: Arrays) -> Solution:
    """The solution with other directions in place of the gradients in the products, name → (fields, *shape)."""
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
        if names:
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
        return both_ways(problem.pairs, lambda field, direction: product(field, g[direction]))

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
    """What the logits' changes do to σ(z), or with labels to softmax(z)."""
    problem = exact.problem

    def changes(_: Solution) -> Array:
        z = Dual(problem.model.apply(problem.params, problem.buffers, problem.x_eval), exact["logit_delta"])
        labels = LOSSES[problem.loss].labels
        return (probabilities(z) if labels else elementwise(sigmoid_derivatives, z)[0]).tangent

    return exact.replaced(logit_delta=changes)


def changed_finitely(exact: Solution) -> Solution:
    problem = exact.problem

    def logits(k: int, step: float) -> Array:
        params = {name: p + step * exact["bracket"][name][k] for name, p in problem.params.items()}
        return problem.model.apply(params, problem.buffers, problem.x_eval)

    return exact.replaced(
        logit_delta=lambda _: np.stack([logits(k, 1) - logits(k, 0) for k in range(len(problem.pairs))])
    )
