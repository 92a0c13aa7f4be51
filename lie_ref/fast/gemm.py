"""Matrix products in the shapes of convolutions, cut into pieces that OpenBLAS multiplies without packing its factors.

For matrices as narrow as a layer has channels, packing takes a third of the time.  OpenBLAS skips it for products of at
most `SMALL` multiplications, and it keeps its registers full if the rows of the second factor are `WIDE` bytes long.
Arrays have any dtype; leading axes broadcast as in `np.matmul`.
"""

from functools import cache

import numpy as np

from ..core.types import Array

SMALL = 10**6  # multiplications
WIDE = 256  # bytes
ENOUGH = 128  # rows in a piece of a sum; then adding up the pieces costs little
LEAST = 8  # rows or columns in a piece; with fewer, a call costs more than the packing


def in_panels(kernels: Array, axis: int = -2) -> Array:
    """The transposes of kernels (…, m, *), with m at this axis, as panels of columns: (…, m / width, length, width)."""
    shape, m = kernels.shape, kernels.shape[axis]
    width = piece(m, WIDE // kernels.itemsize)
    split = kernels.reshape(*shape[:axis], m // width, width, *shape[axis + 1 :])
    return np.ascontiguousarray(moved_last(split, axis)).reshape(*shape[:axis], m // width, -1, width)


def multiply(rows: Array, panels: Array, out: Array) -> None:
    """rows (…, n, l) times matrices in panels (…, p, l, width), into out (…, n, p · width)."""
    n, length = rows.shape[-2:]
    number, width = panels.shape[-3], panels.shape[-1]
    block = piece(n, SMALL // (length * width))
    rows = rows.reshape(*rows.shape[:-2], 1, n // block, block, length)
    blocks = out.reshape(*out.shape[:-2], n // block, block, number, width)
    np.matmul(rows, panels[..., None, :, :], out=blocks.swapaxes(-2, -3).swapaxes(-3, -4))


def multiply_few(rows: Array, kernels: Array, out: Array) -> None:
    """rows (…, n, l) times the transposes of kernels (…, m, l), into out (…, n, m), for fewer rows than kernels.

    The rows become the panels, so that the kernels need not be copied.
    """
    product = np.empty((*out.shape[:-2], out.shape[-1], out.shape[-2]), out.dtype)
    multiply(kernels, in_panels(rows), product)
    out[...] = np.swapaxes(product, -1, -2)


def contract(a: Array, b: Array) -> Array:
    """aᵀ b: Σ over the rows of a (…, n, l) and b (…, n, m)."""
    n = a.shape[-2]
    block = piece(n, max(SMALL // (a.shape[-1] * b.shape[-1]), ENOUGH))
    if block == n:
        return multiply_in_tiles(a.swapaxes(-1, -2), b)
    a, b = (x.reshape(*x.shape[:-2], n // block, block, x.shape[-1]) for x in (a, b))
    return multiply_in_tiles(a.swapaxes(-1, -2), b).sum(axis=-3)


def multiply_in_tiles(a: Array, b: Array) -> Array:
    """a (…, n, l) times b (…, l, m), one tile of the columns of b at a time."""
    rows, columns = a.shape[-2], b.shape[-1]
    tile = piece(columns, SMALL // (rows * a.shape[-1]))
    if tile == columns:
        return a @ b
    c = np.empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), rows, columns), b.dtype)
    b_tiles, c_tiles = (x.reshape(*x.shape[:-1], -1, tile).swapaxes(-2, -3) for x in (b, c))
    np.matmul(a[..., None, :, :], b_tiles, out=c_tiles)
    return c


def moved_last(a: Array, axis: int) -> Array:
    """A view of a with this axis, counted from the end, as the last one; ten times faster than np.moveaxis."""
    place = a.ndim + axis
    return a.transpose(*range(place), *range(place + 1, a.ndim), place)


@cache
def piece(whole: int, most: int) -> int:
    """The largest divisor of `whole` that is at most `most`; `whole` itself if that divisor is below `LEAST`."""
    largest = next((d for d in range(min(whole, most), 0, -1) if whole % d == 0), 0)
    return largest if largest >= LEAST else whole
