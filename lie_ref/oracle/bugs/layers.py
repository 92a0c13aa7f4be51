"""Layers with common mistakes; their parameters have the names and shapes of the right ones."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import make_jvp, make_vjp
from autograd.extend import defvjp, primitive
from autograd.tracer import getval

from ...core.activations import mish, relu, softplus, tanh
from ...core.layers import AvgPool, BatchNorm, Conv, GlobalAvgPool, Layer, MaxPool, window_entries
from ...core.types import Array
from ...fast.convolution import framed, scatter, windows
from ...fast.dual import Dual, Number, linear, value
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


@primitive
def erf(x: Any) -> Any:
    """The error function, 2/√π ∫₀ˣ exp(−t²) dt."""
    return np.vectorize(math.erf, otypes=[np.float64])(x)


defvjp(erf, lambda ans, x: lambda g: g * 2 / np.sqrt(np.pi) * anp.exp(-x * x))

# What people put in place of an activation, by its name.
OTHERS: dict[str, Callable[[Any], Any]] = {
    "ReLU": relu,
    "SiLU, x σ(x)": lambda x: x * sigmoid(x),
    "Mish": mish,
    "GELU": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "GELU by its tanh formula": lambda x: x * (1 + anp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "leaky ReLU with slope 0.01": lambda x: anp.where(x > 0, x, 0.01 * x),
    "ReLU6": lambda x: anp.clip(x, 0.0, 6.0),
    "ELU": lambda x: anp.where(x > 0, x, anp.expm1(anp.minimum(x, 0.0))),
    "SELU": lambda x: 1.0507009873554805 * anp.where(x > 0, x, 1.6732632423543772 * anp.expm1(anp.minimum(x, 0.0))),
    "tanh": tanh,
    "σ": sigmoid,
    "softplus": softplus,
    "softplus with β = 20": lambda x: anp.logaddexp(0.0, 20 * x) / 20,
    "hardswish": lambda x: x * anp.clip(x + 3, 0.0, 6.0) / 6,
    "hardtanh": lambda x: anp.clip(x, -1.0, 1.0),
    "no activation": lambda x: 1.0 * x,
}


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


class ByAutograd(Layer):
    """A layer of pictures without parameters, which autograd differentiates inside a sweep."""

    def swept(self, x: Any) -> Any:
        """`apply` in the layout of sweeps, (…, height, width, channel), or (…, channel) of what it makes."""
        pictures = anp.transpose(anp.reshape(x, (-1, *x.shape[-3:])), (0, 3, 1, 2))
        z = self.apply({}, {}, pictures)
        z = anp.transpose(z, (0, *range(2, z.ndim), 1))
        return anp.reshape(z, (*x.shape[:-3], *z.shape[1:]))


@forward.register
def _(layer: ByAutograd, sweep: Sweep, x: Number) -> Number:
    sweep.save(x)
    z = layer.swept(value(x))
    return Dual(z, np.stack([make_jvp(layer.swept)(x.value)(t)[1] for t in x.tangent])) if isinstance(x, Dual) else z


@backward.register
def _(layer: ByAutograd, sweep: Sweep, cotangent: Number) -> Number:
    (x,) = sweep.saved()

    def pulled_back(at: Any, c: Array) -> Any:
        return make_vjp(layer.swept)(at)[0](c)

    back, changes = pulled_back(value(x), value(cotangent)), []
    if isinstance(cotangent, Dual):
        changes.append([pulled_back(value(x), c) for c in cotangent.tangent])
    if isinstance(x, Dual):  # the derivative of the transpose along each tangent of x
        along = make_jvp(lambda at: pulled_back(at, value(cotangent)))(x.value)
        changes.append([along(t)[1] for t in x.tangent])
    return Dual(back, np.sum(changes, axis=0)) if changes else back


class LastOfTies(ByAutograd, MaxPool):
    """The derivative goes to the last of equal largest entries."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        entries = _entries(self, x)[::-1]
        first = anp.argmax(anp.array(entries), axis=0)
        return sum(anp.where(first == n, entry, 0.0) for n, entry in enumerate(entries))


class EveryTie(ByAutograd, MaxPool):
    """The derivative goes to each of equal largest entries in full."""

    fill = -1e30  # finite, so that an entry minus itself is zero

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        entries = _entries(self, x)
        largest = np.max([getval(entry) for entry in entries], axis=0)
        return largest + sum(anp.where(getval(e) == largest, e - getval(e), 0.0) for e in entries)


class MeanOfWindow(ByAutograd, MaxPool):
    """The mean over 3 × 3 windows, of which some entries are padding."""

    fill = 0.0

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return sum(_entries(self, x)) / 9


class NoMaxPool(ByAutograd, MaxPool):
    """The pictures as they are."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return x


class GlobalMaxPool(ByAutograd, GlobalAvgPool):
    """The maximum over height and width."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return anp.max(x, axis=(2, 3))


class Subsampled(ByAutograd, AvgPool):
    """Every second entry of every second row."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return x[:, :, ::2, ::2]


class MaximumInShortcut(ByAutograd, AvgPool):
    """The maximum over 2 × 2 windows, `ceil_mode`."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        edges = ((0, 0), (0, 0), *((0, length % 2) for length in x.shape[2:]))
        padded = anp.pad(x, edges, "constant", constant_values=-np.inf)
        return anp.max(anp.array(window_entries(padded, kernel=2, stride=2)), axis=0)


@dataclass(frozen=True)
class Framed(ByAutograd):
    """Copies of a picture's own rows and columns around it; `ends` gives the first and last from their number."""

    ends: Callable[[int], tuple[int, int]]

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        rows, columns = ([before, *range(n), after] for n in x.shape[2:] for before, after in [self.ends(n)])
        return x[:, :, rows][:, :, :, columns]


class UnpaddedConv(Conv):
    """No padding."""

    def padding(self, length: int) -> tuple[int, int]:
        return 0, 0


class Detached(ByAutograd):
    """What comes in, as a constant."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return getval(x)


def _entries(layer: MaxPool, x: Any) -> list[Any]:
    edges = ((0, 0), (0, 0), *map(layer.padding, x.shape[2:]))
    return window_entries(anp.pad(x, edges, "constant", constant_values=layer.fill), kernel=3, stride=2)


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


@dataclass(frozen=True)
class OtherVariance(BatchNorm):
    """Batch-norm with a function of the variance in its place."""

    change: Callable[[Any], Any]

    def statistics(self, buffers: Any, x: Any, training: bool) -> tuple[Any, Any]:
        mean, variance = super().statistics(buffers, x, training)
        return mean, self.change(variance)


class UnbiasedVariance(BatchNorm):
    """In training mode, the unbiased variance of the mini-batch."""

    def statistics(self, buffers: Any, x: Any, training: bool) -> tuple[Any, Any]:
        mean, variance = super().statistics(buffers, x, training)
        count = x.shape[0] * x.shape[2] * x.shape[3]
        return mean, variance * count / (count - 1) if training else variance


class UpdatedStatistics(UnbiasedVariance):
    """In training mode, the running statistics after their update by the mini-batch, with the momentum 0.1."""

    def statistics(self, buffers: Any, x: Any, training: bool) -> tuple[Any, Any]:
        running, found = (super(UpdatedStatistics, self).statistics(buffers, x, mode) for mode in (False, training))
        mean, variance = (0.9 * old + 0.1 * new for old, new in zip(running, found, strict=True))
        return mean, variance


@dataclass(frozen=True)
class DetachedStatistics(BatchNorm):
    """Some of the statistics of the mini-batch, by default both, differentiated as constants."""

    detached: tuple[str, ...] = ("mean", "variance")

    def statistics(self, buffers: Any, x: Any, training: bool) -> tuple[Any, Any]:
        mean, variance = super().statistics(buffers, x, training)
        mean = getval(mean) if "mean" in self.detached else mean
        return mean, getval(variance) if "variance" in self.detached else variance


class EvaluationMode(BatchNorm):
    """The running statistics in every mode."""

    def statistics(self, buffers: Any, x: Any, training: bool) -> tuple[Any, Any]:
        return super().statistics(buffers, x, training=False)


def _same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2
