"""The layers of the shipped networks, each defined once and differentiated by hand once.

`apply` is the definition, in `autograd.numpy` on arrays (n, channels, height, width): what a layer computes, ready for
autograd to differentiate.  `forward` and `backward` are the derivation, in plain NumPy: backward is the transpose of
forward's derivative.  Both run on arrays or on `Dual`s, so that a backward pass over duals is an exact Hessian-vector
product.  The two share no differentiation code, and the tests hold them together.

Inside a sweep pictures lie as (group, member, height, width, channel): a group is what one vector field is made of, a
single example or a mini-batch, and every product keeps the groups apart.  Parameters have a leading group axis of 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import autograd.numpy as anp
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .activations import ACTIVATIONS
from .dual import Array, Number, elementwise, linear, value

Shapes = dict[str, tuple[int, ...]]
EPS, MOMENTUM = 1e-5, 0.1  # of batch-norm, as PyTorch has them


@dataclass
class Sweep:
    """One forward pass and the backward pass that follows it.

    `params` and `buffers` are the network's, `grads` collects the parameters' cotangents, `statistics` the new running
    statistics of a training pass; `tape` is the stack of what forward leaves for backward (None: leave nothing).
    """

    params: dict[str, Number]
    buffers: dict[str, Array]
    training: bool = False
    tape: list[Any] | None = field(default_factory=list)
    grads: dict[str, Number] = field(default_factory=dict)
    statistics: dict[str, Array] = field(default_factory=dict)

    def save(self, *items: Any) -> None:
        if self.tape is not None:
            self.tape.append(items)

    def saved(self) -> Any:
        assert self.tape is not None, "this pass was run without a tape"
        return self.tape.pop()


@dataclass(frozen=True)
class Layer:
    """A layer named as in a PyTorch state_dict; without parameters unless it says so."""

    name: str

    def parameter_shapes(self) -> Shapes:
        return {}

    def buffer_shapes(self) -> Shapes:
        return {}

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        """The definition, on (n, …), differentiable by autograd."""
        raise NotImplementedError

    def forward(self, sweep: Sweep, x: Number) -> Number:
        """The same on (group, member, …, channel), leaving on the tape what backward needs."""
        raise NotImplementedError

    def backward(self, sweep: Sweep, cotangent: Number) -> Number | None:
        """From the output's cotangent to the input's, leaving the parameters' cotangents in `sweep.grads`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Conv(Layer):
    """2-D convolution (cross-correlation), no bias, zero padding of kernel // 2; weight (out, in, kernel, kernel).

    `first` says that the input is the picture itself, whose cotangent nobody asks for.
    """

    n_in: int
    n_out: int
    kernel: int = 3
    stride: int = 1
    first: bool = False

    def parameter_shapes(self) -> Shapes:
        return {f"{self.name}.weight": (self.n_out, self.n_in, self.kernel, self.kernel)}

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        w, k, s, p = params[f"{self.name}.weight"], self.kernel, self.stride, self.kernel // 2
        height, width = ((length + 2 * p - k) // s + 1 for length in x.shape[2:])
        x = anp.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), "constant")
        y = 0.0
        for i in range(k):
            for j in range(k):
                shifted = x[:, :, i : i + s * height : s, j : j + s * width : s]
                y = y + anp.tensordot(w[:, :, i, j], shifted, axes=(1, 1))
        return anp.swapaxes(y, 0, 1)

    def forward(self, sweep: Sweep, x: Number) -> Number:
        patches = linear(self._unfold, x)
        sweep.save(patches, x.shape)
        shape = (x.shape[-4], *(-(-length // self.stride) for length in x.shape[-3:-1]), self.n_out)
        return linear(lambda y: y.reshape(*y.shape[:-2], *shape), patches @ self._matrix(sweep))

    def backward(self, sweep: Sweep, cotangent: Number) -> Number | None:
        patches, shape = sweep.saved()
        rows = linear(lambda c: c.reshape(*c.shape[:-4], -1, self.n_out), cotangent)
        sweep.grads[f"{self.name}.weight"] = linear(self._from_matrix, _transpose(patches) @ rows)
        if self.first:
            return None
        if self.stride == 1:  # then the transpose is a convolution too, with the kernel turned round
            turned = linear(lambda w: np.swapaxes(w[..., ::-1, ::-1], -4, -3), sweep.params[f"{self.name}.weight"])
            back = Conv(self.name, self.n_out, self.n_in, self.kernel)
            return back.forward(Sweep({f"{self.name}.weight": turned}, {}, tape=None), cotangent)
        return linear(lambda c: self._fold(c, shape), rows @ _transpose(self._matrix(sweep)))

    def _matrix(self, sweep: Sweep) -> Number:
        """The weight as a matrix (…, kernel · kernel · in, out)."""
        order = (-4, -3, -2, -1)
        return linear(
            lambda w: np.moveaxis(w, (-2, -1, -3, -4), order).reshape(*w.shape[:-4], -1, self.n_out),
            sweep.params[f"{self.name}.weight"],
        )

    def _from_matrix(self, matrix: Array) -> Array:
        """The transpose of `_matrix`: back to (…, out, in, kernel, kernel)."""
        w = matrix.reshape(*matrix.shape[:-2], self.kernel, self.kernel, self.n_in, self.n_out)
        return np.moveaxis(w, (-4, -3, -2, -1), (-2, -1, -3, -4))

    def _unfold(self, x: Array) -> Array:
        """Every patch that the kernel sees, one a row: (…, member · out height · out width, kernel · kernel · in)."""
        k, s = self.kernel, self.stride
        if k == s == 1:
            return x.reshape(*x.shape[:-4], -1, self.n_in)
        windows = sliding_window_view(_pad(x, k // 2, k // 2), (k, k), axis=(-3, -2))  # type: ignore[call-overload]
        windows = np.moveaxis(windows[..., ::s, ::s, :, :, :], -3, -1)
        return windows.reshape(*x.shape[:-4], -1, k * k * self.n_in)

    def _fold(self, patches: Array, shape: tuple[int, ...]) -> Array:
        """The transpose of `_unfold`: the sum of all patches at their places in a picture of the given shape."""
        k, s, p = self.kernel, self.stride, self.kernel // 2
        members, height, width, channels = shape[-4:]
        if k == s == 1:
            return patches.reshape(*patches.shape[:-2], members, height, width, channels)
        rows, columns = -(-height // s), -(-width // s)
        patches = patches.reshape(*patches.shape[:-2], members, rows, columns, k, k, channels)
        x = np.zeros((*patches.shape[:-6], members, height + 2 * p, width + 2 * p, channels), patches.dtype)
        for i in range(k):
            for j in range(k):
                x[..., i : i + s * rows : s, j : j + s * columns : s, :] += patches[..., i, j, :]
        return x[..., p : p + height, p : p + width, :]


@dataclass(frozen=True)
class BatchNorm(Layer):
    """(x − mean) / √(variance + ε) · weight + bias: running statistics in evaluation, the batch's own in training."""

    channels: int

    def parameter_shapes(self) -> Shapes:
        return {f"{self.name}.weight": (self.channels,), f"{self.name}.bias": (self.channels,)}

    def buffer_shapes(self) -> Shapes:
        return {f"{self.name}.running_mean": (self.channels,), f"{self.name}.running_var": (self.channels,)}

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        if training:
            mean = anp.mean(x, axis=(0, 2, 3), keepdims=True)
            variance = anp.mean((x - mean) ** 2, axis=(0, 2, 3), keepdims=True)
        else:
            mean = buffers[f"{self.name}.running_mean"][:, None, None]
            variance = buffers[f"{self.name}.running_var"][:, None, None]
        normal = (x - mean) / anp.sqrt(variance + EPS)
        return normal * params[f"{self.name}.weight"][:, None, None] + params[f"{self.name}.bias"][:, None, None]

    def forward(self, sweep: Sweep, x: Number) -> Number:
        if sweep.training:
            mean = linear(_mean, x)
            centred = x - mean
            variance = linear(_mean, centred * centred)
            self._update_running(sweep, value(mean), value(variance), count=math.prod(x.shape[-4:-1]))
            scale = elementwise(_inverse_root, variance + EPS)[0]
            normal = centred * scale
        else:
            scale = 1 / np.sqrt(sweep.buffers[f"{self.name}.running_var"] + EPS)
            normal = linear(lambda d: d * scale, x - sweep.buffers[f"{self.name}.running_mean"])
        sweep.save(normal, scale)
        return normal * self._per_channel(sweep, "weight") + self._per_channel(sweep, "bias")

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        normal, scale = sweep.saved()
        product = cotangent * normal
        for parameter, term in (("weight", product), ("bias", cotangent)):
            sweep.grads[f"{self.name}.{parameter}"] = linear(lambda t: _total(t)[..., 0, 0, 0, :], term)
        if sweep.training:  # the mean and the variance depend on x as well
            cotangent = cotangent - linear(_mean, cotangent) - normal * linear(_mean, product)
        return cotangent * (self._per_channel(sweep, "weight") * scale)

    def _per_channel(self, sweep: Sweep, parameter: str) -> Number:
        return linear(lambda p: p[..., None, None, None, :], sweep.params[f"{self.name}.{parameter}"])

    def _update_running(self, sweep: Sweep, mean: Array, variance: Array, count: int) -> None:
        """PyTorch's running statistics: the batch's with weight `MOMENTUM`, the variance unbiased."""
        batch = {"running_mean": mean, "running_var": variance * (count / max(count - 1, 1))}
        for statistic, new in batch.items():
            name = f"{self.name}.{statistic}"
            new = new.reshape(-1, self.channels).mean(axis=0)
            sweep.statistics[name] = ((1 - MOMENTUM) * sweep.buffers[name] + MOMENTUM * new).astype(new.dtype)


@dataclass(frozen=True)
class Activation(Layer):
    """An activation function of `ACTIVATIONS`, entry by entry."""

    function: str

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return ACTIVATIONS[self.function].definition(x)

    def forward(self, sweep: Sweep, x: Number) -> Number:
        y, slope = elementwise(ACTIVATIONS[self.function].derivatives, x)
        sweep.save(slope)
        return y

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        (slope,) = sweep.saved()
        return cotangent * slope


@dataclass(frozen=True)
class MaxPool(Layer):
    """Maximum over 3 × 3 windows, stride 2, padding 1; of equal entries the first in scan order has the derivative."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        height, width = (-(-length // 2) for length in x.shape[2:])
        x = anp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), "constant", constant_values=-anp.inf)
        entries = [x[:, :, i : i + 2 * height : 2, j : j + 2 * width : 2] for i in range(3) for j in range(3)]
        first = anp.argmax(anp.array(entries), axis=0)
        return sum(anp.where(first == n, entry, 0.0) for n, entry in enumerate(entries))

    def forward(self, sweep: Sweep, x: Number) -> Number:
        padded = _pad(value(x), 1, 1, fill=-np.inf)
        largest = np.array(padded[self._windows(x.shape)[0]])
        first = np.zeros(largest.shape, np.int8)
        for n, window in enumerate(self._windows(x.shape)[1:], start=1):
            np.copyto(first, np.int8(n), where=padded[window] > largest)
            np.maximum(largest, padded[window], out=largest)
        sweep.save(first, x.shape)
        return linear(lambda a: self._gather(a, first), x)

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        first, shape = sweep.saved()
        return linear(lambda c: self._scatter(c, first, shape), cotangent)

    def _gather(self, x: Array, first: Array) -> Array:
        """From each window the entry that `first` names."""
        padded = _pad(x, 1, 1)
        return sum(padded[window] * (first == n) for n, window in enumerate(self._windows(x.shape)))

    def _scatter(self, c: Array, first: Array, shape: tuple[int, ...]) -> Array:
        """The transpose of `_gather`: each cotangent to the entry that `first` names."""
        height, width = shape[-3:-1]
        padded = np.zeros((*c.shape[:-3], height + 2, width + 2, shape[-1]), c.dtype)
        for n, window in enumerate(self._windows(shape)):
            padded[window] += c * (first == n)
        return padded[..., 1:-1, 1:-1, :]

    @staticmethod
    def _windows(shape: tuple[int, ...]) -> list[tuple[Any, ...]]:
        """For each of a window's nine places, in scan order, the index of that place in all windows."""
        rows, columns = (2 * -(-length // 2) for length in shape[-3:-1])
        return [(..., slice(i, i + rows, 2), slice(j, j + columns, 2), slice(None)) for i in range(3) for j in range(3)]


@dataclass(frozen=True)
class AvgPool(Layer):
    """Mean over 2 × 2 windows, stride 2, `ceil_mode`: at an odd edge the mean of the entries that are there."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        height, width = x.shape[2:]
        x = anp.pad(x, ((0, 0), (0, 0), (0, height % 2), (0, width % 2)), "constant")
        total = x[:, :, ::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, ::2] + x[:, :, 1::2, 1::2]
        return total / anp.outer(_window_lengths(height), _window_lengths(width))

    def forward(self, sweep: Sweep, x: Number) -> Number:
        sweep.save(x.shape)
        return linear(self._means, x)

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        (shape,) = sweep.saved()
        return linear(lambda c: self._spread(c, shape), cotangent)

    def _means(self, x: Array) -> Array:
        height, width = x.shape[-3:-1]
        x = _pad(x, 0, (height % 2, width % 2))
        windows = x.reshape(*x.shape[:-3], x.shape[-3] // 2, 2, x.shape[-2] // 2, 2, x.shape[-1])
        return windows.sum(axis=(-4, -2)) / self._counts(height, width, x.dtype)

    def _spread(self, c: Array, shape: tuple[int, ...]) -> Array:
        """The transpose of `_means`."""
        height, width = shape[-3:-1]
        c = (c / self._counts(height, width, c.dtype)).repeat(2, axis=-3).repeat(2, axis=-2)
        return c[..., :height, :width, :]

    @staticmethod
    def _counts(height: int, width: int, dtype: Any) -> Array:
        return np.outer(_window_lengths(height), _window_lengths(width)).astype(dtype)[:, :, None]


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """Mean over height and width: pictures become feature rows (n, channels)."""

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return anp.mean(x, axis=(2, 3))

    def forward(self, sweep: Sweep, x: Number) -> Number:
        sweep.save(x.shape)
        return linear(lambda a: a.mean(axis=(-3, -2)), x)

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        ((*_, height, width, _),) = sweep.saved()
        spread = np.full((height, width, 1), 1 / (height * width), value(cotangent).dtype)
        return linear(lambda c: c[..., None, None, :] * spread, cotangent)


@dataclass(frozen=True)
class Linear(Layer):
    """x Wᵀ + b on feature rows; weight (out, in), bias (out,)."""

    n_in: int
    n_out: int

    def parameter_shapes(self) -> Shapes:
        return {f"{self.name}.weight": (self.n_out, self.n_in), f"{self.name}.bias": (self.n_out,)}

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return anp.dot(x, params[f"{self.name}.weight"].T) + params[f"{self.name}.bias"]

    def forward(self, sweep: Sweep, x: Number) -> Number:
        sweep.save(x)
        bias = linear(lambda b: b[..., None, :], sweep.params[f"{self.name}.bias"])
        return x @ _transpose(sweep.params[f"{self.name}.weight"]) + bias

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        (x,) = sweep.saved()
        sweep.grads[f"{self.name}.weight"] = _transpose(cotangent) @ x
        sweep.grads[f"{self.name}.bias"] = linear(lambda c: c.sum(axis=-2), cotangent)
        return cotangent @ sweep.params[f"{self.name}.weight"]


@dataclass(frozen=True)
class Sequential(Layer):
    """Layers one after the other."""

    layers: tuple[Layer, ...]

    def parameter_shapes(self) -> Shapes:
        return {name: shape for layer in self.layers for name, shape in layer.parameter_shapes().items()}

    def buffer_shapes(self) -> Shapes:
        return {name: shape for layer in self.layers for name, shape in layer.buffer_shapes().items()}

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        for layer in self.layers:
            x = layer.apply(params, buffers, x, training)
        return x

    def forward(self, sweep: Sweep, x: Number) -> Number:
        for layer in self.layers:
            x = layer.forward(sweep, x)
        return x

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        for layer in reversed(self.layers):
            cotangent = layer.backward(sweep, cotangent)
        return cotangent


@dataclass(frozen=True)
class Residual(Layer):
    """activation(convs(x) + shortcut(x)); an empty shortcut is the identity."""

    convs: Sequential
    shortcut: Sequential
    activation: Activation

    def parameter_shapes(self) -> Shapes:
        return self.convs.parameter_shapes() | self.shortcut.parameter_shapes()

    def buffer_shapes(self) -> Shapes:
        return self.convs.buffer_shapes() | self.shortcut.buffer_shapes()

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        convs = self.convs.apply(params, buffers, x, training)
        return self.activation.apply(params, buffers, convs + self.shortcut.apply(params, buffers, x, training))

    def forward(self, sweep: Sweep, x: Number) -> Number:
        convs = self.convs.forward(sweep, x)
        return self.activation.forward(sweep, convs + self.shortcut.forward(sweep, x))

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        cotangent = self.activation.backward(sweep, cotangent)
        shortcut = self.shortcut.backward(sweep, cotangent)  # the last on the tape comes off first
        return shortcut + self.convs.backward(sweep, cotangent)


def _transpose(matrix: Number) -> Number:
    return linear(lambda m: np.swapaxes(m, -1, -2), matrix)


def _total(x: Array) -> Array:
    """The sum of each group and channel, (…, 1, 1, 1, channels); as a product, which is faster than a strided sum."""
    rows = x.reshape(*x.shape[:-4], -1, x.shape[-1])
    return (np.ones((1, rows.shape[-2]), x.dtype) @ rows)[..., None, None, :]


def _mean(x: Array) -> Array:
    return _total(x) / math.prod(x.shape[-4:-1])


def _inverse_root(x: Array, order: int) -> list[Array]:
    """x^(−1/2) and its first derivatives."""
    root = 1 / np.sqrt(x)
    return [root, -root / (2 * x), 3 * root / (4 * x * x)][: order + 1]


def _pad(x: Array, before: int, after: int | tuple[int, int], fill: float = 0.0) -> Array:
    """Height and width of (…, height, width, channels) with `before` and `after` entries of `fill` around them."""
    below, right = after if isinstance(after, tuple) else (after, after)
    if not (before or below or right):
        return x
    *lead, height, width, channels = x.shape
    padded = np.full((*lead, before + height + below, before + width + right, channels), fill, x.dtype)
    padded[..., before : before + height, before : before + width, :] = x
    return padded


def _window_lengths(length: int) -> Array:
    """How many entries each window of two along an axis of this length holds: 2, 2, …, and 1 at an odd end."""
    return np.minimum(2, length - np.arange(0, length, 2))
