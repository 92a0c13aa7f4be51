"""The losses of one example as functions of its logits: mean binary cross-entropy, softmax cross-entropy, mean square.

Each is defined once for autograd (`definition`) and has its gradient in the logits in closed form for the sweeps
(`gradient`, on arrays or duals).  Neither form overflows, nor is it the small difference of two large terms, however
large the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.tracer import getval

from .activations import sigmoid
from .dual import Array, Number, elementwise, linear, value


@dataclass(frozen=True)
class LossFunction:
    """`definition(z, y)` → (…,) and `gradient(z, y)` → ∂L/∂z (…, k), for logits z (…, k).

    Targets y are (…, k), or with `labels` integers (…,) in 0 … k − 1.
    """

    definition: Callable[[Any, Array], Any]
    gradient: Callable[[Number, Array], Number]
    labels: bool = False


def _bce(z: Any, y: Array) -> Any:
    """mean_k [(1 − y_k) softplus(z_k) + y_k softplus(−z_k)], y in [0, 1]."""
    return anp.mean((1 - y) * anp.logaddexp(0.0, z) + y * anp.logaddexp(0.0, -z), axis=-1)


def _bce_gradient(z: Number, y: Array) -> Number:
    """(σ(z) − y) / k, as [(1 − y) σ(z) − y σ(−z)] / k."""

    def derivatives(x: Array, order: int) -> list[Array]:
        s, complement = sigmoid(x), sigmoid(-x)
        return [(1 - y) * s - y * complement, s * complement, s * complement * (complement - s)][: order + 1]

    return linear(lambda d: d / d.shape[-1], elementwise(derivatives, z)[0])


def _softmax(z: Any, y: Array) -> Any:
    """log Σ_k exp z_k − z_y, as softplus(log Σ_{k≠y} exp(z_k − z_y)); 0 with one output."""
    if z.shape[-1] == 1:
        return 0.0 * z[..., 0]
    hot = one_hot(z, y)
    excess = anp.where(hot, -anp.inf, z - anp.sum(z * hot, axis=-1, keepdims=True))
    largest = np.max(getval(excess), axis=-1, keepdims=True)
    return anp.logaddexp(0.0, largest[..., 0] + anp.log(anp.sum(anp.exp(excess - largest), axis=-1)))


def _softmax_gradient(z: Number, y: Array) -> Number:
    """p − one-hot(y), an entry p_k > 1/2 as 1 − Σ of the others: what is small keeps its digits."""
    p = probabilities(z)
    likely = value(p) > 0.5
    g = linear(lambda d: np.where(likely, -(d * ~likely).sum(axis=-1, keepdims=True), d), p)
    return g + (likely - one_hot(value(z), y))


def probabilities(z: Number) -> Number:
    """The softmax of the logits."""
    exponential = elementwise(lambda x, order: [np.exp(x)] * (order + 1), z - value(z).max(axis=-1, keepdims=True))[0]
    return exponential * elementwise(_reciprocal, linear(lambda e: e.sum(axis=-1, keepdims=True), exponential))[0]


def _mse(z: Any, y: Array) -> Any:
    """mean_k (z_k − y_k)²."""
    return anp.mean((z - y) ** 2, axis=-1)


def _mse_gradient(z: Number, y: Array) -> Number:
    """2 (z − y) / k."""
    return linear(lambda d: 2 * d / d.shape[-1], z - y)


def _reciprocal(x: Array, order: int) -> list[Array]:
    return [1 / x, -1 / x**2, 2 / x**3][: order + 1]


def one_hot(z: Any, y: Array) -> Array:
    """1 at each label and 0 elsewhere, of the logits' shape and dtype."""
    return (np.arange(z.shape[-1]) == y[..., None]).astype(z.dtype)


LOSSES = {
    "bce": LossFunction(_bce, _bce_gradient),
    "softmax": LossFunction(_softmax, _softmax_gradient, labels=True),
    "mse": LossFunction(_mse, _mse_gradient),
}
