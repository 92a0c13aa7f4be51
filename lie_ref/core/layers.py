"""The layers of the shipped networks, each defined once and differentiated by hand once.

`apply` is the definition, in `autograd.numpy` on arrays (n, channels, height, width): what a layer computes, ready for
autograd to differentiate.  `forward` and `backward` are the derivation, in plain NumPy: backward is the transpose of
forward's derivative.  Both run on arrays or on `Dual`s, so that a backward pass over duals is an exact Hessian-vector
product.  The two share no differentiation code, and the tests hold them together.

Inside a sweep pictures lie as (group, member, height, width, channel): a group is what one vector field is made of, a
single example or a mini-batch, and every product keeps the groups apart.  Parameters have a leading group axis of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import autograd.numpy as anp
import numpy as np

from ..fast.dual import Array, Dual, Number, elementwise, linear, value
from ..machine.parallel import Reduce
from .activations import ACTIVATIONS

Shapes = dict[str, tuple[int, ...]]
EPS, MOMENTUM = 1e-5, 0.1  # of batch-norm, as PyTorch has them


@dataclass
class Sweep:
    """One forward pass and the backward pass that follows it.

    `params` and `buffers` are the network's, `grads` collects the parameters' cotangents, `statistics` what a training
    pass says of its batch; `tape` is the stack of what forward leaves for backward (None: leave nothing).  `made` holds
    what depends on the parameters alone, for several passes without a tape.  A mini-batch may be swept in parts side by
    side: then `members` counts all of it, and `reduce` adds up over the parts.
    """

    params: dict[str, Number]
    buffers: dict[str, Array]
    training: bool = False
    tape: list[Any] | None = field(default_factory=list)
    grads: dict[str, Number] = field(default_factory=dict)
    statistics: dict[str, Array] = field(default_factory=dict)
    made: dict[Any, Number] = field(default_factory=dict)
    members: int | None = None
    reduce: Reduce = lambda a: a

    def count(self, shape: tuple[int, ...]) -> int:
        """How many values of each channel a group has, all its parts together; shape (…, member, height, width, _)."""
        return (self.members or shape[-4]) * shape[-3] * shape[-2]

    def means(self, shape: tuple[int, ...], *totals: Number) -> list[Number]:
        """Over all parts, the totals divided by `count`; added up together, for the parts wait for each other."""
        if not any(isinstance(total, Dual) for total in totals):  # duals are not swept in parts
            totals = tuple(self.reduce(np.stack(totals)))
        return [linear(lambda t: t / self.count(shape), total) for total in totals]

    def once(self, name: Any, make: Callable[[], Number]) -> Number:
        """What `make` makes, made once for all passes of this sweep."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def save(self, *items: Any) -> None:
        if self.tape is not None:
            self.tape.append(items)

    def saved(self) -> Any:
        assert self.tape is not None, "this pass was run without a tape"
        return self.tape.pop()

    def running_statistics(self) -> dict[str, Array]:
        """PyTorch's update after a training pass over one group: the batch's statistics with weight `MOMENTUM`."""
        return {
            name: (1 - MOMENTUM) * self.buffers[name] + MOMENTUM * new.reshape(self.buffers[name].shape)
            for name, new in self.statistics.items()
        }


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
class BatchNorm(Layer):
    """(x − mean) / √(variance + ε) · weight + bias: running statistics in evaluation, the batch's own in training."""

    channels: int

    def parameter_shapes(self) -> Shapes:
        return {f"{self.name}.weight": (self.channels,), f"{self.name}.bias": (self.channels,)}

    def buffer_shapes(self) -> Shapes:
        return {f"{self.name}.running_mean": (self.channels,), f"{self.name}.running_var": (self.channels,)}

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        normal = self.normalised(x, *(self.batch_statistics(x) if training else self.running_statistics(buffers)))
        return normal * params[f"{self.name}.weight"][:, None, None] + params[f"{self.name}.bias"][:, None, None]

    def batch_statistics(self, x: Any) -> tuple[Any, Any]:
        """The mini-batch's own mean and biased variance."""
        _check_count(x.shape[0] * x.shape[2] * x.shape[3])
        mean = anp.mean(x, axis=(0, 2, 3), keepdims=True)
        return mean, anp.mean((x - mean) ** 2, axis=(0, 2, 3), keepdims=True)

    def running_statistics(self, buffers: Any) -> tuple[Any, Any]:
        """The mean and variance gathered in training."""
        names = f"{self.name}.running_mean", f"{self.name}.running_var"
        return buffers[names[0]][:, None, None], buffers[names[1]][:, None, None]

    def normalised(self, x: Any, mean: Any, variance: Any) -> Any:
        """(x − mean) / √(variance + ε)."""
        return (x - mean) / anp.sqrt(variance + EPS)

    def forward(self, sweep: Sweep, x: Number) -> Number:
        rows = linear(_rows_of_pixels, x)
        if sweep.training:
            count = sweep.count(x.shape)
            _check_count(count)
            (mean,) = sweep.means(x.shape, linear(self._total, rows))
            centred = rows - self._along_row(mean, x)
            (variance,) = sweep.means(x.shape, linear(self._total, centred * centred))
            sweep.statistics[f"{self.name}.running_mean"] = value(mean)
            sweep.statistics[f"{self.name}.running_var"] = value(variance) * (count / (count - 1))  # unbiased
            scale = elementwise(_inverse_root, variance + EPS)[0]
        else:
            centred = rows - self._along_row(sweep.buffers[f"{self.name}.running_mean"], x)
            scale = 1 / np.sqrt(sweep.buffers[f"{self.name}.running_var"] + EPS)
        sweep.save(centred, scale)
        slope = self._parameter(sweep, "weight") * scale
        y = centred * self._along_row(slope, x)
        y += self._along_row(self._parameter(sweep, "bias"), x)
        return linear(lambda r: r.reshape(*r.shape[:-2], *x.shape[-4:]), y)

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        centred, scale = sweep.saved()
        c, slope = linear(_rows_of_pixels, cotangent), self._parameter(sweep, "weight") * scale
        totals = linear(self._total, c * centred) * scale, linear(self._total, c)
        for parameter, total in zip(("weight", "bias"), totals, strict=True):
            sweep.grads[f"{self.name}.{parameter}"] = linear(lambda t: t[..., 0, :], total)
        back = c * self._along_row(slope, cotangent)
        if sweep.training:  # the mean and the variance depend on x as well
            along_normal, mean = sweep.means(cotangent.shape, *totals)
            back -= centred * self._along_row(along_normal * scale * slope, cotangent)
            back -= self._along_row(mean * slope, cotangent)
        return linear(lambda r: r.reshape(*r.shape[:-2], *cotangent.shape[-4:]), back)

    def folded(self, params: Mapping[str, Number], buffers: Mapping[str, Array]) -> tuple[Number, Number]:
        """Evaluation mode as x · scale + shift: (…, channels) each."""
        scale = params[f"{self.name}.weight"] * (1 / np.sqrt(buffers[f"{self.name}.running_var"] + EPS))
        return scale, params[f"{self.name}.bias"] - scale * buffers[f"{self.name}.running_mean"]

    def _parameter(self, sweep: Sweep, name: str) -> Number:
        """The weight or the bias, (…, 1, channels)."""
        return linear(lambda p: p[..., None, :], sweep.params[f"{self.name}.{name}"])

    def _along_row(self, per_channel: Number, x: Number) -> Number:
        """A number for each channel (…, channels), again for each pixel in a row of x: (…, width · channels)."""
        return linear(lambda a: np.concatenate([a] * x.shape[-2], axis=-1), per_channel)

    def _total(self, rows: Array) -> Array:
        """The sum of each channel (…, 1, channels) over rows of pixels; as a product, faster than a strided sum."""
        total = np.ones((1, rows.shape[-2]), rows.dtype) @ rows
        return total.reshape(*rows.shape[:-2], -1, self.channels).sum(axis=-2, keepdims=True)


@dataclass(frozen=True)
class Activation(Layer):
    """An activation function of `ACTIVATIONS`, entry by entry."""

    function: str

    def derivatives(self, x: Array, order: int) -> list[Array]:
        """The function and its derivatives up to `order`, at most 2, in closed form."""
        return ACTIVATIONS[self.function].derivatives(x, order)

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return ACTIVATIONS[self.function].definition(x)

    def forward(self, sweep: Sweep, x: Number) -> Number:
        if sweep.tape is None and isinstance(x, Dual):  # then nobody needs x again: its tangents become those of y
            y, slope = self.derivatives(x.value, 1)
            x.tangent *= slope
            return Dual(y, x.tangent)
        y, slope = elementwise(self.derivatives, x, order=1)
        sweep.save(slope)
        return y

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        (slope,) = sweep.saved()
        return cotangent * slope


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

    def oriented(self, w: Array) -> Array:
        """The matrix (…, out, in) that is applied, from the weight as it is stored; its own transpose."""
        return w

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return anp.dot(x, self.oriented(params[f"{self.name}.weight"]).T) + params[f"{self.name}.bias"]

    def forward(self, sweep: Sweep, x: Number) -> Number:
        sweep.save(x)
        bias = linear(lambda b: b[..., None, :], sweep.params[f"{self.name}.bias"])
        return x @ transpose(linear(self.oriented, sweep.params[f"{self.name}.weight"])) + bias

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        (x,) = sweep.saved()
        sweep.grads[f"{self.name}.weight"] = linear(self.oriented, transpose(cotangent) @ x)
        sweep.grads[f"{self.name}.bias"] = linear(lambda c: c.sum(axis=-2), cotangent)
        return cotangent @ linear(self.oriented, sweep.params[f"{self.name}.weight"])


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
        y = self.convs.forward(sweep, x)
        y += self.shortcut.forward(sweep, x)
        return self.activation.forward(sweep, y)

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        cotangent = self.activation.backward(sweep, cotangent)
        shortcut = self.shortcut.backward(sweep, cotangent)  # the last on the tape comes off first
        back = self.convs.backward(sweep, cotangent)
        back += shortcut
        return back


def _check_count(count: int) -> None:
    if count == 1:  # its variance is 0, and nothing of x would pass
        raise ValueError("x: expected more than one value a channel for batch-norm in training mode, got 1")


def transpose(matrix: Number) -> Number:
    """The transpose of the last two axes."""
    return linear(lambda m: np.swapaxes(m, -1, -2), matrix)


def _rows_of_pixels(x: Array) -> Array:
    """(…, member, height, width, channels) → (…, member · height, width · channels): NumPy's loops are longer so."""
    return x.reshape(*x.shape[:-4], -1, x.shape[-2] * x.shape[-1])


def _inverse_root(x: Array, order: int) -> list[Array]:
    """x^(−1/2) and its first derivatives."""
    root = 1 / np.sqrt(x)
    return [root, -root / (2 * x), 3 * root / (4 * x * x)][: order + 1]
