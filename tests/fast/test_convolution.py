"""Convolutions band by band, and ties in max-pool.  `test_engine.py` compares all layers with autograd."""

from __future__ import annotations

import numpy as np
import pytest

from lie_ref.core.layers import Conv, MaxPool
from lie_ref.fast import convolution
from lie_ref.fast.dual import Dual
from lie_ref.fast.rules import Sweep, backward, forward


@pytest.mark.parametrize("cached", [1, 300, 3000])
def test_bands_of_any_size_give_the_same_convolution(cached, monkeypatch):
    rng = np.random.default_rng(4)
    x = Dual(rng.standard_normal((2, 3, 7, 6, 2)), rng.standard_normal((4, 2, 3, 7, 6, 2)))
    w = Dual(rng.standard_normal((1, 3, 2, 3, 3)), rng.standard_normal((4, 1, 3, 2, 3, 3)))
    for stride in (1, 2):
        layer, found = Conv("c", 2, 3, stride=stride), []
        for size in (convolution.CACHED, cached):
            monkeypatch.setattr(convolution, "CACHED", size)
            sweep = Sweep({"c.weight": w}, {})
            y = forward(layer, sweep, x)
            found.append((y, backward(layer, sweep, y), sweep.grads["c.weight"]))
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a.value, b.value, atol=1e-11)
            np.testing.assert_allclose(a.tangent, b.tangent, atol=1e-11)


def test_every_pixel_is_in_one_band_and_no_band_exceeds_its_size():
    rng = np.random.default_rng(5)
    for _ in range(300):
        pictures, height, width, size = rng.integers(1, (7, 20, 20, 900)).tolist()
        seen = np.zeros((pictures, height), int)
        for some, rows in convolution.bands(pictures, height, width, size):
            seen[some, rows] += 1
            assert seen[some, rows].size * width <= max(size, width)
        assert (seen == 1).all()


def test_a_convolution_gives_no_cotangent_of_the_networks_own_inputs():
    rng = np.random.default_rng(3)
    layer = Conv("c", 2, 3)
    x, w, c = rng.standard_normal((1, 2, 4, 4, 2)), rng.standard_normal((1, 3, 2, 3, 3)), np.ones((1, 2, 4, 4, 3))
    first, later = Sweep({"c.weight": w}, {}, inputs=x), Sweep({"c.weight": w}, {})
    for sweep in (first, later):
        forward(layer, sweep, x)
    assert backward(layer, first, c) is None
    assert backward(layer, later, c).shape == x.shape
    np.testing.assert_array_equal(first.grads["c.weight"], later.grads["c.weight"])


def test_max_pool_gives_ties_to_the_first_in_scan_order():
    x, sweep = np.zeros((1, 1, 4, 4, 1)), Sweep({}, {})
    forward(MaxPool("p"), sweep, x)
    back = backward(MaxPool("p"), sweep, np.ones((1, 1, 2, 2, 1)))
    np.testing.assert_array_equal(back[0, 0, :, :, 0], [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
