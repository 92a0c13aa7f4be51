"""Faulty answers of networks, losses and inputs that are not the right ones.

Each function takes the exact answers and makes faulty ones, or None if the bug does not apply to the problem; some make
several, with a note for each.  The catalogue says in a sentence what each bug is.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import autograd.numpy as anp
import numpy as np

from ...core.activations import relu
from ...core.layers import Activation, AvgPool, BatchNorm, Conv, GlobalAvgPool, Layer, MaxPool, Residual, Sequential
from ...core.losses import LossFunction
from ...core.networks import Model
from ...core.problem import Engine, Problem
from ...core.types import Array
from ...fast import engine as sweeps
from ...fast.trees import with_layers
from ..answers import QUANTITIES, Answers, mapped
from . import layers, losses
from .layers import OTHERS, SamePaddedConv, SamePaddedMaxPool, swapped, threshold_softplus
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


def other_activation(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Another activation, everywhere or in one kind of place."""
    right = {layer.function for layer in layers_of(exact.problem.model, Activation)}
    for name, function in OTHERS.items():
        for where, there in PLACES.items():
            if {function} != right and (where == "everywhere" or name in OFTEN):
                change = swapped(Activation, lambda n, _, f=function: Activation(n, f), there)  # type: ignore[misc]
                yield f"{name}, {where}", other_layers(change, exact)


OFTEN = ("ReLU", "SiLU, x σ(x)", "GELU", "leaky ReLU with slope 0.01", "no activation")  # where only some places differ
PLACES: dict[str, Callable[[Any], bool]] = {
    "everywhere": lambda layer: True,
    "after the sum of each block": lambda layer: layer.name.endswith(".activation"),
    "inside the blocks": lambda layer: ".convs." in layer.name,
    "before the max-pool": lambda layer: layer.name in ("0.2", "1.2", "2.2"),
}


def layers_of(model: Model, kind: type[Layer]) -> list[Any]:
    """The layers of one kind, in the order of their names in the tree."""
    found: list[Any] = []

    def note(layer: Layer) -> Layer:
        found.extend([layer] if isinstance(layer, kind) else [])
        return layer

    with_layers(model, note)
    return found


def activation_after_last(exact: Answers) -> Faulty:
    """The network with an activation after its last layer."""
    model = exact.problem.model
    last = layers_of(model, Activation)[-1:]
    network = replace(model.network, layers=(*model.network.layers, *last))
    return Answers(replace(exact.problem, model=replace(model, network=network))) if last else None


def other_pooling(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    for note, right, wrong in (
        ("the maximum at the end, not the mean", GlobalAvgPool, layers.GlobalMaxPool),
        ("every second entry in the shortcut, not the mean", AvgPool, layers.Subsampled),
        ("the maximum in the shortcut, not the mean", AvgPool, layers.MaximumInShortcut),
        ("the mean in place of the max-pool", MaxPool, layers.MeanOfWindow),
        ("no max-pool", MaxPool, layers.NoMaxPool),
    ):
        yield note, other_layers(swapped(right, wrong), exact)


def other_padding(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    for note, ends in (
        ("by reflection", lambda n: (min(1, n - 1), max(n - 2, 0))),
        ("by its edges", lambda n: (0, n - 1)),
        ("as if it were periodic", lambda n: (n - 1, 0)),
    ):
        yield note, other_layers(partial(_padded_by, ends), exact)


def _padded_by(ends: Callable[[int], tuple[int, int]], layer: Layer) -> Layer:
    if type(layer) is not Conv or layer.kernel != 3:
        return layer
    unpadded = layers.UnpaddedConv(layer.name, layer.n_in, layer.n_out, layer.kernel, layer.stride)
    return Sequential("", (layers.Framed("", ends), unpadded))


def reordered(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Layers in another order."""

    def normalised_last(layer: Layer) -> Layer:
        if [type(inner) for inner in layer.inner] != [Conv, BatchNorm, Activation]:
            return layer
        conv, norm, activation = layer.inner
        return Sequential(layer.name, (conv, activation, norm))

    def pooled_last(layer: Layer) -> Layer:
        if not (isinstance(layer, Residual) and len(layer.shortcut.layers) == 2):
            return layer
        return replace(layer, shortcut=replace(layer.shortcut, layers=layer.shortcut.layers[::-1]))

    yield "batch-norm comes after the activation", other_layers(normalised_last, exact)
    yield "shortcuts pool after their convolution and batch-norm", other_layers(pooled_last, exact)


def other_strides(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Strides in another convolution of the stem or of each block."""
    convs = layers_of(exact.problem.model, Conv)
    stem = [layer.name for layer in convs if layer.name in ("0.0", "1.0", "2.0")]
    for k in (1, 2):
        yield f"in the stem, convolution {k + 1}", _strided({stem[0]: 1, stem[k]: 2} if stem else {}, exact)
    strided = [layer.name for layer in convs if layer.stride > 1 and ".convs." in layer.name]
    for step in (-1, 1):
        moved: dict[str, int] = {}
        for name in strided:
            block, _, k = name.removesuffix(".0").rpartition(".")
            moved |= {name: 1, f"{block}.{int(k) + step}.0": 2}
        yield f"in blocks, the convolution {'before' if step < 0 else 'after'} the right one", _strided(moved, exact)


def _strided(strides: dict[str, int], exact: Answers) -> Faulty:
    def change(layer: Layer) -> Layer:
        new = isinstance(layer, Conv) and layer.name in strides
        return replace(layer, stride=strides[layer.name]) if new else layer  # type: ignore[call-arg]

    return other_layers(change, exact)


def shared_weights(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Layers or blocks of the same shapes that all have the weights of the last, or of the first, of them."""
    params, buffers = exact.problem.params, exact.problem.buffers
    prefixes = {name.rpartition(".")[0] for name in params} | {".".join(name.split(".")[:2]) for name in params}
    alike: dict[Any, list[str]] = {}
    for prefix in sorted(prefixes, key=lambda p: [int(k) if k.isdigit() else k for k in p.split(".")]):
        inside = {k.removeprefix(prefix): a.shape for k, a in (params | buffers).items() if k.startswith(f"{prefix}.")}
        alike.setdefault((prefix.count("."), *sorted(inside.items())), []).append(prefix)
    for note, k in (("the last", -1), ("the first", 0)):
        for group in (g for g in alike.values() if len(g) > 1):

            def taken(name: str, group: list[str] = group, k: int = k) -> str:
                mine = [p for p in group if name.startswith(f"{p}.")]
                return group[k] + name.removeprefix(mine[0]) if mine else name

            shared = [{name: of[taken(name)] for name in of} for of in (params, buffers)]
            faulty = Answers(replace(exact.problem, params=shared[0], buffers=shared[1]))
            yield f"{', '.join(group)}: those of {note}", faulty


def other_inputs(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """The inputs in another order or scale."""
    for note, change in INPUTS.items():
        problem = exact.problem
        changed = [change(a) for a in (problem.x, problem.x_eval)]
        if all(a.shape == b.shape for a, b in zip(changed, (problem.x, problem.x_eval), strict=True)):
            yield note, Answers(replace(problem, x=changed[0], x_eval=changed[1]))


INPUTS: dict[str, Callable[[Array], Array]] = {
    "divided by 255": lambda x: x / 255,
    "times 255": lambda x: x * 255,
    "times 255/256": lambda x: x * 255 / 256,
    "from 0 … 1 to −1 … 1": lambda x: 2 * x - 1,
    "from −1 … 1 to 0 … 1": lambda x: (x + 1) / 2,
    "channels or features in reverse order": lambda x: np.flip(x, -3 if x.ndim > 3 else -1),
    "height and width exchanged": lambda x: np.swapaxes(x, -1, -2) if x.ndim > 3 else x,
    "height and width exchanged, but not the shape": lambda x: (
        np.swapaxes(x, -1, -2).reshape(x.shape) if x.ndim > 3 else x
    ),
    "mirrored": lambda x: x[..., ::-1],
    "upside down": lambda x: x[..., ::-1, :] if x.ndim > 3 else x,
    "turned by 180°": lambda x: x[..., ::-1, ::-1] if x.ndim > 3 else x,
    "channels first read as channels last": lambda x: (
        np.moveaxis(x.reshape(*x.shape[:-3], *x.shape[-2:], x.shape[-3]), -1, -3) if x.ndim > 3 else x
    ),
    "channels last read as channels first": lambda x: np.moveaxis(x, -3, -1).reshape(x.shape) if x.ndim > 3 else x,
    "standardised, each on its own": lambda x: (
        (x - x.mean(tuple(range(-3 if x.ndim > 3 else -1, 0)), keepdims=True))
        / x.std(tuple(range(-3 if x.ndim > 3 else -1, 0)), keepdims=True)
    ),
}


def affine_targets(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Targets a y + b in place of y."""
    problem = exact.problem
    for note, a, b in (
        ("(y + 1) / 2", 0.5, 0.5),
        ("1 − y", -1, 1),
        ("y smoothed by 0.1", 0.9, 0.05),
        ("y smoothed by 0.05", 0.95, 0.025),
        ("y smoothed by 0.2", 0.8, 0.1),
        ("zeros", 0, 0),
        ("ones", 0, 1),
        ("2 y", 2, 0),
        ("y / 2", 0.5, 0),
    ):
        if not problem.loss_function.labels:
            yield note, Answers(replace(problem, y=a * problem.y + b)).known({"logits": exact.logits})
    if problem.loss_function.labels:
        k = problem.model.n_out
        for note, y in (
            ("labels are one too low", (problem.y - 1) % k),
            ("labels are in reverse order", k - 1 - problem.y),
            ("labels are all 0", 0 * problem.y),
        ):
            yield note, Answers(replace(problem, y=y)).known({"logits": exact.logits})


def broadcast_targets(exact: Answers) -> Answers:
    """Each loss is the mean of those with the targets of all examples, or of all members."""
    problem, loss = exact.problem, exact.problem.loss_function

    def definition(z: Any, y: Array) -> Any:
        return sum(loss.definition(z, y[:, t]) for t in range(y.shape[1])) / y.shape[1]

    y = np.stack([problem.y] * problem.y.shape[problem.batches], axis=int(problem.batches))
    wrong = replace(loss, definition=definition)
    return Answers(replace(problem, y=y, loss=wrong)).known({"logits": exact.logits})


def dealt(exact: Answers) -> Faulty:
    """Every b-th example in each of b mini-batches."""
    problem = exact.problem
    if not problem.batches:
        return None
    b, m = problem.x.shape[:2]
    order = np.arange(b * m).reshape(m, b).T
    x, y = (a.reshape(b * m, *a.shape[2:])[order] for a in (problem.x, problem.y))
    return Answers(replace(problem, x=x, y=y))


def other_losses(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    for note, right, wrong in (
        ("it is computed from probabilities, whose logarithms are cut off at −100", "bce", losses.OF_PROBABILITIES),
        *((f"{c:g} is added to probabilities", "bce", losses.shifted(c)) for c in (1e-7, 1e-8, 1e-6, 1e-10, 1e-12)),
        *((f"targets 1 have the weight {c:g}", "bce", losses.weighted(c)) for c in (2.0, 0.5, 3.0, 10.0)),
        *((f"labels are smoothed by {c:g}", "softmax", losses.smoothed(c)) for c in (0.1, 0.05, 0.2, 0.01)),
        ("each output has a cross-entropy of its own", "softmax", losses.ONE_AGAINST_ALL),
        ("its softmax is over the members of the mini-batch", "softmax", losses.OVER_MEMBERS),
        ("it is Huber's", "mse", losses.HUBER),
        ("it is the absolute error", "mse", losses.ABSOLUTE),
        ("it is the root of the mean square", "mse", losses.ROOT),
    ):
        yield note, other_loss(right, wrong, exact)


def kinks(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Another derivative where none exists: at 0, or where entries of a max-pool window are equal."""
    for slope in (0.5, 1.0):
        change = swapped(
            Activation,
            lambda n, _, c=slope: Activation(n, lambda x: anp.where(x == 0, c * x, relu(x))),  # type: ignore[misc]
            lambda a: a.function is relu,
        )
        yield f"ReLU has the slope {slope:g} at 0", other_layers(change, exact)
    for note, pool in (("the last", layers.LastOfTies), ("each", layers.EveryTie)):
        change = swapped(MaxPool, pool)
        yield f"{note} of equal entries of a max-pool window gets the whole derivative", other_layers(change, exact)


def detached(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """A part of the network that is not differentiated through."""
    for note, branch in (("the shortcuts'", "shortcut"), ("the convolutions'", "convs")):

        def change(layer: Layer, branch: str = branch) -> Layer:
            if not isinstance(layer, Residual):
                return layer
            inside = getattr(layer, branch).layers
            return replace(layer, **{branch: Sequential("", (layers.Detached(""), *inside))})  # type: ignore[arg-type]

        yield f"{note} inputs in the blocks", other_layers(change, exact)


def padded_same(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Less padding before than after, in strided layers of an even length."""
    convs, pool = swapped(Conv, SamePaddedConv), swapped(MaxPool, SamePaddedMaxPool)
    yield "both", other_layers(lambda layer: convs(pool(layer)), exact)
    yield "the convolutions alone", other_layers(convs, exact)
    yield "the max-pool alone", other_layers(pool, exact)


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
