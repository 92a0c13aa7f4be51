"""The layers, defined in `autograd.numpy`: what each one computes, and nothing about how its derivatives are found.

Pictures are (n, channels, height, width) and rows of features (n, features).  Parameters and buffers are flat dicts
with the names of a PyTorch state_dict.  A new layer needs `apply` and the shapes of its parameters and buffers; a rule
in `fast.rules` makes it quick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import autograd.numpy as np
import numpy

from .types import Array, Shapes

EPS, MOMENTUM = 1e-5, 0.1  # those of batch-norm in PyTorch
ONE_VALUE = "x: expected more than one value a channel for batch-norm in training mode, got 1"


@dataclass(frozen=True)
class Layer:
    """A layer.  `name` is the prefix of its parameters, and `inner` are the layers that it consists of."""

    name: str

    @property
    def inner(self) -> tuple[Layer, ...]:
        return ()

    def parameter_shapes(self) -> Shapes:
        return {name: shape for layer in self.inner for name, shape in layer.parameter_shapes().items()}

    def buffer_shapes(self) -> Shapes:
        return {name: shape for layer in self.inner for name, shape in layer.buffer_shapes().items()}

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        """The output for x.  In training mode, batch-norm updates `buffers` in place (`Model.apply` passes a copy)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Linear(Layer):
    """x Wᵀ + b, with the weight W (out, in) and the bias b (out,)."""

    n_in: int
    n_out: int

    def parameter_shapes(self) -> Shapes:
        return {f"{self.name}.weight": (self.n_out, self.n_in), f"{self.name}.bias": (self.n_out,)}

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return np.dot(x, params[f"{self.name}.weight"].T) + params[f"{self.name}.bias"]


@dataclass(frozen=True)
class Activation(Layer):
    """A function, such as one of `core.activations`, applied to every entry."""

    function: Callable[[Any], Any]

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return self.function(x)


@dataclass(frozen=True)
class Conv(Layer):
    """2-D convolution (a cross-correlation) without bias: weight (out, in, kernel, kernel), kernel odd."""

    n_in: int
    n_out: int
    kernel: int = 3
    stride: int = 1

    def parameter_shapes(self) -> Shapes:
        return {f"{self.name}.weight": (self.n_out, self.n_in, self.kernel, self.kernel)}

    def padding(self, length: int) -> tuple[int, int]:
        """The numbers of zeros before and after an axis of this length."""
        return self.kernel // 2, self.kernel // 2

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        w, padded = params[f"{self.name}.weight"], _pad(x, self.padding, 0.0)
        weights = [w[:, :, i, j] for i in range(self.kernel) for j in range(self.kernel)]
        entries = window_entries(padded, self.kernel, self.stride)
        total = sum(np.tensordot(a, e, axes=(1, 1)) for a, e in zip(weights, entries, strict=True))
        return np.swapaxes(total, 0, 1)


@dataclass(frozen=True)
class MaxPool(Layer):
    """The maximum over 3 × 3 windows, stride 2, padding 1.  Among equal entries the first in scan order is taken."""

    fill: ClassVar[float] = -numpy.inf  # the value of the padding

    def padding(self, length: int) -> tuple[int, int]:
        """The numbers of entries of `fill` before and after an axis of this length."""
        return 1, 1

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        entries = window_entries(_pad(x, self.padding, self.fill), kernel=3, stride=2)
        first = np.argmax(np.array(entries), axis=0)
        return sum(np.where(first == n, entry, 0.0) for n, entry in enumerate(entries))


@dataclass(frozen=True)
class AvgPool(Layer):
    """The mean over 2 × 2 windows, stride 2, `ceil_mode`: at an odd edge, the mean of the entries that exist."""

    def counts(self, height: int, width: int) -> Array:
        """The number of entries in each window, (rows, columns)."""
        return numpy.outer(*(numpy.minimum(2, n - numpy.arange(0, n, 2)) for n in (height, width)))

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        entries = window_entries(_pad(x, lambda length: (0, length % 2), 0.0), kernel=2, stride=2)
        return sum(entries) / self.counts(*x.shape[2:]).astype(x.dtype)


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """The mean over height and width, which turns pictures into rows of features (n, channels)."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return np.mean(x, axis=(2, 3))


@dataclass(frozen=True)
class BatchNorm(Layer):
    """(x − mean) / √(variance + ε) · weight + bias, with the running statistics or, in training mode, those of x."""

    channels: int

    def parameter_shapes(self) -> Shapes:
        return {f"{self.name}.weight": (self.channels,), f"{self.name}.bias": (self.channels,)}

    def buffer_shapes(self) -> Shapes:
        return {f"{self.name}.running_mean": (self.channels,), f"{self.name}.running_var": (self.channels,)}

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        mean, variance = self.statistics(buffers, x, training)
        weight, bias = (params[f"{self.name}.{key}"][:, None, None] for key in ("weight", "bias"))
        return (x - mean) / np.sqrt(variance + EPS) * weight + bias

    def statistics(self, buffers: Any, x: Any, training: bool) -> tuple[Any, Any]:
        """Mean and variance, both (channels, 1, 1); in training mode the variance is the biased one."""
        keys = f"{self.name}.running_mean", f"{self.name}.running_var"
        if not training:
            return buffers[keys[0]][:, None, None], buffers[keys[1]][:, None, None]
        count = x.shape[0] * x.shape[2] * x.shape[3]
        if count == 1:
            raise ValueError(ONE_VALUE)
        mean = np.mean(x, axis=(0, 2, 3), keepdims=True)[0]
        variance = np.mean((x - mean) ** 2, axis=(0, 2, 3), keepdims=True)[0]
        for key, new in zip(keys, (mean, variance * count / (count - 1)), strict=True):
            buffers[key] = (1 - MOMENTUM) * buffers[key] + MOMENTUM * new[:, 0, 0]
        return mean, variance


@dataclass(frozen=True)
class Sequential(Layer):
    """Layers one after the other."""

    layers: tuple[Layer, ...]

    @property
    def inner(self) -> tuple[Layer, ...]:
        return self.layers

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        for layer in self.layers:
            x = layer.apply(params, buffers, x, training)
        return x


@dataclass(frozen=True)
class Residual(Layer):
    """activation(convs(x) + shortcut(x)); an empty shortcut is the identity."""

    convs: Sequential
    shortcut: Sequential
    activation: Activation

    @property
    def inner(self) -> tuple[Layer, ...]:
        return self.convs, self.shortcut, self.activation

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        branches = (branch.apply(params, buffers, x, training) for branch in (self.convs, self.shortcut))
        return self.activation.apply(params, buffers, sum(branches), training)


def window_entries(x: Any, kernel: int, stride: int) -> list[Any]:
    """The entries of all windows that fit into x (n, channels, height, width): kernel² arrays, in scan order."""
    rows, columns = ((length - kernel) // stride * stride + 1 for length in x.shape[2:])
    places = [(i, j) for i in range(kernel) for j in range(kernel)]
    return [x[:, :, i : i + rows : stride, j : j + columns : stride] for i, j in places]


def _pad(x: Any, padding: Callable[[int], tuple[int, int]], fill: float) -> Any:
    """x with `fill` around it; `padding` gives the numbers of entries before and after an axis from its length."""
    return np.pad(x, ((0, 0), (0, 0), *map(padding, x.shape[2:])), "constant", constant_values=fill)
