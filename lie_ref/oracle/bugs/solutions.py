"""Faulty answers: what an implementation with a known bug answers to a problem.

Each function takes the exact answers and makes faulty ones, or None if the bug does not apply to the problem.  The
catalogue says in a sentence what each bug is.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import autograd.numpy as anp
import numpy as np

from ...core.activations import mish
from ...core.engine import AUTOGRAD, Autograd, at
from ...core.fields import Loss, directional_derivative, hvp_forward_over_reverse, vector_field
from ...core.layers import EPS, Activation, BatchNorm, Conv, Layer, MaxPool
from ...core.losses import LossFunction
from ...core.problem import Engine, Problem, Weights
from ...core.types import Array, Arrays
from ...fast import engine as sweeps
from ...fast.dual import Dual, elementwise
from ...fast.scalar_rules import probabilities, sigmoid_derivatives
from ...fast.trees import with_layers
from ..answers import QUANTITIES, Answers, both_ways, gradient_norms, mapped
from .layers import OtherVariance, SamePaddedConv, SamePaddedMaxPool, swapped, threshold_softplus
from .losses import ONE_THRESHOLD, TWO_THRESHOLDS

Faulty = Answers | None


def loss_times(factor: Callable[[Problem], float | None], exact: Answers) -> Faulty:
    """Losses, gradients and Hessians times a factor; so both factors of a product are multiplied by it."""
    c = factor(exact.problem)
    if c is None:
        return None
    return exact.replaced(
        loss=lambda _: c * exact.loss,
        grad=lambda _: mapped(lambda g: c * g, exact.grad),
        hvp=lambda _: mapped(lambda h: c**2 * h, exact.hvp),
    )


def other_targets(loss: str, change: Callable[[Problem], Array], exact: Answers) -> Faulty:
    """For this loss, the answers for other targets; the logits stay."""
    problem = exact.problem
    if problem.loss != loss:
        return None
    return Answers(replace(problem, y=change(problem))).known({"logits": exact.logits})


def other_loss(loss: str, wrong: LossFunction, exact: Answers) -> Faulty:
    """The answers for another loss in place of this one."""
    return Answers(replace(exact.problem, loss=wrong)) if exact.problem.loss == loss else None


def other_layers(change: Callable[[Layer], Layer], exact: Answers, engine: Engine = sweeps) -> Faulty:
    """The answers of the network with other layers.  Layers without a rule for sweeps need autograd."""
    model = with_layers(exact.problem.model, change)
    return None if model is exact.problem.model else Answers(replace(exact.problem, model=model), engine)


def instead_of_mish(function: Callable[[Any], Any]) -> Callable[[Layer], Layer]:
    return swapped(Activation, lambda name, _: Activation(name, function), lambda a: a.function is mish)


def padded_same(layer: Layer) -> Layer:
    return swapped(Conv, SamePaddedConv)(swapped(MaxPool, SamePaddedMaxPool)(layer))


def threshold_softplus_for_softplus(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """In the activations, in one of two forms of the loss, or in both."""
    problem = exact.problem
    models, losses = {"": problem.model}, {"": problem.loss}
    if problem.model.spec.get("activation") == "softplus":
        change = swapped(Activation, lambda name, _: Activation(name, threshold_softplus))
        models["the activations"] = with_layers(problem.model, change)
    if problem.loss == "bce":
        losses["the loss softplus(z) − y z"] = ONE_THRESHOLD
        losses["the loss y softplus(−z) + (1 − y) softplus(z)"] = TWO_THRESHOLDS
    for loss, model in list(product(losses, models))[1:]:
        note = " and ".join(filter(None, (model, loss)))
        yield f"in {note}", Answers(replace(problem, model=models[model], loss=losses[loss]))


def reindexed(turn: Callable[[Array], Array], where: Callable[[Array], bool], exact: Answers) -> Faulty:
    """The answers of an implementation that reads some parameters in another order; `turn` is its own inverse."""
    names = [name for name, p in exact.problem.params.items() if where(p)]

    def turned(found: Any) -> Any:
        return found | {name: turn(found[name]) for name in names} if isinstance(found, dict) else found

    inside = Answers(replace(exact.problem, params=turned(exact.problem.params)))
    outside = {q: lambda _, q=q: turned(inside[q]) for q in QUANTITIES}  # type: ignore[misc]
    return exact.replaced(**outside) if names else None


def in_training(change: Callable[[Layer], Layer], exact: Answers) -> Faulty:
    """The answers of other batch-norm layers, in training mode."""
    return other_layers(change, exact, AUTOGRAD) if exact.problem.training else None


def other_variance(change: Callable[[Any], Any], exact: Answers) -> Faulty:
    """Batch-norm with a function of the variance in its place."""
    problem = exact.problem
    if problem.training or not problem.buffers:
        return other_layers(swapped(BatchNorm, partial(OtherVariance, change=change)), exact, AUTOGRAD)
    return running_statistics(lambda name, b: change(b) if name.endswith("var") else b, exact)


def other_epsilon(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    for eps in (1e-3, 1e-6, 0.0, 1e-8, 1e-12):
        yield f"ε = {eps:g}", other_variance(lambda v, shift=eps - EPS: v + shift, exact)  # type: ignore[misc]


def running_statistics(change: Callable[[str, Array], Array], exact: Answers) -> Faulty:
    """Other running statistics, which evaluation mode uses."""
    buffers = {name: change(name, b) for name, b in exact.problem.buffers.items()}
    return Answers(replace(exact.problem, buffers=buffers)) if buffers else None


class EachAlone(Autograd):
    """Batch-norm in training mode, with each input as a mini-batch of its own."""

    def logits(self, weights: Weights, x: Array, training: bool = False) -> Array:
        return anp.concatenate([super(EachAlone, self).logits(weights, one[None], training=True) for one in x])


class AllTogether(Autograd):
    """Batch-norm in training mode, with all inputs as one mini-batch."""

    def logits(self, weights: Weights, x: Array, training: bool = False) -> Array:
        return super().logits(weights, x, training=True)

    def field_loss(self, problem: Problem, i: int) -> Loss:
        definition = problem.loss_function.definition
        return lambda p: definition(self.logits(replace(problem, params=p), problem.x), problem.y)[i]


def training_mode(engine: Autograd, exact: Answers) -> Faulty:
    """The answers for single examples from an engine with batch-norm in training mode."""
    problem = exact.problem
    return None if problem.batches or not problem.buffers else Answers(problem, engine)


def hessian_of_sum(exact: Answers) -> Faulty:
    c = exact.problem.model.n_out
    averaged = exact.problem.loss in ("bce", "mse")
    return exact.replaced(hvp=lambda _: mapped(lambda h: h * c, exact.hvp)) if averaged else None


def along(exact: Answers, directions: Arrays) -> Answers:
    """The answers with other directions in place of the gradients in the products, name → (fields, *shape)."""
    return exact.replaced(hvp=lambda _: sweeps.products(exact.problem, directions))


def normalised_direction(exact: Answers) -> Answers:
    norms = gradient_norms(exact.grad)
    scale = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)[exact.problem.pairs]
    return exact.replaced(hvp=lambda _: mapped(lambda h: (h.T * scale.T).T, exact.hvp))


GROUPS: dict[str, Callable[[str, Problem], bool]] = {
    "biases": lambda name, problem: name.endswith("bias"),
    "batch-norm": lambda name, problem: f"{name.rpartition('.')[0]}.running_mean" in problem.buffers,
    "the last layer": lambda name, problem: name in list(problem.params)[-2:],
    "convolutions": lambda name, problem: problem.params[name].ndim == 4,
    "weights": lambda name, problem: name.endswith("weight"),
}


def lacking_group(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    for group, belongs in GROUPS.items():
        names = [name for name in exact.problem.params if belongs(name, exact.problem)]
        if names:
            directions = {name: g * (name not in names) for name, g in exact.grad.items()}
            yield group, along(exact, directions)


def layerwise_product(exact: Answers, name: str) -> Array:
    """The products with the Hessian's block of one tensor alone, (p, 2, *shape)."""
    return along(exact, {other: g * (other == name) for other, g in exact.grad.items()}).hvp[name]


def layerwise(exact: Answers) -> Answers:
    return exact.replaced(hvp=lambda _: {name: layerwise_product(exact, name) for name in exact.grad})


def own_gradient(exact: Answers) -> Answers:
    """H_j g_j and H_i g_i for the pair (i, j)."""
    fields = exact.problem.pairs[:, ::-1].ravel()
    own = Answers(replace(exact.problem, pairs=np.stack([fields, fields], axis=1))).known({"grad": exact.grad})
    return exact.replaced(hvp=lambda _: mapped(lambda h: h[:, 0].reshape(-1, 2, *h.shape[2:]), own.hvp))


def hessian_of_mean(exact: Answers) -> Faulty:
    problem = exact.problem
    if problem.batches:
        return None
    whole = replace(problem, x=problem.x[None], y=problem.y[None])  # one mini-batch
    return exact.replaced(hvp=lambda _: mapped(lambda h: h[:, 0][problem.pairs], sweeps.hvps(whole, exact.grad)))


def gauss_newton(exact: Answers) -> Answers:
    """Jᵀ (∂²L/∂z²) J d for both sides of each pair, by autograd."""
    problem, definition = exact.problem, exact.problem.loss_function.definition
    x, y = problem.groups

    def product(field: int, direction: int) -> Arrays:
        def network(params: Any) -> Any:
            return problem.model.apply(params, problem.buffers, x[field], problem.training)

        def loss(z: Any) -> Any:
            return definition(z, y[field]).mean()

        change = directional_derivative(network, problem.params, at(exact.grad, direction))
        weight = hvp_forward_over_reverse(loss, network(problem.params), change)
        return vector_field(lambda params: -anp.sum(network(params) * weight))(problem.params)

    return exact.replaced(hvp=lambda _: both_ways(problem.pairs, product))


def combined(first: float, second: float, exact: Answers) -> Answers:
    """The bracket as first · H_j g_i + second · H_i g_j."""
    return exact.replaced(bracket=lambda s: mapped(lambda h: first * h[:, 0] + second * h[:, 1], s.hvp))


def swapped_pairs(exact: Answers) -> Answers:
    return exact.replaced(hvp=lambda _: mapped(lambda h: h[:, ::-1], exact.hvp))


def pushed_onto_x(exact: Answers) -> Faulty:
    problem = exact.problem
    if problem.x.shape != problem.x_eval.shape or (problem.x == problem.x_eval).all():
        return None
    return exact.replaced(logit_delta=lambda s: exact.engine.push_forward(problem, problem.x, s.bracket)[1])


def changed_probabilities(exact: Answers) -> Answers:
    """What the logit changes do to σ(z), or to softmax(z) if the targets are labels."""
    problem = exact.problem

    def changes(_: Answers) -> Array:
        z = Dual(problem.model.apply(problem.params, problem.buffers, problem.x_eval), exact.logit_delta)
        labels = problem.loss_function.labels
        return (probabilities(z) if labels else elementwise(sigmoid_derivatives, z)[0]).tangent

    return exact.replaced(logit_delta=changes)


def changed_finitely(exact: Answers) -> Answers:
    problem = exact.problem

    def logits(bracket: Arrays) -> Array:
        params = {name: p + bracket[name] for name, p in problem.params.items()}
        return problem.model.apply(params, problem.buffers, problem.x_eval)

    def changes(_: Answers) -> Array:
        before = problem.model.apply(problem.params, problem.buffers, problem.x_eval)
        return np.stack([logits(at(exact.bracket, k)) - before for k in range(len(problem.pairs))])

    return exact.replaced(logit_delta=changes)
