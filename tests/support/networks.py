"""Networks at generic weights, for the tests: nothing at an initial value, where a wrong term could be zero."""

from __future__ import annotations

from typing import Any

import numpy as np

import lie_ref
from lie_ref.core.losses import LOSSES
from lie_ref.core.networks import Arrays, Model

BOTTLENECK = {"stem": (8, 8, 16), "widths": (4, 8), "layers": (1, 2), "expansion": 4, "n_out": 5}


def generic_state(model: Model, seed: int) -> tuple[Arrays, Arrays]:
    """Parameters and buffers off their initial values: batch-norm weights of both signs, statistics far from (0, 1)."""
    params, buffers = model.init(seed)
    rng = np.random.default_rng([seed, 1])
    for name, p in params.items():
        if p.ndim == 1:
            params[name] = p + 0.5 * rng.standard_normal(p.shape)
    for name, b in buffers.items():
        buffers[name] = rng.standard_normal(b.shape) if name.endswith("mean") else rng.uniform(0.3, 3, b.shape)
    return params, buffers


def examples(model: Model, shape: tuple[int, ...], seed: int, loss: str = "bce") -> tuple[np.ndarray, np.ndarray]:
    """Random inputs of this shape, any number of leading axes included, and targets that fit the loss."""
    rng = np.random.default_rng([seed, 2])
    x = rng.standard_normal(shape)
    lead = shape[: -3 if model.pictures else -1]
    if loss == "softmax":
        return x, rng.integers(0, model.n_out, lead)
    return x, rng.integers(0, 2, (*lead, model.n_out)).astype(float)


def loss_function(model: Model, buffers: Arrays, x: Any, y: Any, loss: str = "bce", training: bool = False) -> Any:
    """θ ↦ the mean loss of the examples x, y by the layers' definitions."""
    return lambda p: LOSSES[loss].definition(model.apply(p, buffers, x, training), y).mean()


def at(arrays: Arrays, *index: int) -> Arrays:
    """One gradient, product or bracket of many."""
    return {name: a[index] for name, a in arrays.items()}


MLPS = [lie_ref.mlp([5, 7, 6, 3], activation) for activation in ("tanh", "mish", "softplus", "relu")]
