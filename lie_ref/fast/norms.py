"""Norms of many rows, whose squares neither overflow nor vanish."""

import numpy as np

from ..core.types import Array

SMALL = 2.0**-900  # a sum of squares that has lost no digits to squares that vanish


def row_norms(a: Array, lead: int = 1) -> Array:
    """The norms over all but the first `lead` axes, in at least float64.

    >>> row_norms(np.array([[3e-200, 4e-200], [0.0, 0.0]]), lead=1)
    array([5.e-200, 0.e+000])
    """
    rows, dtype = a.reshape(*a.shape[:lead], -1), np.promote_types(a.dtype, np.float64)
    with np.errstate(over="ignore", under="ignore"):
        squares = np.square(rows, dtype=dtype).sum(axis=-1)
    if np.all((squares > SMALL) & (squares < np.inf)):
        return np.sqrt(squares)
    rows = np.abs(rows, dtype=dtype)
    largest = rows.max(axis=-1, keepdims=True, initial=0.0)
    scaled = (largest > 0) & (largest < np.inf)
    np.divide(rows, largest, out=rows, where=scaled)  # in place, because there may be many numbers
    return largest[..., 0] * np.sqrt(np.square(rows, out=rows).sum(axis=-1))
