"""Faulty answers: what an implementation with a known bug would have answered to a problem.

Each function takes the exact answers and makes faulty ones, or None where the problem has nothing to get wrong so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np

from ...core.activations import mish
from ...core.engine import AUTOGRAD, Autograd, at
from ...core.fields import Loss, directional_derivative, hvp_forward_over_reverse, vector_field
from ...core.layers import EPS, Activation, BatchNorm, Conv, Layer, MaxPool
from ...core.losses import LossFunction
from ...core.problem import Problem, Weights
from ...core.types import Array, Arrays
from ...fast import engine
from ...fast.dual import Dual, elementwise
from ...fast.scalar_rules import probabilities, sigmoid_derivatives
from ...fast.trees import with_layers
from ..answers import Answers, both_ways, gradient_norms
from .layers import (
    EpsilonOutsideRoot,
    OtherEpsilon,
    SamePaddedConv,
    SamePaddedMaxPool,
    swapped,
    threshold_softplus,
)
from .losses import ONE_THRESHOLD, TWO_THRESHOLDS

Faulty = Answers | None


def loss_times(exact: Answers, factor: float) -> Answers:
    """Losses, gradients and Hessians times a factor."""
    return exact.replaced(
        loss=lambda _: factor * exact.loss,
        grad=lambda _: {name: factor * g for name, g in exact.grad.items()},
        hvp=lambda _: {name: factor**2 * h for name, h in exact.hvp.items()},
    )


def summed_over_outputs(exact: Answers) -> Faulty:
    mean = exact.problem.loss in ("bce", "mse")
    return loss_times(exact, exact.problem.model.n_out) if mean else None


def averaged_over_examples(exact: Answers) -> Faulty:
    return None if exact.problem.batches else loss_times(exact, 1 / len(exact.problem.x))


def summed_over_batch(exact: Answers) -> Faulty:
    return loss_times(exact, exact.problem.x.shape[1]) if exact.problem.batches else None


def other_targets(loss: str, change: Callable[[Problem], Array], exact: Answers) -> Faulty:
    """With this loss, the solution for changed targets, of the shape of y; the logits stay."""
    problem = exact.problem
    if problem.loss != loss:
        return None
    return Answers(replace(problem, y=change(problem))).known({"logits": exact.logits})


def other_loss(loss: str, wrong: LossFunction, exact: Answers) -> Faulty:
    """The solution for another loss in place of this one."""
    return Answers(replace(exact.problem, loss=wrong)) if exact.problem.loss == loss else None


def other_layers(change: Callable[[Layer], Layer], exact: Answers) -> Faulty:
    """The answers of the network with other layers, by sweeps, for which the layers must have rules."""
    model = with_layers(exact.problem.model, change)
    return None if model is exact.problem.model else Answers(replace(exact.problem, model=model))


def reindexed(turn: Callable[[Array], Array], where: Callable[[Array], bool], exact: Answers) -> Faulty:
    """The answers of an implementation that takes some parameters in another order; `turn` is its own inverse."""
    names = [name for name, p in exact.problem.params.items() if where(p)]
    if not names:
        return None

    def turned(arrays: Arrays) -> Arrays:
        return {name: turn(a) if name in names else a for name, a in arrays.items()}

    inside = Answers(replace(exact.problem, params=turned(exact.problem.params)))
    return exact.replaced(
        logits=lambda _: inside.logits,
        loss=lambda _: inside.loss,
        grad=lambda _: turned(inside.grad),
        hvp=lambda _: turned(inside.hvp),
        logit_delta=lambda _: inside.logit_delta,
    )


def threshold_softplus_for_softplus(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """In the activations, in the loss softplus(z) − y z or y softplus(−z) + (1 − y) softplus(z), or in both."""
    problem = exact.problem
    is_softplus = problem.model.spec.get("activation") == "softplus"
    change = swapped(Activation, lambda name, _: Activation(name, threshold_softplus))
    changed = replace(problem, model=with_layers(problem.model, change)) if is_softplus else None
    losses = {"softplus(z) − y z": ONE_THRESHOLD, "y softplus(−z) + (1 − y) softplus(z)": TWO_THRESHOLDS}
    if changed:
        yield "in the activations", Answers(changed)
    if problem.loss == "bce":
        for form, loss in losses.items():
            yield f"in the loss {form}", Answers(replace(problem, loss=loss))
            if changed:
                yield f"in the activations and the loss {form}", Answers(replace(changed, loss=loss))


def other_batch_norm(change: Callable[[Layer], Layer], exact: Answers) -> Faulty:
    """The same for batch-norm layers that are only defined, by autograd."""
    model = with_layers(exact.problem.model, change)
    return None if model is exact.problem.model else Answers(replace(exact.problem, model=model), AUTOGRAD)


def in_training(change: Callable[[Layer], Layer], exact: Answers) -> Faulty:
    return other_batch_norm(change, exact) if exact.problem.training else None


def other_scale(layer: Callable[..., BatchNorm], variance: Callable[[Array], Array], exact: Answers) -> Faulty:
    """Batch-norm that divides otherwise: running variances that give the same, or with mini-batches that layer."""
    problem = exact.problem
    if problem.training or not problem.buffers:
        return other_batch_norm(swapped(BatchNorm, layer), exact)
    return Answers(
        replace(problem, buffers={k: variance(b) if k.endswith("var") else b for k, b in problem.buffers.items()})
    )


def epsilon_outside_root(exact: Answers) -> Faulty:
    return other_scale(EpsilonOutsideRoot, lambda v: (np.sqrt(v) + EPS) ** 2 - EPS, exact)


def other_epsilon(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    for eps in (1e-3, 1e-6, 0.0, 1e-8, 1e-12):
        faulty = other_scale(partial(OtherEpsilon, eps=eps), lambda v, eps=eps: v + (eps - EPS), exact)  # type: ignore[misc]
        yield f"ε = {eps:g}", faulty


def running_statistics(change: Callable[[str, Array], Array], exact: Answers) -> Faulty:
    """Other running statistics, as they are used in evaluation mode."""
    buffers = {name: change(name, b) for name, b in exact.problem.buffers.items()}
    return Answers(replace(exact.problem, buffers=buffers)) if buffers else None


def fresh_statistics(exact: Answers) -> Faulty:
    return running_statistics(lambda name, b: np.full_like(b, name.endswith("var")), exact)


def variance_for_deviation(exact: Answers) -> Faulty:
    return running_statistics(lambda name, b: (b + EPS) ** 2 - EPS if name.endswith("var") else b, exact)


def padded_same(exact: Answers) -> Faulty:
    def change(layer: Layer) -> Layer:
        return swapped(Conv, SamePaddedConv)(swapped(MaxPool, SamePaddedMaxPool)(layer))

    return other_layers(change, exact)


def instead_of_mish(function: Callable[[Any], Any]) -> Callable[[Layer], Layer]:
    return swapped(Activation, lambda name, _: Activation(name, function), lambda a: a.function is mish)


class _EachAlone(Autograd):
    """Batch-norm in training mode, each input a mini-batch of its own."""

    def logits(self, weights: Weights, x: Array, training: bool = False) -> Array:
        return anp.concatenate([super(_EachAlone, self).logits(weights, one[None], training=True) for one in x])


def statistics_of_one(exact: Answers) -> Faulty:
    problem = exact.problem
    if problem.batches or not problem.buffers:
        return None
    alone = Answers(replace(problem, training=True))
    return alone.replaced(logit_delta=lambda s: _EachAlone().push_forward(problem, problem.x_eval, s.bracket)[1])


class _AllTogether(Autograd):
    """Batch-norm in training mode, all inputs of a pass one mini-batch."""

    def logits(self, weights: Weights, x: Array, training: bool = False) -> Array:
        return super().logits(weights, x, training=True)

    def field_loss(self, problem: Problem, i: int) -> Loss:
        definition = problem.loss_function.definition
        return lambda p: definition(self.logits(replace(problem, params=p), problem.x), problem.y)[i]


def statistics_of_all(exact: Answers) -> Faulty:
    problem = exact.problem
    return None if problem.batches or not problem.buffers else Answers(problem, _AllTogether())


def times(exact: Answers, factors: Callable[[Answers], Array | float]) -> Answers:
    """Products times a factor each: a number, or (p, 2), for each pair that of H_j g_i and that of H_i g_j."""

    def scaled(_: Answers) -> Arrays:
        factor = np.asarray(factors(exact))
        return {name: h * factor.reshape(factor.shape + (1,) * (h.ndim - factor.ndim)) for name, h in exact.hvp.items()}

    return exact.replaced(hvp=scaled)


def hessian_of_sum(exact: Answers) -> Faulty:
    return times(exact, lambda s: s.problem.model.n_out) if exact.problem.loss in ("bce", "mse") else None


def normalised_direction(exact: Answers) -> Answers:
    def inverse_norms(s: Answers) -> Array:
        norms = gradient_norms(s.grad)
        return np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)[s.problem.pairs]

    return times(exact, inverse_norms)


def products_along(exact: Answers, directions: Arrays) -> Arrays:
    """The products for each pair with other directions in place of the gradients, name → (fields, *shape)."""
    return engine.products(exact.problem, directions)


def along(exact: Answers, directions: Arrays) -> Answers:
    """The solution with other directions in place of the gradients in the products, name → (fields, *shape)."""
    return exact.replaced(hvp=lambda _: products_along(exact, directions))


GROUPS: dict[str, Callable[[str, Array, Problem], bool]] = {
    "biases": lambda name, p, problem: name.endswith("bias"),
    "batch-norm": lambda name, p, problem: f"{name.rpartition('.')[0]}.running_mean" in problem.buffers,
    "the last layer": lambda name, p, problem: name in list(problem.params)[-2:],
    "convolutions": lambda name, p, problem: p.ndim == 4,
    "weights": lambda name, p, problem: name.endswith("weight"),
}


def lacking_group(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    for group, belongs in GROUPS.items():
        names = [name for name, p in exact.problem.params.items() if belongs(name, p, exact.problem)]
        if names:
            directions = {name: g * (name not in names) for name, g in exact.grad.items()}
            yield group, along(exact, directions)


def layerwise_product(exact: Answers, name: str) -> Array:
    """The products with the Hessian's block of one tensor alone, (p, 2, *shape)."""
    return products_along(exact, {other: g * (other == name) for other, g in exact.grad.items()})[name]


def layerwise(exact: Answers) -> Answers:
    return exact.replaced(hvp=lambda _: {name: layerwise_product(exact, name) for name in exact.grad})


def own_gradient(exact: Answers) -> Answers:
    def products(_: Answers) -> Arrays:
        fields = exact.problem.pairs[:, ::-1].ravel()  # of the pair (i, j): H_j g_j and H_i g_i
        own = replace(exact.problem, pairs=np.stack([fields, fields], axis=1))
        return {name: h[:, 0].reshape(-1, 2, *h.shape[2:]) for name, h in engine.products(own, exact.grad).items()}

    return exact.replaced(hvp=products)


def hessian_of_mean(exact: Answers) -> Faulty:
    problem = exact.problem
    if problem.batches:
        return None

    def products(_: Answers) -> Arrays:
        whole = replace(problem, x=problem.x[None], y=problem.y[None])  # one mini-batch
        return {name: h[:, 0][problem.pairs] for name, h in engine.hvps(whole, exact.grad).items()}

    return exact.replaced(hvp=products)


def gauss_newton(exact: Answers) -> Answers:
    """Jᵀ (∂²L/∂z²) J d for each pair and side, by autograd."""
    problem, definition = exact.problem, exact.problem.loss_function.definition
    x, y = problem.groups

    def product(field: int, direction: Arrays) -> Arrays:
        def network(params: Any) -> Any:
            return problem.model.apply(params, problem.buffers, x[field], problem.training)

        def loss(z: Any) -> Any:
            return definition(z, y[field]).mean()

        change = directional_derivative(network, problem.params, direction)
        weight = hvp_forward_over_reverse(loss, network(problem.params), change)
        return vector_field(lambda params: -anp.sum(network(params) * weight))(problem.params)

    def products(_: Answers) -> Arrays:
        return both_ways(problem.pairs, lambda field, direction: product(field, at(exact.grad, direction)))

    return exact.replaced(hvp=products)


def combined(first: float, second: float, exact: Answers) -> Answers:
    """first · H_j g_i + second · H_i g_j."""
    return exact.replaced(bracket=lambda s: {name: first * h[:, 0] + second * h[:, 1] for name, h in s.hvp.items()})


def swapped_pairs(exact: Answers) -> Answers:
    return exact.replaced(hvp=lambda _: {name: h[:, ::-1] for name, h in exact.hvp.items()})


def pushed_onto_x(exact: Answers) -> Faulty:
    problem = exact.problem
    if problem.x.shape != problem.x_eval.shape or (problem.x == problem.x_eval).all():
        return None
    moved = Answers(replace(problem, x_eval=problem.x))
    return exact.replaced(logit_delta=lambda s: moved.known({"bracket": s.bracket})["logit_delta"])


def changed_probabilities(exact: Answers) -> Answers:
    """What the logits' changes do to σ(z), or with labels to softmax(z)."""
    problem = exact.problem

    def changes(_: Answers) -> Array:
        z = Dual(problem.model.apply(problem.params, problem.buffers, problem.x_eval), exact.logit_delta)
        labels = problem.loss_function.labels
        return (probabilities(z) if labels else elementwise(sigmoid_derivatives, z)[0]).tangent

    return exact.replaced(logit_delta=changes)


def changed_finitely(exact: Answers) -> Answers:
    problem = exact.problem

    def logits(k: int, step: float) -> Array:
        params = {name: p + step * exact.bracket[name][k] for name, p in problem.params.items()}
        return problem.model.apply(params, problem.buffers, problem.x_eval)

    return exact.replaced(
        logit_delta=lambda _: np.stack([logits(k, 1) - logits(k, 0) for k in range(len(problem.pairs))])
    )
