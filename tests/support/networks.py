"""Networks at generic weights, for the tests: at initial values a wrong term could be zero."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import lie_ref
from lie_ref.core.fields import Loss, Point, difference, hvp_reverse_over_reverse, vector_field
from lie_ref.core.losses import LOSSES, LossFunction
from lie_ref.core.networks import Model
from lie_ref.core.problem import Problem
from lie_ref.core.types import Arrays
from lie_ref.fast import engine
from lie_ref.fast.arguments import checked_problem

BOTTLENECK = {"stem": (8, 8, 16), "widths": (4, 8), "layers": (1, 2), "expansion": 4, "n_out": 5}
MLPS = [lie_ref.mlp([5, 7, 6, 3], activation) for activation in ("tanh", "mish", "softplus", "relu")]


def generic_state(model: Model, seed: int) -> tuple[Arrays, Arrays]:
    """Parameters and buffers away from initial values: batch-norm weights of both signs, statistics far from (0, 1)."""
    params, buffers = model.init(seed)
    rng = np.random.default_rng([seed, 1])
    for name, p in params.items():
        if p.ndim == 1:
            params[name] = p + 0.5 * rng.standard_normal(p.shape)
    for name, b in buffers.items():
        buffers[name] = rng.standard_normal(b.shape) if name.endswith("mean") else rng.uniform(0.3, 3, b.shape)
    return params, buffers


def examples(model: Model, shape: tuple[int, ...], seed: int, loss: str = "bce") -> tuple[np.ndarray, np.ndarray]:
    """Random inputs of this shape, with any number of leading axes, and targets that fit the loss."""
    rng = np.random.default_rng([seed, 2])
    x = rng.standard_normal(shape)
    lead = shape[: -3 if model.pictures else -1]
    if loss == "softmax":
        return x, rng.integers(0, model.n_out, lead)
    return x, rng.integers(0, 2, (*lead, model.n_out)).astype(float)


def arguments(model: Model, shape: tuple[int, ...], seed: int, loss: str = "bce") -> tuple[Any, ...]:
    """A model at generic weights and examples: the first arguments of the public functions, (model, …, x, y)."""
    return model, *generic_state(model, seed), *examples(model, shape, seed, loss)


def generic_problem(
    model: Model,
    shape: tuple[int, ...],
    seed: int,
    pairs: ArrayLike = ((0, 1),),
    loss: str = "bce",
    training: bool = False,
) -> Problem:
    """Generic weights, examples of this shape (with all leading axes) and two evaluation inputs."""
    x, y = examples(model, shape, seed, loss)
    x_eval, _ = examples(model, (2, *shape[-3 if model.pictures else -1 :]), seed + 1)
    return checked_problem(model, *generic_state(model, seed), x, y, np.array(pairs), x_eval, loss, training)


def training_gradients(
    model: Model, params: Arrays, buffers: Arrays, x: np.ndarray, y: np.ndarray, loss: str | LossFunction = "bce"
) -> tuple[float, Arrays, Arrays]:
    """Mean loss and gradient of a mini-batch in training mode, and the buffers after the pass."""
    problem = checked_problem(model, params, buffers, x[None], y[None], loss=loss, training=True)
    return engine.training_step(problem)[:3]


def loss_of(
    model: Model, buffers: Arrays, x: Any, y: Any, loss: str | LossFunction = "bce", training: bool = False
) -> Loss:
    """The mean loss of the examples x, y as a function of θ, by the definitions of the layers."""
    of = LOSSES[loss] if isinstance(loss, str) else loss
    return lambda p: of.definition(model.apply(p, buffers, x, training), y).mean()


def bracket_reverse_over_reverse(loss_x: Loss, loss_y: Loss, theta: Point) -> Point:
    """[v_x, v_y] = H_x v_y − H_y v_x with both products by reverse over reverse."""
    along_y = hvp_reverse_over_reverse(loss_x, theta, vector_field(loss_y)(theta))
    return difference(along_y, hvp_reverse_over_reverse(loss_y, theta, vector_field(loss_x)(theta)))


def at(arrays: Arrays, *index: int) -> Arrays:
    """One gradient, product or bracket of many."""
    return {name: a[index] for name, a in arrays.items()}
