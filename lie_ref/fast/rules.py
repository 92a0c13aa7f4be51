"""Derivation rules for the layers of core, registered from outside: a forward and a backward pass in plain NumPy.

`backward` is the transpose of the derivative of `forward`.  Both run on arrays or on `Dual`s, so that a backward pass
over duals is an exact Hessian-vector product.  A layer without a rule of its own has that of its base class.  Core does
not know of this module; the tests hold the two together.

Inside a sweep, pictures are (group, member, height, width, channel).  A group is what one vector field is made of, a
single example or a mini-batch, and every product keeps the groups apart.  Parameters have a leading group axis of 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import numpy as np

from ..core import layers
from ..core.layers import Activation, BatchNorm, GlobalAvgPool, Layer, Linear, Residual, Sequential
from ..core.types import Array, Arrays
from .dual import Dual, Number, elementwise, linear, value
from .scalar_rules import derivatives


@dataclass
class Sweep:
    """One forward pass and the backward pass that follows it.

    `params` and `buffers` are those of the network.  `grads` collects the cotangents of the parameters, `statistics`
    the batch statistics of a training pass.  `tape` is the stack of values that forward leaves for backward, or None if
    no backward pass follows; then `made` keeps what depends only on the parameters, for further passes.  `inputs` are
    the inputs of the network, whose cotangent nobody needs.
    """

    params: dict[str, Number]
    buffers: Arrays
    training: bool = False
    tape: list[Any] | None = field(default_factory=list)
    grads: dict[str, Number] = field(default_factory=dict)
    statistics: Arrays = field(default_factory=dict)
    made: dict[Any, Number] = field(default_factory=dict)
    inputs: Array | None = None

    def once(self, name: Any, make: Callable[[], Number]) -> Number:
        """The result of `make`, kept for further passes unless there is a tape, which serves a single pass."""
        if self.tape is not None:
            return make()
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def save(self, *items: Any) -> None:
        if self.tape is not None:
            self.tape.append(items)

    def saved(self) -> Any:
        assert self.tape is not None, "this pass was run without a tape"
        return self.tape.pop()

    def running_statistics(self) -> Arrays:
        """The buffers after a training pass over one group, as PyTorch updates them."""
        return {
            name: (1 - layers.MOMENTUM) * self.buffers[name] + layers.MOMENTUM * new.reshape(self.buffers[name].shape)
            for name, new in self.statistics.items()
        }


@singledispatch
def forward(layer: Layer, sweep: Sweep, x: Number) -> Number:
    """The output of the layer for x (group, member, …, channel); leaves on the tape what `backward` needs."""
    raise TypeError(f"{type(layer).__name__}: expected a layer with a rule in fast.rules, got one without")


@singledispatch
def backward(layer: Layer, sweep: Sweep, cotangent: Number) -> Number:
    """The cotangent of the input from that of the output; leaves those of the parameters in `sweep.grads`."""
    raise TypeError(f"{type(layer).__name__}: expected a layer with a rule in fast.rules, got one without")


@forward.register
def _(layer: Sequential, sweep: Sweep, x: Number) -> Number:
    for inner in layer.layers:
        x = forward(inner, sweep, x)
    return x


@backward.register
def _(layer: Sequential, sweep: Sweep, cotangent: Number) -> Number:
    for inner in reversed(layer.layers):
        cotangent = backward(inner, sweep, cotangent)
    return cotangent


@forward.register
def _(layer: Residual, sweep: Sweep, x: Number) -> Number:
    y = forward(layer.convs, sweep, x)
    y += forward(layer.shortcut, sweep, x)
    return forward(layer.activation, sweep, y)


@backward.register
def _(layer: Residual, sweep: Sweep, cotangent: Number) -> Number:
    cotangent = backward(layer.activation, sweep, cotangent)
    shortcut = backward(layer.shortcut, sweep, cotangent)  # last on the tape, so first to come off
    back = backward(layer.convs, sweep, cotangent)
    back += shortcut
    return back


@forward.register
def _(layer: Linear, sweep: Sweep, x: Number) -> Number:
    sweep.save(x)
    bias = linear(lambda b: b[..., None, :], sweep.params[f"{layer.name}.bias"])
    return x @ _transpose(sweep.params[f"{layer.name}.weight"]) + bias


@backward.register
def _(layer: Linear, sweep: Sweep, cotangent: Number) -> Number:
    (x,) = sweep.saved()
    sweep.grads[f"{layer.name}.weight"] = _transpose(cotangent) @ x
    sweep.grads[f"{layer.name}.bias"] = linear(lambda c: c.sum(axis=-2), cotangent)
    return cotangent @ sweep.params[f"{layer.name}.weight"]


@forward.register
def _(layer: Activation, sweep: Sweep, x: Number) -> Number:
    rule = derivatives(layer.function)
    if sweep.tape is None and isinstance(x, Dual):  # nobody needs x again, so y takes over its tangents
        y, slope = rule(x.value, 1)
        x.tangent *= slope
        return Dual(y, x.tangent)
    y, slope = elementwise(rule, x, order=1)
    sweep.save(slope)
    return y


@backward.register
def _(layer: Activation, sweep: Sweep, cotangent: Number) -> Number:
    (slope,) = sweep.saved()
    return cotangent * slope


@forward.register
def _(layer: GlobalAvgPool, sweep: Sweep, x: Number) -> Number:
    sweep.save(x.shape)
    return linear(lambda a: a.mean(axis=(-3, -2)), x)


@backward.register
def _(layer: GlobalAvgPool, sweep: Sweep, cotangent: Number) -> Number:
    ((*_, height, width, _),) = sweep.saved()
    spread = np.full((height, width, 1), 1 / (height * width), value(cotangent).dtype)
    return linear(lambda c: c[..., None, None, :] * spread, cotangent)


@forward.register
def _(layer: BatchNorm, sweep: Sweep, x: Number) -> Number:
    rows = linear(_rows_of_pixels, x)
    if sweep.training:
        count = math.prod(x.shape[-4:-1])
        if count == 1:
            raise ValueError(layers.ONE_VALUE)
        mean = linear(lambda r: _channel_totals(r, layer.channels) / count, rows)
        centred = rows - _along_rows(mean, x)
        variance = linear(lambda r: _channel_totals(r, layer.channels) / count, centred * centred)
        sweep.statistics[f"{layer.name}.running_mean"] = value(mean)
        sweep.statistics[f"{layer.name}.running_var"] = value(variance) * (count / (count - 1))  # unbiased
        scale = elementwise(_inverse_root, variance + layers.EPS)[0]
    else:
        centred = rows - _along_rows(sweep.buffers[f"{layer.name}.running_mean"], x)
        scale = 1 / np.sqrt(sweep.buffers[f"{layer.name}.running_var"] + layers.EPS)
    sweep.save(centred, scale)
    y = centred * _along_rows(_per_channel(layer, sweep, "weight") * scale, x)
    y += _along_rows(_per_channel(layer, sweep, "bias"), x)
    return linear(lambda r: r.reshape(*r.shape[:-2], *x.shape[-4:]), y)


@backward.register
def _(layer: BatchNorm, sweep: Sweep, cotangent: Number) -> Number:
    centred, scale = sweep.saved()
    c, slope = linear(_rows_of_pixels, cotangent), _per_channel(layer, sweep, "weight") * scale
    along_centred = linear(lambda r: _channel_totals(r, layer.channels), c * centred)
    totals = along_centred * scale, linear(lambda r: _channel_totals(r, layer.channels), c)
    for parameter, total in zip(("weight", "bias"), totals, strict=True):
        sweep.grads[f"{layer.name}.{parameter}"] = linear(lambda t: t[..., 0, :], total)
    back = c * _along_rows(slope, cotangent)
    if sweep.training:  # the mean and the variance depend on x as well
        along_normal, mean = (linear(lambda t: t / math.prod(cotangent.shape[-4:-1]), total) for total in totals)
        back -= centred * _along_rows(along_normal * scale * slope, cotangent)
        back -= _along_rows(mean * slope, cotangent)
    return linear(lambda r: r.reshape(*r.shape[:-2], *cotangent.shape[-4:]), back)


def _per_channel(layer: BatchNorm, sweep: Sweep, name: str) -> Number:
    """The weight or the bias of a batch-norm, (…, 1, channels)."""
    return linear(lambda p: p[..., None, :], sweep.params[f"{layer.name}.{name}"])


def _rows_of_pixels(x: Array) -> Array:
    """(…, member, height, width, channels) → (…, member · height, width · channels), for longer NumPy loops."""
    return x.reshape(*x.shape[:-4], -1, x.shape[-2] * x.shape[-1])


def _along_rows(per_channel: Number, x: Number) -> Number:
    """A number for each channel, (…, channels), repeated for each pixel in a row of x: (…, width · channels)."""
    return linear(lambda a: np.concatenate([a] * x.shape[-2], axis=-1), per_channel)


def _channel_totals(rows: Array, channels: int) -> Array:
    """The sum of each channel over rows of pixels, (…, 1, channels); a product is faster than a strided sum."""
    total = np.ones((1, rows.shape[-2]), rows.dtype) @ rows
    return total.reshape(*rows.shape[:-2], -1, channels).sum(axis=-2, keepdims=True)


def _inverse_root(x: Array, order: int) -> list[Array]:
    """x^(−1/2) and, for order 1, its derivative."""
    root = 1 / np.sqrt(x)
    return [root, -root / (2 * x)][: order + 1]


def _transpose(matrix: Number) -> Number:
    """The transpose of the last two axes."""
    return linear(lambda m: np.swapaxes(m, -1, -2), matrix)
