"""Activation functions: what each is, for autograd, and its first two derivatives in closed form, for the sweeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class ActivationFunction:
    """`definition(x)` in autograd.numpy; `derivatives(x, n)` = [f(x), f'(x), …, f⁽ⁿ⁾(x)] in NumPy, n at most 2."""

    definition: Callable[[Any], Any]
    derivatives: Callable[[Array, int], list[Array]]


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^−x) without overflow, correct to rounding at both ends.

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, decay) / (1 + decay)


def _sigmoid(x: Any) -> Any:
    return anp.exp(-anp.logaddexp(0.0, -x))


def _mish(x: Any) -> Any:
    """x tanh(softplus x), as x σ(x)(1 + σ(−x)) / (1 + σ(−x)²): tanh's own derivatives overflow for large x."""
    q = _sigmoid(-x)
    return x * _sigmoid(x) * (1 + q) / (1 + q * q)


def _mish_derivatives(x: Array, order: int) -> list[Array]:
    """With e = e^x, n = e² + 2e and r = 1 / (n + 2): tanh(softplus x) = t = n r, t' = 4(e² + e)r², and f = x t."""
    # Beyond half the largest exponent t is 1 to the last bit and t' is far below it; e² must not overflow.
    limit = np.log(np.finfo(x.dtype).max) / 2 - 2
    e = np.exp(x if x.max(initial=-np.inf) < limit else np.minimum(x, limit))  # the minimum is slow, and rarely needed
    n = (e + 2) * e
    r = 1 / (n + 2)
    t = n * r
    derivatives = [x * t]
    if order >= 1:
        dt = (n - e) * r * r * 4
        derivatives.append(x * dt + t)
    if order >= 2:
        a = e * r
        ddt = (2 * r * (r + a) - a * a * (2 * e + 3)) * a * 4
        derivatives.append(x * ddt + 2 * dt)
    return derivatives


def _tanh(x: Any) -> Any:
    """autograd's rules take cosh to the fourth power: past ±170, before that overflows, derivatives are 0 here."""
    return anp.tanh(anp.clip(x, -170.0, 170.0))


def _tanh_derivatives(x: Array, order: int) -> list[Array]:
    t = np.tanh(x)
    decay = np.exp(-2 * np.abs(x))
    slope = 4 * decay / (1 + decay) ** 2  # 1 − t² without its cancellation
    return [t, slope, -2 * t * slope][: order + 1]


def _softplus_derivatives(x: Array, order: int) -> list[Array]:
    s = sigmoid(x)
    return [np.logaddexp(0, x), s, s * sigmoid(-x)][: order + 1]


def _relu_derivatives(x: Array, order: int) -> list[Array]:
    """The slope at 0 is 0, as in PyTorch."""
    on = (x > 0).astype(x.dtype)
    return [x * on, on, np.zeros_like(x)][: order + 1]


ACTIVATIONS = {
    "tanh": ActivationFunction(_tanh, _tanh_derivatives),
    "mish": ActivationFunction(_mish, _mish_derivatives),
    "softplus": ActivationFunction(lambda x: anp.logaddexp(0.0, x), _softplus_derivatives),
    "relu": ActivationFunction(lambda x: anp.where(x > 0, x, 0.0), _relu_derivatives),
}
