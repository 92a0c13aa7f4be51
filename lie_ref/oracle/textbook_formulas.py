"""Activations and losses by the usual formulas, which are correct but lose more digits than those of `core`.

They differentiate x tanh(softplus x) by 1 − tanh², softplus by σ = exp(x − softplus x), and losses by σ − y and
p − one-hot.  The oracle must allow what this loses.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.activations import ACTIVATIONS
from ..core.losses import LOSSES, LossFunction, one_hot
from ..core.types import Array
from ..fast.dual import Dual, Number, elementwise, linear, tangent, value
from ..fast.scalar_rules import DERIVATIVES, GRADIENTS, Derivatives


def _tanh(x: Array, order: int) -> list[Array]:
    t = np.tanh(x) * (1 - np.finfo(np.asarray(x).dtype).eps / 2)  # libraries round it otherwise; 1 − t² magnifies that
    return [t, 1 - t * t, -2 * t * (1 - t * t)][: order + 1]


def _softplus(x: Array, order: int) -> list[Array]:
    s = np.logaddexp(0, x)
    return [s, *_sigmoid(x, 1)][: order + 1]


def _mish(x: Array, order: int) -> list[Array]:
    s, ds, dds = _softplus(x, 2)
    t, dt, ddt = _tanh(s, 2)
    slope = dt * ds  # of tanh(softplus x)
    return [x * t, t + x * slope, 2 * slope + x * (ddt * ds * ds + dt * dds)][: order + 1]


def _relu(x: Array, order: int) -> list[Array]:
    return [np.maximum(x, 0), (x > 0).astype(x.dtype), np.zeros_like(x)][: order + 1]


def _sigmoid(z: Array, order: int) -> list[Array]:
    """σ and its derivatives from the larger of σ(z) and σ(−z), because implementations use either of them."""
    larger = np.exp(np.abs(z) - np.logaddexp(0, np.abs(z)))
    s, slope = np.where(z < 0, 1 - larger, larger), larger * (1 - larger)
    return [s, slope, slope * (1 - 2 * s)][: order + 1]


def _bce(z: Array, y: Array) -> Array:
    return (np.logaddexp(0, z) - y * z).mean(axis=-1)


def _bce_gradient(z: Number, y: Array) -> Number:
    return linear(lambda d: d / d.shape[-1], elementwise(_sigmoid, z)[0] - y)


def _softmax(z: Array, y: Array) -> Array:
    return _log_sum(z)[..., 0] - (z * one_hot(z, y)).sum(axis=-1)


def _softmax_gradient(z: Number, y: Array) -> Number:
    logits, change = value(z), tangent(z)
    p = np.exp(logits - _log_sum(logits))
    error = p - one_hot(logits, y)
    if change is None:
        return error
    return Dual(error, p * (change - (p * change).sum(axis=-1, keepdims=True)))


def _log_sum(z: Array) -> Array:
    """log Σ_k exp z_k, (…, 1)."""
    largest = z.max(axis=-1, keepdims=True)
    return largest + np.log(np.exp(z - largest).sum(axis=-1, keepdims=True))


def _activation(rule: Derivatives) -> Callable[[Any], Any]:
    """A function whose value and derivatives this rule gives."""

    def function(x: Any) -> Any:
        return rule(x, 0)[0]

    DERIVATIVES[function] = rule
    return function


_RULES = {"tanh": _tanh, "mish": _mish, "softplus": _softplus, "relu": _relu}
TEXTBOOK_ACTIVATIONS: dict[Callable[[Any], Any], Callable[[Any], Any]] = {
    ACTIVATIONS[name]: _activation(rule) for name, rule in _RULES.items()
}
TEXTBOOK_LOSSES = {
    "bce": LossFunction(_bce, name="bce"),
    "softmax": LossFunction(_softmax, labels=True, name="softmax"),
    "mse": LOSSES["mse"],
}


def textbook_loss(loss: LossFunction) -> LossFunction:
    """The loss by the usual formula; of a custom loss, this is its own definition differentiated by autograd."""
    usual = next((TEXTBOOK_LOSSES[n].definition for n, of in LOSSES.items() if of.definition == loss.definition), None)
    return replace(loss, definition=usual or (lambda z, y: loss.definition(z, y)))  # a new function has no rule


GRADIENTS.update({_bce: _bce_gradient, _softmax: _softmax_gradient})
