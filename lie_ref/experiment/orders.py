"""Tries whether a bracket tells which order is better: the loss on held-out images, predicted and real, after swaps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.differences import PLAIN
from ..core.engine import at
from ..core.fields import inner
from ..core.networks import Model
from ..core.optimizers import Optimizer
from ..core.problem import NO_PAIRS, Problem
from ..core.types import Array, Arrays
from ..fast import engine
from ..images.dataset import Dataset
from ..measure.derivatives import swap_effect
from ..measure.order_value import best_order, mean_gradient, order_sum, values
from ..measure.pass_order import pass_displacement
from ..study.checkpoint import Checkpoint
from .settings import Settings

HELD_OUT, PAIRS, BATCHES, RANDOM = 100, 6, 8, 50  # validation images; pairs; mini-batches of a pass; random orders
EPSILONS = (1e-5, 1e-4, 1e-3)  # learning rates of the swaps, beside that of the experiment


def try_orders(settings: Settings, model: Model, dataset: Dataset, checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Predicted and real changes of the held-out loss at a checkpoint: one entry for each kind, optimizer and ε.

    The kinds are swaps of two examples, swaps of two neighbouring mini-batches, and whole passes over mini-batches in
    random orders.  `predicted` and `real` have a number for each swap or order.  A pass also has the `real` changes
    of the order that the brackets find `best`, and of its `reverse`; all are relative to the given order.
    """
    rng = settings.rng("orders", checkpoint.step)
    rows = rng.permutation(dataset.indices("train"))
    weights, loss = checkpoint.weights(model), settings.loss(dataset.attributes)

    def problem(rows: Array, members: int = 0) -> Problem:
        x, y = inputs, _ = dataset.batch(rows, np.float64)
        if members:
            x, y = (a.reshape(-1, members, *a.shape[1:]) for a in (x, y))
        given = model, weights.params, weights.buffers, x, y, NO_PAIRS, inputs, loss
        return Problem(*given, training=bool(members))

    held_out = problem(rng.permutation(dataset.indices("validation"))[:HELD_OUT])
    optimizers: dict[str, Optimizer] = {"sgd": PLAIN, "adam": checkpoint.adam(settings.betas)}
    found = []
    pairs, batches = min(PAIRS, len(rows) // settings.batch // 2), min(BATCHES, len(rows) // settings.batch)
    swapped = {"examples": problem(rows[: 2 * min(PAIRS, len(rows) // 2)])}
    if pairs:
        swapped["mini-batches"] = problem(rows[: 2 * pairs * settings.batch], settings.batch)
    gradient, epsilons = mean_gradient(held_out), (*EPSILONS, settings.lr)
    for kind, of in swapped.items():
        for name, optimizer in optimizers.items():
            swaps = _swaps(of, held_out, gradient, optimizer, epsilons)
            for epsilon, (predicted, real) in zip(epsilons, swaps.tolist(), strict=True):
                common = {"step": checkpoint.step, "kind": kind, "optimizer": name, "epsilon": epsilon}
                found.append(common | {"predicted": predicted, "real": real})
    whole = problem(rows[: batches * settings.batch], settings.batch).astype(np.float32)
    watched = held_out.astype(np.float32)
    value = values(whole, mean_gradient(watched))
    for name, optimizer in optimizers.items():
        common = {"step": checkpoint.step, "kind": "passes", "optimizer": name, "epsilon": settings.lr}
        found.append(common | _passes(whole, watched, value, optimizer, settings.lr, rng))
    return found


def _swaps(
    problem: Problem, held_out: Problem, gradient: Arrays, optimizer: Optimizer, epsilons: Sequence[float]
) -> Array:
    """The predicted and the real loss after fields 2p, 2p + 1 minus that after 2p + 1, 2p: (ε, 2, p).

    `gradient` is that of the held-out loss.
    """
    found = np.zeros((len(epsilons), 2, len(problem.x) // 2))
    for first in range(0, len(problem.x), 2):
        x, y = (a[first : first + 2] for a in (problem.x, problem.y))
        two = replace(problem, x=x, y=y, pairs=np.array([[0, 1]]))
        g = engine.gradients(two)
        slopes = [float(inner(gradient, at(swap_effect(two, g, optimizer, order), 0))) for order in (1, 2)]
        for e, epsilon in enumerate(epsilons):
            losses = [_loss_after(two, held_out, order, epsilon, optimizer) for order in ((0, 1), (1, 0))]
            found[e, :, first // 2] = epsilon * slopes[0] + epsilon**2 * slopes[1], losses[0] - losses[1]
    return found


def _passes(
    problem: Problem, held_out: Problem, value: Array, optimizer: Optimizer, epsilon: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Whole passes in the order that is best by the `value` of brackets, in its reverse, and in random orders."""
    count = len(problem.x)
    best = best_order(value)
    given, orders = np.arange(count), [best, best[::-1], *(rng.permutation(count) for _ in range(RANDOM))]
    start = _loss_after(problem, held_out, given, epsilon, optimizer)
    real = [_loss_after(problem, held_out, order, epsilon, optimizer) - start for order in orders]
    predicted = [epsilon**2 * (order_sum(value, order) - order_sum(value, given)) for order in orders]
    return {"best": real[0], "reverse": real[1], "predicted": predicted[2:], "real": real[2:]}


def _loss_after(
    problem: Problem, held_out: Problem, order: Sequence[int] | Array, epsilon: float, optimizer: Optimizer
) -> float:
    """The mean held-out loss after steps on the fields of a problem in this order."""
    moved = pass_displacement(problem, order, epsilon, optimizer)
    there = replace(held_out, params={name: p + moved[name] for name, p in problem.params.items()})
    each = held_out.loss_function.definition(engine.logits(there, held_out.x), held_out.y)
    return float(np.mean(each, dtype=np.float64))
