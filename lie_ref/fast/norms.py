"""Norms of many rows, whose squares neither overflow nor vanish."""

import numpy as np

from ..core.types import Array


def row_norms(a: Array, lead: int = 1) -> Array:
    """The norms over all but the first `lead` axes, in at least float64.

    >>> row_norms(np.array([[3e-200, 4e-200], [0.0, 0.0]]), lead=1)
    array([5.e-200, 0.e+000])
    """
    rows = np.abs(a.reshape(*a.shape[:lead], -1), dtype=np.promote_types(a.dtype, np.float64))
    largest = rows.max(axis=-1, keepdims=True, initial=0.0)
    np.divide(rows, largest, out=rows, where=largest > 0)  # in place, because there may be many numbers
    return largest[..., 0] * np.sqrt(np.square(rows, out=rows).sum(axis=-1))
