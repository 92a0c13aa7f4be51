"""Products in pieces of any size equal the plain products, for all shapes."""

from __future__ import annotations

import numpy as np
import pytest

from lie_ref.fast import gemm as products
from lie_ref.fast.gemm import contract, in_panels, multiply, multiply_few, multiply_in_tiles, piece

SIZES = [(19, 7, 24), (64, 12, 40), (30, 5, 64), (128, 9, 16), (3, 20, 96)]  # rows, length, columns


@pytest.fixture(autouse=True, params=[10**6, 4000, 700])
def pieces(request, monkeypatch):
    """One piece, some pieces or many.  The entries are integers: their sums are exact in any order."""
    monkeypatch.setattr(products, "SMALL", request.param)
    monkeypatch.setattr(products, "ENOUGH", 16)
    monkeypatch.setattr(products, "WIDE", 128)  # panels of 16 columns


def integers(seed, *shape):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(float)


@pytest.mark.parametrize(("n", "length", "m"), SIZES)
@pytest.mark.parametrize("function", [multiply, multiply_few])
@pytest.mark.parametrize("lead", [((), ()), ((), (4,)), ((3,), (4, 3)), ((3,), (4, 1))])
def test_products_of_rows_and_kernels(function, lead, n, length, m):
    rows, kernels = integers(0, *lead[0], n, length), integers(1, *lead[1], m, length)
    wide = np.full((*np.broadcast_shapes(*lead), n + 5, m), np.nan)  # of which the product fills a part
    function(rows, in_panels(kernels) if function is multiply else kernels, wide[..., 2 : n + 2, :])
    np.testing.assert_array_equal(wide[..., 2 : n + 2, :], np.einsum("...nl,...ml->...nm", rows, kernels))
    assert np.isnan(wide[..., :2, :]).all()
    assert np.isnan(wide[..., n + 2 :, :]).all()


@pytest.mark.parametrize(("n", "length", "m"), SIZES)
def test_panels_hold_the_columns_of_the_transposes(n, length, m):
    kernels = integers(2, 2, m, 3, length)  # the columns' axis is not the last but one
    panels = in_panels(kernels, axis=-3)
    joined = np.concatenate(np.moveaxis(panels, -3, 0), axis=-1)
    np.testing.assert_array_equal(joined, np.swapaxes(kernels.reshape(2, m, -1), -1, -2))
    assert panels.flags.c_contiguous


@pytest.mark.parametrize(("n", "length", "m"), SIZES)
@pytest.mark.parametrize("lead", [((), ()), ((2,), (4, 2)), ((4, 2), (2,)), ((2,), (4, 1))])
def test_sums_over_rows_and_products_in_tiles(lead, n, length, m):
    a, b = integers(3, *lead[0], n, length), integers(4, *lead[1], n, m)
    expected = np.einsum("...nl,...nm->...lm", a, b)
    np.testing.assert_array_equal(contract(a, b), expected)
    np.testing.assert_array_equal(multiply_in_tiles(np.swapaxes(a, -1, -2), b), expected)


def test_a_piece_divides_the_whole_and_is_not_tiny():
    cases = (512, 108), (96, 96), (96, 95), (31, 30), (12, 7), (5, 100)
    assert [piece(*case) for case in cases] == [64, 96, 48, 31, 12, 5]
