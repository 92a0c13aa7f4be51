"""Layers as they are often got wrong: definitions alone, for autograd, with the names and shapes of the right ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import autograd.numpy as anp
from autograd.tracer import getval

from .layers import EPS, Activation, BatchNorm, Layer, Linear, Residual, Sequential
from .models import Model
from .windows import AvgPool, Conv, MaxPool, correlation, first_largest, window_entries

Pads = tuple[tuple[int, int], tuple[int, int]]


def with_layers(model: Model, change: Callable[[Layer], Layer]) -> Model | None:
    """The model with every layer changed, down to the innermost; None if that leaves it as it is."""

    def changed(layer: Any) -> Any:
        if isinstance(layer, Sequential):
            layer = replace(layer, layers=tuple(changed(inner) for inner in layer.layers))
        elif isinstance(layer, Residual):
            parts = {name: changed(getattr(layer, name)) for name in ("convs", "shortcut", "activation")}
            layer = replace(layer, **parts)
        return change(layer)

    network = changed(model.network)
    return None if network == model.network else replace(model, network=network)


def swapped(
    right: type[Layer], wrong: Callable[..., Layer], where: Callable[[Any], bool] = lambda layer: True
) -> Callable[[Layer], Layer]:
    """The change of every layer of exactly one class into one of another that takes the same arguments."""

    def change(layer: Layer) -> Layer:
        if type(layer) is not right or not where(layer):
            return layer
        return wrong(*(getattr(layer, f.name) for f in fields(layer)))

    return change


class SiLU(Activation):
    """x σ(x)."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return x * anp.exp(-anp.logaddexp(0.0, -x))


class FlippedConv(Conv):
    """A convolution in the mathematical sense: the kernel turned by 180°."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        name = f"{self.name}.weight"
        return super().apply({name: params[name][:, :, ::-1, ::-1]}, buffers, x, training)


class SamePaddedConv(Conv):
    """Strides pad as "SAME" does: no more than needed, the smaller half before."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        padded = anp.pad(x, ((0, 0), (0, 0), *_same(x, self.kernel, self.stride)), "constant")
        return correlation(padded, params[f"{self.name}.weight"], self.stride)


class SamePaddedMaxPool(MaxPool):
    """The same for the max-pool."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return first_largest(window_entries(_padded(x, _same(x, 3, 2), -anp.inf), 3, 2))


class ZeroPaddedMaxPool(MaxPool):
    """Zeros around the picture take part in the maximum."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return first_largest(window_entries(_padded(x, ((1, 1), (1, 1)), 0.0), 3, 2))


class TieSharingMaxPool(MaxPool):
    """Equal largest entries share the derivative, as they do in autograd's own maximum."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        entries = window_entries(_padded(x, ((1, 1), (1, 1)), -anp.inf), 3, 2)
        largest = getval(anp.max(anp.array(entries), axis=0))
        hits = [getval(entry) == largest for entry in entries]
        return sum(anp.where(hit, entry, 0.0) for hit, entry in zip(hits, entries, strict=True)) / sum(hits)


class FourDividingAvgPool(AvgPool):
    """At odd edges, too, the sum is divided by four."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return super().apply(params, buffers, _padded(x, ((0, x.shape[2] % 2), (0, x.shape[3] % 2)), 0.0), training)


class TransposedLinear(Linear):
    """x W in place of x Wᵀ, where the weight is square."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        weight = params[f"{self.name}.weight"]
        return anp.dot(x, weight) + params[f"{self.name}.bias"]


@dataclass(frozen=True)
class OtherEpsilon(BatchNorm):
    """Batch-norm with an ε of its own."""

    eps: float = EPS

    def normalised(self, x: Any, mean: Any, variance: Any) -> Any:
        return (x - mean) / anp.sqrt(variance + self.eps)


class EpsilonOutsideRoot(BatchNorm):
    """(x − mean) / (√variance + ε)."""

    def normalised(self, x: Any, mean: Any, variance: Any) -> Any:
        return (x - mean) / (anp.sqrt(variance) + EPS)


class WithoutRoot(BatchNorm):
    """Divides by the running variance + ε, not by its root."""

    def running_statistics(self, buffers: Any) -> tuple[Any, Any]:
        mean, variance = super().running_statistics(buffers)
        return mean, (variance + EPS) ** 2 - EPS


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


class LeftOut(BatchNorm):
    """Nothing is done, and the parameters change nothing."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return x


class EvaluationMode(BatchNorm):
    """The running statistics, whatever the mode."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return super().apply(params, buffers, x, training=False)


def _padded(x: Any, pads: Pads, fill: float) -> Any:
    return anp.pad(x, ((0, 0), (0, 0), *pads), "constant", constant_values=fill)


def _same(x: Any, kernel: int, stride: int) -> Pads:
    totals = [max((-(-length // stride) - 1) * stride + kernel - length, 0) for length in x.shape[2:]]
    (top, left) = (total // 2 for total in totals)
    return (top, totals[0] - top), (left, totals[1] - left)
