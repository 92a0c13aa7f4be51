"""Faulty answers of the right network: products, brackets and logit changes that are not what they should be.

The functions are of the same kinds as in `networks`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import elementwise_grad
from autograd.tracer import getval

from ...core.engine import at
from ...core.fields import directional_derivative, hvp_forward_over_reverse, vector_field
from ...core.layers import Activation, Layer
from ...core.types import Array, Arrays
from ...fast import engine as sweeps
from ...fast.dual import Dual, elementwise
from ...fast.scalar_rules import probabilities, sigmoid_derivatives
from ..answers import Answers, both_ways, gradient_norms, mapped
from ..comparison import GROUPS
from . import losses
from .layers import swapped
from .networks import Faulty, other_layers


def products_elsewhere(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Products along ones, of one field alone, or of batch-norm in the other mode."""
    ones = {name: np.ones_like(g) for name, g in exact.grad.items()}
    yield "directions are all ones", along(exact, ones)
    problem = exact.problem
    for which, k in (("the first", 0), ("the last", len(problem.x) - 1)):
        yield f"Hessians are all of {which} field", exact.replaced(hvp=partial(_hessian_of, k))
        same = {name: np.repeat(g[k : k + 1], len(g), axis=0) for name, g in exact.grad.items()}
        yield f"directions are all the gradient of {which} field", along(exact, same)
    if problem.buffers:
        other = replace(problem, training=not problem.training)
        yield (
            f"they are those of batch-norm in {'evaluation' if problem.training else 'training'} mode",
            exact.replaced(hvp=lambda _: exact.engine.products(other, exact.grad)),
        )


def _hessian_of(k: int, exact: Answers) -> Arrays:
    """H_k g_i and H_k g_j for each pair (i, j)."""
    problem = exact.problem
    pairs = np.stack([problem.pairs.ravel(), np.full(problem.pairs.size, k)], axis=1)
    products = exact.engine.products(replace(problem, pairs=pairs), exact.grad)
    return {name: h[:, 0].reshape(-1, 2, *h.shape[2:])[:, : exact.sides] for name, h in products.items()}


def clipped(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Gradients whose norm is cut to a usual bound."""
    norms = gradient_norms(exact.grad)
    for most, guard in product((1.0, 5.0, 10.0, 2.0, 0.5, 0.25, 0.1), (1e-6, 0.0)):  # PyTorch divides by ‖g‖ + 1e-6
        scale = np.minimum(1, most / (norms + guard))
        if scale.min() < 1:
            grad = {name: (g.T * scale).T for name, g in exact.grad.items()}
            of_directions = scale[exact.problem.pairs][:, : exact.sides]  # of g_i and g_j
            hvp = {name: (h.T * of_directions.T).T for name, h in exact.hvp.items()}
            yield f"to {most:g}", exact.replaced(grad=partial(_given, grad), hvp=partial(_given, hvp))


def _given(found: Arrays, _: Answers) -> Arrays:
    return found


def centred(exact: Answers) -> Answers:
    """Gradients and products whose means over the inputs of each unit are subtracted."""

    def centre(arrays: Arrays, lead: int) -> Arrays:
        axes = {name: tuple(range(lead + 1, a.ndim)) for name, a in arrays.items()}
        return {n: a - a.mean(axes[n], keepdims=True) if axes[n] else a for n, a in arrays.items()}

    grad = centre(exact.grad, 1)
    return exact.replaced(grad=lambda _: grad, hvp=lambda _: centre(exact.engine.products(exact.problem, grad), 2))


def curvature_lost(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Products in which something has a gradient, but no second derivative."""
    problem = exact.problem
    yield "the loss", Answers(replace(problem, loss=losses.straight(problem.loss_function)))

    def straight(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: function(getval(x)) + elementwise_grad(function)(getval(x)) * (x - getval(x))

    def change(name: str, function: Callable[[Any], Any]) -> Layer:
        return Activation(name, straight(function))

    yield "the activation", other_layers(swapped(Activation, change), exact)


def flattened(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Directions, products or both that were flattened in one order of the tensors and unflattened in another."""

    def columns_first(arrays: Arrays, lead: int) -> Arrays:
        axes = {n: (*range(lead), *reversed(range(lead, a.ndim))) for n, a in arrays.items()}
        return {n: a.transpose(axes[n]).reshape(a.shape) for n, a in arrays.items()}

    yield "directions, in column-major order", along(exact, columns_first(exact.grad, 1))
    yield "products, in column-major order", exact.replaced(hvp=lambda _: columns_first(exact.hvp, 2))
    for note, order in _orders(exact):
        wrong = along(exact, _misread(exact.grad, 1, order))
        yield f"directions, {note}", wrong
        for what, right in (("products", exact), ("directions and products", wrong)):
            hvp = partial(lambda right, order, _: _misread(right.hvp, 2, order), right, order)
            yield f"{what}, {note}", exact.replaced(hvp=hvp)


def misreported(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Gradients, products and brackets that were right before they were unflattened in another order."""
    for note, order in _orders(exact) if exact.sides == 2 else ():  # a single product has no bracket
        arrays = {q: _misread(exact[q], lead, order) for q, lead in (("grad", 1), ("hvp", 2), ("bracket", 1))}
        given = {q: partial(_given, found) for q, found in arrays.items()}
        yield note, exact.replaced(**given, logit_delta=lambda _: exact.logit_delta)  # type: ignore[arg-type]


def _orders(exact: Answers) -> list[tuple[str, list[str]]]:
    """Other orders of the tensors than the network's."""
    names = list(exact.grad)
    orders = (("sorted by name", sorted(names)), ("last tensor first", names[::-1]))
    return [(note, order) for note, order in orders if order != names]


def _misread(arrays: Arrays, lead: int, order: list[str]) -> Arrays:
    """Tensors written one after the other in this order, and read in that of the network."""
    rows = next(iter(arrays.values())).shape[:lead]
    flat = np.concatenate([arrays[name].reshape(*rows, -1) for name in order if name in arrays], axis=-1)
    ends = np.cumsum([a.size // int(np.prod(rows)) for a in arrays.values()])[:-1]
    parts = np.split(flat, ends, axis=-1)
    return {name: part.reshape(a.shape) for (name, a), part in zip(arrays.items(), parts, strict=True)}


def hessian_of_sum(exact: Answers) -> Faulty:
    c = exact.problem.model.n_out
    averaged = exact.problem.loss in ("bce", "mse")
    return exact.replaced(hvp=lambda _: mapped(lambda h: h * c, exact.hvp)) if averaged else None


def along(exact: Answers, directions: Arrays) -> Answers:
    """The answers with other directions in place of the gradients in the products, name → (fields, *shape)."""
    return exact.replaced(hvp=lambda _: exact.engine.products(exact.problem, directions))


def lacking_group(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    for group, belongs in GROUPS.items():
        names = [name for name in exact.problem.params if belongs(name, exact.problem)]
        if 0 < len(names) < len(exact.problem.params):
            directions = {name: g * (name not in names) for name, g in exact.grad.items()}
            yield group, along(exact, directions)


def lacking_part(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Directions without a tensor or a layer, whose rows of the products are right, or missing as well."""
    layers = {name.rpartition(".")[0] + "." for name in exact.grad if "." in name}
    for part in (*exact.grad, *sorted(layers)):
        kept = {name: not (name == part or (part in layers and name.startswith(part))) for name in exact.grad}
        cut = along(exact, {name: g * kept[name] for name, g in exact.grad.items()})
        yield part.removesuffix("."), cut
        hvp = {name: h * kept[name] for name, h in cut.hvp.items()}
        yield f"{part.removesuffix('.')}; products lack them, too", exact.replaced(hvp=partial(_given, hvp))


def layerwise_product(exact: Answers, name: str) -> Array:
    """The products with the Hessian's block of one tensor alone, (p, 2, *shape)."""
    return along(exact, {other: g * (other == name) for other, g in exact.grad.items()}).hvp[name]


def layerwise(exact: Answers) -> Answers:
    return exact.replaced(hvp=lambda _: {name: layerwise_product(exact, name) for name in exact.grad})


def own_products(exact: Answers) -> Arrays:
    """H_k g_k for each field k: name → (fields, *shape); those of fields without a pair are zero."""
    fields = np.unique(exact.problem.pairs)
    own = replace(exact.problem, pairs=np.stack([fields, fields], axis=1))
    found = {name: np.zeros_like(g) for name, g in exact.grad.items()}
    for name, h in exact.engine.products(own, exact.grad).items():
        found[name][fields] = h[:, 0]
    return found


def hessian_of_mean(exact: Answers) -> Faulty:
    problem = exact.problem
    if problem.batches:
        return None
    whole = replace(problem, x=problem.x[None], y=problem.y[None])  # one mini-batch
    return exact.replaced(hvp=lambda _: mapped(lambda h: h[:, 0][problem.pairs], sweeps.hvps(whole, exact.grad)))


def gauss_newton(exact: Answers) -> Answers:
    """Jᵀ (∂²L/∂z²) J d + λ d for both sides of each pair, by autograd."""
    problem, definition = exact.problem, exact.problem.loss_function.definition
    x, y = problem.groups

    def product(field: int, direction: int) -> Arrays:
        def network(params: Any) -> Any:
            return problem.model.apply(params, problem.buffers, x[field], problem.training)

        def loss(z: Any) -> Any:
            return definition(z, y[field]).mean()

        change = directional_derivative(network, problem.params, at(exact.grad, direction))
        weight = hvp_forward_over_reverse(loss, network(problem.params), change)
        curved = vector_field(lambda params: -anp.sum(network(params) * weight))(problem.params)
        decay = problem.loss_function.weight_decay
        return {name: a + decay * exact.grad[name][direction] for name, a in curved.items()}

    return exact.replaced(hvp=lambda _: both_ways(problem.pairs, product))


def pushed_onto_x(exact: Answers) -> Faulty:
    problem = exact.problem
    if problem.x.shape != problem.x_eval.shape or (problem.x == problem.x_eval).all():
        return None
    return exact.replaced(logit_delta=lambda s: exact.engine.push_forward(problem, problem.x, s.bracket)[1])


def pushed_without(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Logit changes along a part of the bracket."""
    for group, belongs in GROUPS.items():
        names = [name for name in exact.problem.params if belongs(name, exact.problem)]
        if 0 < len(names) < len(exact.problem.params):
            yield f"without {group}", exact.replaced(logit_delta=partial(_pushed, names))


def _pushed(without: list[str], answers: Answers) -> Array:
    rest = {name: b * (name not in without) for name, b in answers.bracket.items()}
    return answers.engine.push_forward(answers.problem, answers.problem.x_eval, rest)[1]


def summed_over_inputs(exact: Answers) -> Answers:
    """Each input has the sum of the changes of all."""
    changes = exact.logit_delta
    return exact.replaced(logit_delta=lambda _: np.broadcast_to(changes.sum(axis=1, keepdims=True), changes.shape))


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
        return exact.engine.logits(replace(problem, params=params), problem.x_eval)

    def changes(_: Answers) -> Array:
        before = exact.engine.logits(problem, problem.x_eval)
        return np.stack([logits(at(exact.bracket, k)) - before for k in range(len(problem.pairs))])

    return exact.replaced(logit_delta=changes)
