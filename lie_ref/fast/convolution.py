"""Derivation rules for the layers that slide a window over pictures: convolution, max-pool and average-pool.

A convolution is bilinear in picture and weight.  Its product, the gradient in the weight and the cotangent of the
picture are three matrix products over the *patches* that the kernel sees.  Patches are copied once for all directions,
and band by band, so that they are still in the cache when they are multiplied.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.layers import AvgPool, Conv, Layer, MaxPool
from ..core.types import Array, Shapes
from .dual import Dual, Number, bilinear, linear, value
from .gemm import contract, in_panels, moved_last, multiply, multiply_few, multiply_in_tiles
from .rules import Sweep, backward, forward

CACHED = 2**21  # bytes of patches that are made at a time; they stay in the cache of a core, or near it


@dataclass(frozen=True)
class BiasedConv(Layer):
    """A convolution and a bias (out,), for forward passes only: the result of folding batch-norm into the kernel."""

    conv: Conv

    def parameter_shapes(self) -> Shapes:
        return {**self.conv.parameter_shapes(), f"{self.name}.bias": (self.conv.n_out,)}


@forward.register
def _(layer: Conv, sweep: Sweep, x: Number) -> Number:
    sweep.save(x)
    few = _few(layer, x.shape)
    weight = sweep.params[f"{layer.name}.weight"]
    kernels = sweep.once((layer.name, few), lambda: linear(lambda w: _kernels(w, few), weight))
    return bilinear(lambda v, k: _correlate(layer, v, k, few), x, kernels)


@forward.register
def _(layer: BiasedConv, sweep: Sweep, x: Number) -> Number:
    y = forward(layer.conv, sweep, x)
    whole_row = (y.shape[-2], 1)  # makes NumPy's inner loops longer
    y += linear(lambda b: np.tile(b[..., None, None, None, :], whole_row), sweep.params[f"{layer.name}.bias"])
    return y


@backward.register
def _(layer: Conv, sweep: Sweep, cotangent: Number) -> Number:
    (x,) = sweep.saved()
    weight = sweep.params[f"{layer.name}.weight"]
    sweep.grads[f"{layer.name}.weight"] = bilinear(lambda v, c: _weight_gradient(layer, v, c), x, cotangent)
    if x is sweep.inputs:
        return None
    few = _few(layer, x.shape)
    if _places(layer, x.shape) == x.shape[-3:-1] and not few:
        # Then the transpose is a convolution too, with the kernel rotated by 180°.
        back = linear(lambda w: np.swapaxes(w[..., ::-1, ::-1], -4, -3), weight)
        transposed = Conv(layer.name, layer.n_out, layer.n_in, layer.kernel)
        return forward(transposed, Sweep({f"{layer.name}.weight": back}, {}, tape=None), cotangent)
    rows = linear(lambda c: c.reshape(*c.shape[:-4], -1, layer.n_out), cotangent)
    patches = bilinear(multiply_in_tiles, rows, linear(lambda w: _matrix(w, few), weight))
    return linear(lambda p: _fold(layer, p, x.shape, few), patches)


def _places(layer: Conv, shape: tuple[int, ...]) -> tuple[int, int]:
    """The number of places of the kernel down and along a picture of this shape (…, height, width, channels)."""
    down, along = ((n + sum(layer.padding(n)) - layer.kernel) // layer.stride + 1 for n in shape[-3:-1])
    return down, along


def _few(layer: Conv, shape: tuple[int, ...]) -> bool:
    """Whether a group of this shape (…, member, height, width, channels) has fewer patches than there are kernels.

    If so, patches take the order of the weight, (in, kernel, kernel), and no weight is copied.  Otherwise kernels take
    the order of the pictures, (kernel, kernel, in).
    """
    return shape[-4] * math.prod(_places(layer, shape)) < layer.n_out


def _patches(layer: Conv, x: Array, members: slice, rows: slice, few: bool) -> Array:
    """The patches that the kernel sees in these members of x at its places in these rows: (…, patches, length)."""
    k, s, seen = layer.kernel, layer.stride, _framed(layer, x, members, rows)
    *outer, height, width, channels = seen.shape
    *strides, down, right, deep = seen.strides
    shape = (*outer, (height - k) // s + 1, (width - k) // s + 1, k)
    strides = [*strides, s * down, s * right, down]
    if few:
        windows = np.ndarray((*shape, k, channels), x.dtype, seen, 0, (*strides, right, deep))
        patches = np.moveaxis(windows, -1, -3)
    else:  # a row of a patch is contiguous, and NumPy copies a few large items faster than many numbers
        row = np.dtype((np.void, k * channels * x.itemsize))
        patches = np.ascontiguousarray(np.ndarray(shape, row, seen, 0, strides)).view(x.dtype)
    return patches.reshape(*outer[:-1], -1, k * k * channels)


def _framed(layer: Conv, x: Array, members: slice, rows: slice) -> Array:
    """The part of x that `_patches` reads, with the zeros around it: (…, members, height, width, channels).

    Only the rows about to be read are padded, so that they are still in the cache.
    """
    height, width = x.shape[-3:-1]
    above = layer.padding(height)[0]
    first = layer.stride * rows.start - above
    end = layer.stride * (min(rows.stop, _places(layer, x.shape)[0]) - 1) - above + layer.kernel
    inside = x[..., members, max(first, 0) : end, :, :]
    return np.ascontiguousarray(pad(inside, (max(-first, 0), max(end - height, 0)), layer.padding(width)))


def _matrix(w: Array, few: bool) -> Array:
    """The weight as a matrix (…, out, kernel · kernel · in), each kernel in the order of a patch."""
    return (w if few else moved_last(w, -3)).reshape(*w.shape[:-3], -1)


def _kernels(w: Array, few: bool) -> Array:
    """The weight as `_correlate` takes it: as `_matrix`, or in panels where patches are many."""
    return _matrix(w, few) if few else in_panels(moved_last(w, -3), axis=-4)


def _correlate(layer: Conv, x: Array, kernels: Array, few: bool) -> Array:
    """The pictures x (…, group, member, …) convolved with kernels (group or 1, …), or (k, group or 1, …) for k at once.

    Patches are copied once for all k kernels of their group.
    """
    length, axes = layer.n_in * layer.kernel**2, 2 if few else 3  # axes of the kernels of a group
    many, groups = kernels.shape[: -axes - 1], kernels.shape[-axes - 1]
    kernels = kernels.reshape(-1, groups, *kernels.shape[-axes:])
    down, along = _places(layer, x.shape)
    lead, x = x.shape[:-3], x.reshape(groups, -1, *x.shape[-3:])  # one group if all meet the same kernels
    y = np.empty((len(kernels), groups, x.shape[1] * down * along, layer.n_out), x.dtype)
    done = 0
    for some, rows in bands(x.shape[1], down, along, CACHED // (groups * length * y.itemsize)):
        patches = _patches(layer, x, some, rows, few)
        (multiply_few if few else multiply)(patches, kernels, y[:, :, done : done + patches.shape[1]])
        done += patches.shape[1]
    return y.reshape(*many, *lead, down, along, layer.n_out)


def _weight_gradient(layer: Conv, x: Array, c: Array) -> Array:
    """Σ over members and places of cotangent c (…, group, member, out height, out width, out) times patch of x."""
    k, few, (members, down, along) = layer.kernel, _few(layer, x.shape), c.shape[-4:-1]
    length, total = layer.n_in * k**2, None
    for some, rows in bands(members, down, along, CACHED // (length * c.itemsize * math.prod(x.shape[:-4]))):
        patches = _patches(layer, x, some, rows, few)
        cotangents = c[..., some, rows, :, :].reshape(*c.shape[:-4], -1, layer.n_out)
        found = contract(cotangents, patches)
        total = found if total is None else np.add(total, found, out=total)
    assert total is not None
    w = total.reshape(*total.shape[:-1], *((layer.n_in, k, k) if few else (k, k, layer.n_in)))
    return w if few else w.swapaxes(-1, -2).swapaxes(-2, -3)  # a view: in memory a kernel stays a row of `_matrix`


def _fold(layer: Conv, patches: Array, shape: tuple[int, ...], few: bool) -> Array:
    """The transpose of taking patches: all patches added up at their places in a picture of the given shape."""
    k, s = layer.kernel, layer.stride
    members, height, width, channels = shape[-4:]
    rows, columns = _places(layer, shape)
    order = (channels, k, k) if few else (k, k, channels)
    patches = patches.reshape(*patches.shape[:-2], members, rows, columns, *order)
    patches = np.moveaxis(patches, -3, -1) if few else patches
    (top, bottom), (left, right) = layer.padding(height), layer.padding(width)
    padded = (members, top + height + bottom, left + width + right, channels)
    x = np.zeros((*patches.shape[:-6], *padded), patches.dtype)
    for i in range(k):
        for j in range(k):
            x[..., i : i + s * rows : s, j : j + s * columns : s, :] += patches[..., i, j, :]
    return x[..., top : top + height, left : left + width, :]


@forward.register
def _(layer: MaxPool, sweep: Sweep, x: Number) -> Number:
    padded = framed(layer, value(x), layer.fill)
    largest = np.array(padded[windows(x.shape)[0]])
    first = np.zeros(largest.shape, np.int8)
    for n, window in enumerate(windows(x.shape)[1:], start=1):
        larger = padded[window] > largest
        np.maximum(first, larger.view(np.int8) * np.int8(n), out=first)
        np.maximum(largest, padded[window], out=largest)
    sweep.save(first, x.shape)
    return Dual(largest, _gather(layer, x.tangent, first)) if isinstance(x, Dual) else largest


@backward.register
def _(layer: MaxPool, sweep: Sweep, cotangent: Number) -> Number:
    first, shape = sweep.saved()
    return linear(lambda c: scatter(layer, c, first, shape), cotangent)


def _gather(layer: MaxPool, x: Array, first: Array) -> Array:
    """The entry of each window that `first` names; zero where that entry is outside the picture."""
    height, width, channels = x.shape[-3:]
    row, column, channel = np.ogrid[: first.shape[-3], : first.shape[-2], :channels]
    down, right = np.divmod(first.astype(np.intp), 3)
    rows, columns = 2 * row + down - layer.padding(height)[0], 2 * column + right - layer.padding(width)[0]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = (rows * width + columns) * channels + channel
    found = np.empty((*x.shape[:-3], *first.shape[-3:]), x.dtype)
    for index in np.ndindex(x.shape[:-3]):
        x[index].take(places[index[-(first.ndim - 3) :]], out=found[index], mode="clip")  # the fastest mode
    return found if inside.all() else found * inside


def scatter(layer: MaxPool, c: Array, first: Array, shape: tuple[int, ...]) -> Array:
    """The transpose of gathering: each cotangent goes to the entry of its window that `first` names, in scan order."""
    height, width = shape[-3:-1]
    (top, bottom), (left, right) = layer.padding(height), layer.padding(width)
    padded = np.zeros((*c.shape[:-3], top + height + bottom, left + width + right, shape[-1]), c.dtype)
    for n, window in enumerate(windows(shape)):
        padded[window] += c * (first == n)
    return padded[..., top : top + height, left : left + width, :]


def framed(layer: MaxPool, x: Array, fill: float) -> Array:
    """x (…, height, width, channels) with `fill` around it, as wide as the padding of the layer."""
    return pad(x, layer.padding(x.shape[-3]), layer.padding(x.shape[-2]), fill)


def windows(shape: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """For each of the nine places of a pooling window, in scan order, the index of that place in all windows."""
    rows, columns = (2 * -(-length // 2) for length in shape[-3:-1])
    return [(..., slice(i, i + rows, 2), slice(j, j + columns, 2), slice(None)) for i in range(3) for j in range(3)]


@forward.register
def _(layer: AvgPool, sweep: Sweep, x: Number) -> Number:
    sweep.save(x.shape)
    return linear(lambda a: _window_means(layer, a), x)


@backward.register
def _(layer: AvgPool, sweep: Sweep, cotangent: Number) -> Number:
    (shape,) = sweep.saved()
    return linear(lambda c: _spread(layer, c, shape), cotangent)


def _window_means(layer: AvgPool, x: Array) -> Array:
    height, width = x.shape[-3:-1]
    x = pad(x, (0, height % 2), (0, width % 2))
    by_window = x.reshape(*x.shape[:-3], x.shape[-3] // 2, 2, x.shape[-2] // 2, 2, x.shape[-1])
    return by_window.sum(axis=(-4, -2)) / layer.counts(height, width).astype(x.dtype)[:, :, None]


def _spread(layer: AvgPool, c: Array, shape: tuple[int, ...]) -> Array:
    """The transpose of `_window_means`."""
    height, width = shape[-3:-1]
    c = (c / layer.counts(height, width).astype(c.dtype)[:, :, None]).repeat(2, axis=-3).repeat(2, axis=-2)
    return c[..., :height, :width, :]


def bands(pictures: int, height: int, width: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Slices of pictures and of their rows, of about equal size, with at most `size` pixels each, or one row."""
    step = max(1, size // (height * width))
    most = max(1, min(height, size // width))
    rows = -(-height // -(-height // most))
    for picture in range(0, pictures, step):
        for row in range(0, height, rows):
            yield slice(picture, picture + step), slice(row, row + rows)


def pad(x: Array, rows: tuple[int, int], columns: tuple[int, int], fill: float = 0.0) -> Array:
    """(…, height, width, channels) with these numbers of entries of `fill` before and after height and width."""
    if not any((*rows, *columns)):
        return x
    *lead, height, width, channels = x.shape
    (top, bottom), (left, right) = rows, columns
    padded = np.empty((*lead, top + height + bottom, left + width + right, channels), x.dtype)
    padded[..., top : top + height, left : left + width, :] = x
    padded[..., :top, :, :] = padded[..., top + height :, :, :] = fill
    padded[..., :left, :] = padded[..., left + width :, :] = fill
    return padded
