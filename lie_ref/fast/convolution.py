"""Layers that slide a window over pictures: convolution, max-pool and average-pool.

Each comes as in `layers`: `apply` for autograd on (n, channels, height, width), `forward` and `backward` for the sweeps
on (group, member, height, width, channel).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import autograd.numpy as anp
import numpy as np

from ..core.layers import Layer, Shapes, Sweep
from .dual import Array, Dual, Number, bilinear, linear, value
from .gemm import contract, in_panels, moved_last, multiply, multiply_few, multiply_in_tiles

Pads = tuple[int, int]  # entries before and after an axis
CACHED = 2**21  # bytes of patches that are made at a time: they stay in a core's cache, or near it


@dataclass(frozen=True)
class Conv(Layer):
    """2-D convolution (cross-correlation), zero padding of kernel // 2; weight (out, in, kernel, kernel), kernel odd.

    `first` says that the input is the picture itself, whose cotangent nobody asks for; `bias` that a bias (out,) is
    added, as `models.folded` leaves it, in forward passes alone.
    """

    n_in: int
    n_out: int
    kernel: int = 3
    stride: int = 1
    first: bool = False
    bias: bool = False

    def parameter_shapes(self) -> Shapes:
        shapes: Shapes = {f"{self.name}.weight": (self.n_out, self.n_in, self.kernel, self.kernel)}
        return shapes | ({f"{self.name}.bias": (self.n_out,)} if self.bias else {})

    def padding(self, length: int) -> Pads:
        """How many zeros stand before and after an axis of this length."""
        return self.kernel // 2, self.kernel // 2

    def turned(self, w: Array) -> Array:
        """The kernel as it meets the picture, from the weight as it is stored; its own transpose."""
        return w

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        padded = anp.pad(x, ((0, 0), (0, 0), *map(self.padding, x.shape[2:])), "constant")
        return correlation(padded, self.turned(params[f"{self.name}.weight"]), self.stride)

    def forward(self, sweep: Sweep, x: Number) -> Number:
        sweep.save(x)
        few = self._few(x.shape)
        weight = sweep.params[f"{self.name}.weight"]
        kernels = sweep.once((self.name, few), lambda: linear(lambda w: self._kernels(w, few), weight))
        y = bilinear(lambda v, k: self._correlate(v, k, few), x, kernels)
        if self.bias:
            whole_row = (y.shape[-2], 1)  # at once: NumPy's loops are longer so
            bias = sweep.params[f"{self.name}.bias"]
            y += linear(lambda b: np.tile(b[..., None, None, None, :], whole_row), bias)
        return y

    def backward(self, sweep: Sweep, cotangent: Number) -> Number | None:
        (x,) = sweep.saved()
        weight = sweep.params[f"{self.name}.weight"]
        sweep.grads[f"{self.name}.weight"] = bilinear(self._weight_gradient, x, cotangent)
        if self.first:
            return None
        few = self._few(x.shape)
        if self.stride == 1 and not few:  # then the transpose is a convolution too, with the kernel turned round
            back = linear(lambda w: np.swapaxes(self.turned(w)[..., ::-1, ::-1], -4, -3), weight)
            transposed = Conv(self.name, self.n_out, self.n_in, self.kernel)
            return transposed.forward(Sweep({f"{self.name}.weight": back}, {}, tape=None), cotangent)
        rows = linear(lambda c: c.reshape(*c.shape[:-4], -1, self.n_out), cotangent)
        patches = bilinear(multiply_in_tiles, rows, linear(lambda w: self._matrix(w, few), weight))
        return linear(lambda p: self._fold(p, x.shape, few), patches)

    def _places(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """How many places the kernel takes down and along a picture of this shape (…, height, width, channels)."""
        down, along = ((n + sum(self.padding(n)) - self.kernel) // self.stride + 1 for n in shape[-3:-1])
        return down, along

    def _few(self, shape: tuple[int, ...]) -> bool:
        """Whether a group of this shape (…, member, height, width, channels) has fewer patches than kernels to meet.

        Then patches are put in the order of the weight, (in, kernel, kernel), so that no weight need be copied; else
        the kernels in the order of the pictures, (kernel, kernel, in).
        """
        return shape[-4] * math.prod(self._places(shape)) < self.n_out

    def _patches(self, x: Array, members: slice, rows: slice, few: bool) -> Array:
        """The patches that the kernel sees in these members of x at its places in these rows: (…, patches, length)."""
        k, s, seen = self.kernel, self.stride, self._framed(x, members, rows)
        *outer, height, width, channels = seen.shape
        *strides, down, right, deep = seen.strides
        shape = (*outer, (height - k) // s + 1, (width - k) // s + 1, k)
        strides = [*strides, s * down, s * right, down]
        if few:
            windows = np.ndarray((*shape, k, channels), x.dtype, seen, 0, (*strides, right, deep))
            patches = np.moveaxis(windows, -1, -3)
        else:  # then a patch's row lies in one piece, and NumPy copies a few large items faster than many numbers
            row = np.dtype((np.void, k * channels * x.itemsize))
            patches = np.ascontiguousarray(np.ndarray(shape, row, seen, 0, strides)).view(x.dtype)
        return patches.reshape(*outer[:-1], -1, k * k * channels)

    def _framed(self, x: Array, members: slice, rows: slice) -> Array:
        """The part of x that `_patches` reads, with the zeros around it: (…, members, height, width, channels).

        So much alone gets a frame as is read soon after, while it is in the cache.
        """
        height, width = x.shape[-3:-1]
        above = self.padding(height)[0]
        first = self.stride * rows.start - above
        end = self.stride * (min(rows.stop, self._places(x.shape)[0]) - 1) - above + self.kernel
        inside = x[..., members, max(first, 0) : end, :, :]
        return np.ascontiguousarray(pad(inside, (max(-first, 0), max(end - height, 0)), self.padding(width)))

    def _matrix(self, w: Array, few: bool) -> Array:
        """The weight as a matrix (…, out, kernel · kernel · in), a kernel in the order of a patch."""
        w = self.turned(w)
        return (w if few else moved_last(w, -3)).reshape(*w.shape[:-3], -1)

    def _kernels(self, w: Array, few: bool) -> Array:
        """The weight as `_correlate` takes it: as `_matrix`, or for many patches in panels."""
        return self._matrix(w, few) if few else in_panels(moved_last(self.turned(w), -3), axis=-4)

    def _correlate(self, x: Array, kernels: Array, few: bool) -> Array:
        """Pictures x (…, group, member, …) times kernels (group or 1, …), or k of them, an axis before: pictures.

        Patches are copied once for all k kernels of their group.
        """
        length, axes = self.n_in * self.kernel**2, 2 if few else 3  # of a group's kernels
        many, groups = kernels.shape[: -axes - 1], kernels.shape[-axes - 1]
        kernels = kernels.reshape(-1, groups, *kernels.shape[-axes:])
        down, along = self._places(x.shape)
        lead, x = x.shape[:-3], x.reshape(groups, -1, *x.shape[-3:])  # if all meet the same kernels, they are one group
        y = np.empty((len(kernels), groups, x.shape[1] * down * along, self.n_out), x.dtype)
        done = 0
        for some, rows in bands(x.shape[1], down, along, CACHED // (groups * length * y.itemsize)):
            patches = self._patches(x, some, rows, few)
            (multiply_few if few else multiply)(patches, kernels, y[:, :, done : done + patches.shape[1]])
            done += patches.shape[1]
        return y.reshape(*many, *lead, down, along, self.n_out)

    def _weight_gradient(self, x: Array, c: Array) -> Array:
        """Σ over members and places of cotangent c (…, group, member, out height, out width, out) times patch of x."""
        few, length, (members, down, along) = self._few(x.shape), self.n_in * self.kernel**2, c.shape[-4:-1]
        total = None
        for some, rows in bands(members, down, along, CACHED // (length * c.itemsize * math.prod(x.shape[:-4]))):
            patches = self._patches(x, some, rows, few)
            cotangents = c[..., some, rows, :, :].reshape(*c.shape[:-4], -1, self.n_out)
            found = contract(cotangents, patches)
            total = found if total is None else np.add(total, found, out=total)
        assert total is not None
        order = (self.n_in, *2 * (self.kernel,)) if few else (*2 * (self.kernel,), self.n_in)
        w = total.reshape(*total.shape[:-1], *order)  # below, views: in memory a kernel stays a row of `_matrix`
        return self.turned(w if few else w.swapaxes(-1, -2).swapaxes(-2, -3))

    def _fold(self, patches: Array, shape: tuple[int, ...], few: bool) -> Array:
        """The transpose of taking patches: the sum of all patches at their places in a picture of the given shape."""
        k, s = self.kernel, self.stride
        members, height, width, channels = shape[-4:]
        rows, columns = -(-height // s), -(-width // s)
        order = (channels, k, k) if few else (k, k, channels)
        patches = patches.reshape(*patches.shape[:-2], members, rows, columns, *order)
        patches = np.moveaxis(patches, -3, -1) if few else patches
        (top, bottom), (left, right) = self.padding(height), self.padding(width)
        padded = (members, top + height + bottom, left + width + right, channels)
        x = np.zeros((*patches.shape[:-6], *padded), patches.dtype)
        for i in range(k):
            for j in range(k):
                x[..., i : i + s * rows : s, j : j + s * columns : s, :] += patches[..., i, j, :]
        return x[..., top : top + height, left : left + width, :]


@dataclass(frozen=True)
class MaxPool(Layer):
    """Maximum over 3 × 3 windows, stride 2, padding 1; of equal entries the first in scan order has the derivative."""

    fill: ClassVar[float] = -np.inf  # what stands around the picture

    def padding(self, length: int) -> Pads:
        """How many entries of `fill` stand before and after an axis of this length."""
        return 1, 1

    def apply(self, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        pads = ((0, 0), (0, 0), *map(self.padding, x.shape[2:]))
        padded = anp.pad(x, pads, "constant", constant_values=self.fill)
        return first_largest(window_entries(padded, kernel=3, stride=2))

    def forward(self, sweep: Sweep, x: Number) -> Number:
        padded = self.padded(value(x), self.fill)
        largest = np.array(padded[self._windows(x.shape)[0]])
        first = np.zeros(largest.shape, np.int8)
        for n, window in enumerate(self._windows(x.shape)[1:], start=1):
            larger = padded[window] > largest
            np.maximum(first, larger.view(np.int8) * np.int8(n), out=first)
            np.maximum(largest, padded[window], out=largest)
        sweep.save(first, x.shape)
        return Dual(largest, self._gather(x.tangent, first)) if isinstance(x, Dual) else largest

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        first, shape = sweep.saved()
        return linear(lambda c: self._scatter(c, first, shape), cotangent)

    def _gather(self, x: Array, first: Array) -> Array:
        """From each window the entry that `first` names; zero where that is not in the picture."""
        height, width, channels = x.shape[-3:]
        row, column, channel = np.ogrid[: first.shape[-3], : first.shape[-2], :channels]
        down, right = np.divmod(first.astype(np.intp), 3)
        rows, columns = 2 * row + down - self.padding(height)[0], 2 * column + right - self.padding(width)[0]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        places = (rows * width + columns) * channels + channel
        found = np.empty((*x.shape[:-3], *first.shape[-3:]), x.dtype)
        for index in np.ndindex(x.shape[:-3]):
            x[index].take(places[index[-(first.ndim - 3) :]], out=found[index], mode="clip")  # the fastest mode
        return found if inside.all() else found * inside

    def _scatter(self, c: Array, first: Array, shape: tuple[int, ...]) -> Array:
        """The transpose of `_gather`: each cotangent to the entry that `first` names."""
        height, width = shape[-3:-1]
        (top, bottom), (left, right) = self.padding(height), self.padding(width)
        padded = np.zeros((*c.shape[:-3], top + height + bottom, left + width + right, shape[-1]), c.dtype)
        for n, window in enumerate(self._windows(shape)):
            padded[window] += c * (first == n)
        return padded[..., top : top + height, left : left + width, :]

    def padded(self, x: Array, fill: float) -> Array:
        """x (…, height, width, channels) with `fill` around it."""
        return pad(x, self.padding(x.shape[-3]), self.padding(x.shape[-2]), fill)

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
        return total / self.counts(height, width)

    def forward(self, sweep: Sweep, x: Number) -> Number:
        sweep.save(x.shape)
        return linear(self._means, x)

    def backward(self, sweep: Sweep, cotangent: Number) -> Number:
        (shape,) = sweep.saved()
        return linear(lambda c: self._spread(c, shape), cotangent)

    def _means(self, x: Array) -> Array:
        height, width = x.shape[-3:-1]
        x = pad(x, (0, height % 2), (0, width % 2))
        windows = x.reshape(*x.shape[:-3], x.shape[-3] // 2, 2, x.shape[-2] // 2, 2, x.shape[-1])
        return windows.sum(axis=(-4, -2)) / self.counts(height, width).astype(x.dtype)[:, :, None]

    def _spread(self, c: Array, shape: tuple[int, ...]) -> Array:
        """The transpose of `_means`."""
        height, width = shape[-3:-1]
        c = (c / self.counts(height, width).astype(c.dtype)[:, :, None]).repeat(2, axis=-3).repeat(2, axis=-2)
        return c[..., :height, :width, :]

    def counts(self, height: int, width: int) -> Array:
        """How many entries each window holds, (rows, columns)."""
        return np.outer(_window_lengths(height), _window_lengths(width))


def window_entries(x: Any, kernel: int, stride: int) -> list[Any]:
    """The entries of every window that fits into x (n, channels, height, width), in scan order: kernel² arrays."""
    rows, columns = ((length - kernel) // stride * stride + 1 for length in x.shape[2:])
    places = [(i, j) for i in range(kernel) for j in range(kernel)]
    return [x[:, :, i : i + rows : stride, j : j + columns : stride] for i, j in places]


def correlation(x: Any, w: Any, stride: int) -> Any:
    """Σ over each window that fits into x (n, in, height, width) of entry times weight (out, in, kernel, kernel)."""
    weights = [w[:, :, i, j] for i in range(w.shape[2]) for j in range(w.shape[3])]
    entries = window_entries(x, w.shape[2], stride)
    return anp.swapaxes(sum(anp.tensordot(a, e, axes=(1, 1)) for a, e in zip(weights, entries, strict=True)), 0, 1)


def first_largest(entries: list[Any]) -> Any:
    """The largest entry of each window, and the derivative to the first that is: entries in scan order."""
    first = anp.argmax(anp.array(entries), axis=0)
    return sum(anp.where(first == n, entry, 0.0) for n, entry in enumerate(entries))


def bands(pictures: int, height: int, width: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Slices of pictures and of their rows, about equal ones, that have at most `size` pixels, or one row."""
    step = max(1, size // (height * width))
    most = max(1, min(height, size // width))
    rows = -(-height // -(-height // most))
    for picture in range(0, pictures, step):
        for row in range(0, height, rows):
            yield slice(picture, picture + step), slice(row, row + rows)


def pad(x: Array, rows: Pads, columns: Pads, fill: float = 0.0) -> Array:
    """Height and width of (…, height, width, channels) with so many entries of `fill` before and after."""
    if not any((*rows, *columns)):
        return x
    *lead, height, width, channels = x.shape
    (top, bottom), (left, right) = rows, columns
    padded = np.empty((*lead, top + height + bottom, left + width + right, channels), x.dtype)
    padded[..., top : top + height, left : left + width, :] = x
    padded[..., :top, :, :] = padded[..., top + height :, :, :] = fill
    padded[..., :left, :] = padded[..., left + width :, :] = fill
    return padded


def _window_lengths(length: int) -> Array:
    """How many entries each window of two along an axis of this length holds: 2, 2, …, and 1 at an odd end."""
    return np.minimum(2, length - np.arange(0, length, 2))
