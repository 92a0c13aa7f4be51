"""Layers with common mistakes; their parameters have the names and shapes of the right ones."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.tracer import getval

from ...core.activations import softplus
from ...core.layers import AvgPool, BatchNorm, Conv, Layer, MaxPool
from ...core.types import Array
from ...fast.convolution import framed, scatter, windows
from ...fast.dual import Number, linear, value
from ...fast.rules import Sweep, backward, forward


def swapped(
    right: type[Layer], wrong: Callable[..., Layer], where: Callable[[Any], bool] = lambda layer: True
) -> Callable[[Layer], Layer]:
    """The change of layers of exactly one class into layers of another, which takes the same arguments."""

    def change(layer: Layer) -> Layer:
        if type(layer) is not right or not where(layer):
            return layer
        return wrong(*(getattr(layer, f.name) for f in fields(layer)))

    return change


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^−x)."""
    return anp.exp(-anp.logaddexp(0.0, -x))


def silu(x: Any) -> Any:
    """x σ(x)."""
    return x * sigmoid(x)


def threshold_softplus(x: Any) -> Any:
    """Softplus that is the identity beyond 20, as in PyTorch."""
    return anp.where(x > 20, x, softplus(x))


class SamePaddedConv(Conv):
    """Padded as "SAME": as little as the stride allows, with the smaller half before."""

    def padding(self, length: int) -> tuple[int, int]:
        return _same(length, self.kernel, self.stride)


class SamePaddedMaxPool(MaxPool):
    """The max-pool with the same padding."""

    def padding(self, length: int) -> tuple[int, int]:
        return _same(length, kernel=3, stride=2)


class ZeroPaddedMaxPool(MaxPool):
    """Padded with zeros, which take part in the maximum."""

    fill = 0.0


class FourDividingAvgPool(AvgPool):
    """The sum is divided by four, even at odd edges."""

    def counts(self, height: int, width: int) -> Array:
        return np.full_like(super().counts(height, width), 4)


class TieSharingMaxPool(MaxPool):
    """Equal largest entries of a window share the derivative."""


@forward.register
def _(layer: TieSharingMaxPool, sweep: Sweep, x: Number) -> Number:
    padded = framed(layer, value(x), layer.fill)
    entries = np.array([padded[window] for window in windows(x.shape)])
    hits = entries == entries.max(axis=0)
    shares = hits / hits.sum(axis=0)
    sweep.save(shares, x.shape)

    def gathered(a: Array) -> Array:
        within = framed(layer, a, 0.0)
        return sum(within[window] * share for window, share in zip(windows(x.shape), shares, strict=True))

    return linear(gathered, x)


@backward.register
def _(layer: TieSharingMaxPool, sweep: Sweep, cotangent: Number) -> Number:
    shares, shape = sweep.saved()

    def scattered(c: Array) -> Array:
        parts = [scatter(layer, c * share, np.full(1, n), shape) for n, share in enumerate(shares)]
        return np.sum(parts, axis=0)

    return linear(scattered, cotangent)


class LeftOut(BatchNorm):
    """Batch-norm that returns its input and ignores its parameters."""


@forward.register
def _(layer: LeftOut, sweep: Sweep, x: Number) -> Number:
    return x


@backward.register
def _(layer: LeftOut, sweep: Sweep, cotangent: Number) -> Number:
    for name in layer.parameter_shapes():
        sweep.grads[name] = linear(lambda c: 0 * c.sum(axis=(-4, -3, -2)), cotangent)
    return cotangent


# The batch-norms below have no rules for sweeps: autograd differentiates them.


@dataclass(frozen=True)
class OtherVariance(BatchNorm):
    """Batch-norm with a function of the variance in its place."""

    change: Callable[[Any], Any]

    def statistics(self, buffers: Any, x: Any, training: bool) -> tuple[Any, Any]:
        mean, variance = super().statistics(buffers, x, training)
        return mean, self.change(variance)


class UnbiasedVariance(BatchNorm):
    """The unbiased variance of the mini-batch."""

    def statistics(self, buffers: Any, x: Any, training: bool) -> tuple[Any, Any]:
        mean, variance = super().statistics(buffers, x, training)
        count = x.shape[0] * x.shape[2] * x.shape[3]
        return mean, variance * count / (count - 1)


class DetachedStatistics(BatchNorm):
    """The statistics of the mini-batch, differentiated as constants."""

    def statistics(self, buffers: Any, x: Any, training: bool) -> tuple[Any, Any]:
        return super().statistics(buffers, getval(x), training)


class EvaluationMode(BatchNorm):
    """The running statistics in every mode."""

    def statistics(self, buffers: Any, x: Any, training: bool) -> tuple[Any, Any]:
        return super().statistics(buffers, x, training=False)


def _same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2
