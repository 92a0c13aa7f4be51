"""Faulty answers of batch-norm with another mode, other statistics or another ε.

The functions are of the same kinds as in `networks`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np

from ...core.engine import AUTOGRAD, Autograd, at
from ...core.fields import directional_derivative
from ...core.layers import EPS, BatchNorm, Layer
from ...core.problem import Problem, Weights
from ...core.types import Array
from ...fast.trees import with_layers
from ..answers import Answers
from . import losses
from .layers import DetachedStatistics, OtherVariance, UpdatedStatistics, swapped
from .networks import Faulty, other_layers


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
    for eps in (1e-3, 1e-6, 0.0, 1e-8, 1e-12, 0.1, 1e-2, 1e-4):
        yield f"ε = {eps:g}", other_variance(lambda v, shift=eps - EPS: v + shift, exact)  # type: ignore[misc]


def running_statistics(change: Callable[[str, Array], Array], exact: Answers) -> Faulty:
    """Other running statistics, which evaluation mode uses."""
    buffers = {name: change(name, b) for name, b in exact.problem.buffers.items()}
    return Answers(replace(exact.problem, buffers=buffers)) if buffers else None


def moved_statistics(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Running statistics after forward passes in training mode."""
    problem = exact.problem
    every = problem.x.reshape(-1, *problem.groups[0].shape[2:])
    for note, passes in (
        ("one of all examples", [every]),
        ("one of each field", [*problem.groups[0]]),
        ("two of each field", [*problem.groups[0]] * 2),
        ("one of x_eval", [problem.x_eval]),
    ):
        buffers = dict(problem.buffers)
        try:
            for x in passes if buffers else ():
                problem.model.network.apply(problem.params, buffers, x, training=True)
        except ValueError:  # a single value has no variance
            continue
        yield note, Answers(replace(problem, buffers=buffers)) if buffers else None


class InHalves(Autograd):
    """Batch-norm in training mode, with each half of a mini-batch on its own."""

    def logits(self, weights: Weights, x: Array, training: bool = False) -> Array:
        halves = np.array_split(x, 2) if training else [x]
        return anp.concatenate([super(InHalves, self).logits(weights, half, training) for half in halves])


def mini_batch_statistics(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Other statistics in training mode."""
    yield "of the running ones, after their update", in_training(swapped(BatchNorm, UpdatedStatistics), exact)
    yield "of each half on its own", Answers(exact.problem, InHalves()) if exact.problem.training else None


def each_alone(exact: Answers) -> Faulty:
    """Batch-norm in training mode, with each input as a mini-batch of its own."""
    p = exact.problem
    return _with_mini_batches(exact, replace(p, x=p.x[:, None], y=p.y[:, None], training=True), lambda z: z[:, 0])


def all_together(exact: Answers) -> Faulty:
    """Batch-norm in training mode, with all inputs in one mini-batch: n times, with the loss of one member each."""
    p, n = exact.problem, len(exact.problem.x)
    if p.batches:
        return None
    targets = p.y[..., None] if p.loss_function.labels else p.y
    weighted = [np.concatenate([targets, n * np.eye(n)[:, [i]]], axis=1) for i in range(n)]
    x, y, loss = np.stack([p.x] * n), np.stack(weighted).astype(p.x.dtype), losses.weighing_members(p.loss_function)
    return _with_mini_batches(exact, replace(p, x=x, y=y, loss=loss, training=True), lambda z: z[0])


def _with_mini_batches(exact: Answers, wrong: Problem, logits: Callable[[Array], Array]) -> Faulty:
    """The answers to a problem of mini-batches, for one of examples; changes are those of x_eval as a mini-batch."""
    if exact.problem.batches or not exact.problem.buffers:
        return None
    found = Answers(wrong)
    return exact.replaced(
        logits=lambda _: logits(found.logits),
        loss=lambda _: found.loss,
        grad=lambda _: found.grad,
        hvp=lambda _: found.hvp,
        logit_delta=_changes_in_training_mode,
    )


def pushed_as_mini_batch(exact: Answers) -> Faulty:
    """Logit changes of batch-norm in training mode, with x_eval as the mini-batch."""
    return exact.replaced(logit_delta=_changes_in_training_mode) if exact.problem.buffers else None


def _changes_in_training_mode(answers: Answers) -> Array:
    problem = answers.problem

    def z(params: Any) -> Any:
        return problem.model.apply(params, problem.buffers, problem.x_eval, training=True)

    ways = range(len(problem.pairs))
    return np.stack([directional_derivative(z, problem.params, at(answers.bracket, k)) for k in ways])


def exchanged(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    """Batch-norm's arrays, each under the name of the other."""
    problem = exact.problem
    for key, one, other in (("params", "weight", "bias"), ("buffers", "running_mean", "running_var")):
        arrays, layers = getattr(problem, key), {name.rpartition(".")[0] for name in problem.buffers}
        swap = {f"{n}.{a}": arrays[f"{n}.{b}"] for n in layers for a, b in ((one, other), (other, one))}
        yield f"{one} and {other}", Answers(replace(problem, **{key: arrays | swap})) if layers else None


def detached_statistics(exact: Answers) -> Iterator[tuple[str, Faulty]]:
    for parts in (("mean", "variance"), ("variance",), ("mean",)):
        change = swapped(BatchNorm, partial(DetachedStatistics, detached=parts))
        yield " and ".join(parts), in_training(change, exact)
    if exact.problem.training:
        faulty = replace(exact.problem, model=with_layers(exact.problem.model, swapped(BatchNorm, DetachedStatistics)))
        yield "in the products alone", exact.replaced(hvp=lambda _: AUTOGRAD.products(faulty, exact.grad))
