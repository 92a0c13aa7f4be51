"""Losses as they are often got wrong: their values and, for the sweeps, their gradients in the logits.

As in `losses`, `definition(z, y)` is (…,) and `gradient(z, y)` (…, k) for logits z (…, k), on arrays or duals.
"""

from __future__ import annotations

import numpy as np

from ...core.activations import sigmoid
from ...core.losses import LOSSES, LossFunction, probabilities
from ...fast.dual import Array, Number, elementwise, linear, value
from .layers import threshold_softplus


def _of_sigmoid(z: Number, y: Array) -> Number:
    p, slope = elementwise(sigmoid_derivatives, z, order=1)
    return LOSSES["bce"].gradient(p, y) * slope


def _of_softmax(z: Number, y: Array) -> Number:
    p = probabilities(z)
    weighted = p * LOSSES["softmax"].gradient(p, y)
    return weighted - p * linear(lambda a: a.sum(axis=-1, keepdims=True), weighted)


def _clipped(z: Array) -> Array:
    """The logits of probabilities that are clipped to [1e-7, 1 − 1e-7]."""
    largest = np.log((1 - 1e-7) / 1e-7)
    return np.clip(z, -largest, largest)


DOUBLE_SIGMOID = LossFunction(lambda z, y: LOSSES["bce"].definition(sigmoid(z), y), _of_sigmoid)
DOUBLE_SOFTMAX = LossFunction(lambda z, y: LOSSES["softmax"].definition(probabilities(z), y), _of_softmax)
CLIPPED = LossFunction(
    lambda z, y: LOSSES["bce"].definition(_clipped(z), y),
    lambda z, y: LOSSES["bce"].gradient(z, y) * (value(z) == _clipped(value(z))),
)
ONE_THRESHOLD = LossFunction(
    lambda z, y: np.mean(_softplus(z) - y * z, axis=-1),
    lambda z, y: _mean_over_outputs(_softplus_slope(z) - y),
)
TWO_THRESHOLDS = LossFunction(
    lambda z, y: np.mean(y * _softplus(-z) + (1 - y) * _softplus(z), axis=-1),
    lambda z, y: _mean_over_outputs((1 - y) * _softplus_slope(z) - y * _softplus_slope(linear(np.negative, z))),
)


def _softplus(z: Array) -> Array:
    return threshold_softplus(z, 0)[0]


def _softplus_slope(z: Number) -> Number:
    def derivatives(x: Array, order: int) -> list[Array]:
        return [
            np.where(x > 20, flat, s) for flat, s in zip((1.0, 0.0, 0.0), sigmoid_derivatives(x, order), strict=False)
        ]

    return elementwise(derivatives, z)[0]


def _mean_over_outputs(slopes: Number) -> Number:
    return linear(lambda a: a / a.shape[-1], slopes)


def sigmoid_derivatives(z: Array, order: int) -> list[Array]:
    """σ(z) and its derivatives up to `order`, of the shape of z."""
    s, other = sigmoid(z), sigmoid(-z)
    return [s, s * other, s * other * (other - s)][: order + 1]
