"""Layers as they are often got wrong, with the names and shapes of the right ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from autograd.tracer import getval

from ...core.activations import ACTIVATIONS, sigmoid
from ...core.layers import EPS, Activation, BatchNorm, Linear, Sweep
from ...fast.convolution import AvgPool, Conv, MaxPool, Pads
from ...fast.dual import Array, Number, linear, value


class SiLU(Activation):
    """x σ(x)."""

    def derivatives(self, x: Array, order: int) -> list[Array]:
        return _silu_derivatives(x, order)


class ThresholdSoftplus(Activation):
    """Softplus that is the identity beyond 20, as PyTorch's is."""

    def derivatives(self, x: Array, order: int) -> list[Array]:
        return threshold_softplus(x, order)


class FlippedConv(Conv):
    """A convolution in the mathematical sense: the kernel turned by 180°."""

    def turned(self, w: Array) -> Array:
        return w[..., ::-1, ::-1]


class SamePaddedConv(Conv):
    """Strides pad as "SAME" does: no more than needed, the smaller half before."""

    def padding(self, length: int) -> Pads:
        return _same(length, self.kernel, self.stride)


class SamePaddedMaxPool(MaxPool):
    """The same for the max-pool."""

    def padding(self, length: int) -> Pads:
        return _same(length, kernel=3, stride=2)


class ZeroPaddedMaxPool(MaxPool):
    """Zeros around the picture take part in the maximum."""

    fill = 0.0


class TieSharingMaxPool(MaxPool):
    """Equal largest entries share the derivative."""

    def forward(self, sweep: Sweep, x: Number) -> Number:
        padded = self.padded(value(x), self.fill)
        entries = np.array([padded[window] for window in self._windows(x.shape)])
        hits = entries == entries.max(axis=0)
        shares = hits / hits.sum(axis=0)
        sweep.save(shares, x.shape)
        return linear(lambda a: self._gather(a, shares), x)

    def _gather(self, x: Array, shares: Array) -> Array:
        padded = self.padded(x, 0.0)
        return sum(padded[window] * share for window, share in zip(self._windows(x.shape), shares, strict=True))

    def _scatter(self, c: Array, shares: Array, shape: tuple[int, ...]) -> Array:
        scatter = super()._scatter
        return np.sum([scatter(c * share, np.full(1, n), shape) for n, share in enumerate(shares)], axis=0)


class FourDividingAvgPool(AvgPool):
    """At odd edges, too, the sum is divided by four."""

    def counts(self, height: int, width: int) -> Array:
        return np.full_like(super().counts(height, width), 4)


class TransposedLinear(Linear):
    """x W in place of x Wᵀ, where the weight is square."""

    def oriented(self, w: Array) -> Array:
        return np.swapaxes(w, -1, -2)


class LeftOut(BatchNorm):
    """Nothing is done, and the parameters change nothing."""

    def forward(self, sweep: Sweep, x: Number) -> Number:
        return x

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        for name in self.parameter_shapes():
            sweep.grads[name] = linear(lambda c: 0 * c.sum(axis=(-4, -3, -2)), cotangent)
        return cotangent


@dataclass(frozen=True)
class OtherEpsilon(BatchNorm):
    """Batch-norm with an ε of its own."""

    eps: float = EPS

    def normalised(self, x: Any, mean: Any, variance: Any) -> Any:
        return super().normalised(x, mean, variance + (self.eps - EPS))


class EpsilonOutsideRoot(BatchNorm):
    """(x − mean) / (√variance + ε)."""

    def normalised(self, x: Any, mean: Any, variance: Any) -> Any:
        return super().normalised(x, mean, (variance**0.5 + EPS) ** 2 - EPS)


class UnbiasedVariance(BatchNorm):
    """The mini-batch's variance with one less in its divisor."""

    def batch_statistics(self, x: Any) -> tuple[Any, Any]:
        mean, variance = super().batch_statistics(x)
        count = x.shape[0] * x.shape[2] * x.shape[3]
        return mean, variance * count / (count - 1)


class DetachedStatistics(BatchNorm):
    """The mini-batch's statistics as if they were constants."""

    def batch_statistics(self, x: Any) -> tuple[Any, Any]:
        return super().batch_statistics(getval(x))


class EvaluationMode(BatchNorm):
    """The running statistics, whatever the mode."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return super().apply(params, buffers, x, training=False)


def threshold_softplus(x: Array, order: int) -> list[Array]:
    """log(1 + exp x), or beyond 20 the identity, and its derivatives up to `order`."""
    exact = ACTIVATIONS["softplus"].derivatives(x, order)
    beyond = (x, np.ones_like(x), np.zeros_like(x))
    return [np.where(x > 20, b, a) for b, a in zip(beyond, exact, strict=False)]


def _silu_derivatives(x: Array, order: int) -> list[Array]:
    s, other = sigmoid(x), sigmoid(-x)
    slope = s * other
    return [x * s, s + x * slope, slope * (2 + x * (other - s))][: order + 1]


def _same(length: int, kernel: int, stride: int) -> Pads:
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2
