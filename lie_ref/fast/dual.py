"""Dual numbers, which carry a value and its derivatives along k directions: forward mode in three rules.

Every operation of a forward or backward pass is linear, bilinear or element-wise.  The same code therefore also
computes directional derivatives when it runs on `Dual`s instead of arrays: a forward pass on duals is a push-forward,
and a backward pass on duals is a Hessian-vector product (forward over reverse), for all k directions in one sweep.

A value of shape s has a tangent of shape (k, *s).  Operations must accept that extra leading axis, so they count axes
from the end.  An array that depends on no direction stays a plain array.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from ..core.types import Array


class Dual:
    """value + Σ_k tangent[k] δ_k with δ² = 0.

    >>> x = Dual(np.array([3.0]), np.array([[1.0], [10.0]]))
    >>> (x * x).tangent
    array([[ 6.],
           [60.]])
    """

    __array_ufunc__ = None  # so that array * dual reaches Dual.__rmul__
    __slots__ = ("tangent", "value")

    def __init__(self, value: Array, tangent: Array) -> None:
        self.value = value
        self.tangent = tangent

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def __add__(self, other: Number) -> Dual:
        total = self.tangent + other.tangent if isinstance(other, Dual) else self.tangent
        return Dual(self.value + value(other), total)

    def __iadd__(self, other: Number) -> Dual:
        return self._in_place(np.add, other)

    def __isub__(self, other: Number) -> Dual:
        return self._in_place(np.subtract, other)

    def _in_place(self, f: np.ufunc, other: Number) -> Dual:
        """self = f(self, other) for a sum or difference, in place: nobody else may hold the arrays of self."""
        f(self.value, value(other), out=self.value)
        if isinstance(other, Dual):
            f(self.tangent, other.tangent, out=self.tangent)
        return self

    def __sub__(self, other: Number) -> Number:
        return self + linear(np.negative, other)

    def __rsub__(self, other: Array) -> Number:
        return other + linear(np.negative, self)

    def __mul__(self, other: Number) -> Number:
        return bilinear(np.multiply, self, other)

    def __matmul__(self, other: Number) -> Number:
        return bilinear(np.matmul, self, other)

    def __rmatmul__(self, other: Array) -> Number:
        return bilinear(np.matmul, other, self)

    __radd__ = __add__
    __rmul__ = __mul__


Number = Any  # Array | Dual


def value(x: Number) -> Array:
    """The value, without its derivatives."""
    return x.value if isinstance(x, Dual) else x


def tangent(x: Number) -> Array | None:
    """The k derivatives, or None for a constant."""
    return x.tangent if isinstance(x, Dual) else None


def linear(f: Callable[[Array], Array], x: Number) -> Number:
    """f(x) for a linear f: d f(x) = f(dx)."""
    return Dual(f(x.value), f(x.tangent)) if isinstance(x, Dual) else f(x)


def bilinear(f: Callable[[Array, Array], Array], a: Number, b: Number) -> Number:
    """f(a, b) for a bilinear f that returns a new array: d f(a, b) = f(da, b) + f(a, db)."""
    da, db = tangent(a), tangent(b)
    product = f(value(a), value(b))
    if da is None:
        return product if db is None else Dual(product, f(value(a), db))
    change = f(da, value(b))
    if db is not None:
        other = f(value(a), db)
        if change.shape == np.broadcast_shapes(change.shape, other.shape):
            change += other
        else:
            change = change + other
    return Dual(product, change)


def elementwise(derivatives: Callable[[Array, int], list[Array]], x: Number, order: int = 0) -> list[Number]:
    """[f(x), …, f⁽order⁾(x)] for a smooth f applied entry by entry; `derivatives(x, n)` returns f, f', …, f⁽ⁿ⁾ at x."""
    if not isinstance(x, Dual):
        return derivatives(x, order)
    return [Dual(f, slope * x.tangent) for f, slope in pairwise(derivatives(x.value, order + 1))]
