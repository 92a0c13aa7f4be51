"""Tests of the definitions of the layers against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from autograd import make_vjp

from lie_ref.core.layers import AvgPool, BatchNorm, Conv, MaxPool


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (5, 1)])
def test_convolution_multiplies_each_padded_patch_by_the_kernel(kernel, stride):
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((2, 2, 5, 6)), rng.standard_normal((3, 2, kernel, kernel))
    y = Conv("c", 2, 3, kernel, stride).apply({"c.weight": w}, {}, x)
    pad = kernel // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    assert y.shape == (2, 3, -(-5 // stride), -(-6 // stride))
    for row, column in np.ndindex(y.shape[2:]):
        patch = padded[:, :, row * stride : row * stride + kernel, column * stride : column * stride + kernel]
        np.testing.assert_allclose(y[:, :, row, column], np.einsum("nchw,ochw->no", patch, w), atol=1e-13)


def test_max_pool_gives_the_gradient_of_ties_to_the_first_in_scan_order():
    x = np.zeros((1, 1, 4, 4))
    gradient = make_vjp(lambda x: MaxPool("p").apply({}, {}, x))(x)[0](np.ones((1, 1, 2, 2)))
    np.testing.assert_array_equal(gradient[0, 0], [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_max_pool_never_takes_the_padding_where_all_pixels_are_negative():
    x = -1 - np.random.default_rng(4).random((1, 1, 5, 5))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    expected = [[padded[0, 0, i : i + 3, j : j + 3].max() for j in (0, 2, 4)] for i in (0, 2, 4)]
    np.testing.assert_array_equal(MaxPool("p").apply({}, {}, x)[0, 0], expected)


def test_average_pool_at_an_odd_edge_is_the_mean_of_the_pixels_inside():
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    np.testing.assert_array_equal(AvgPool("p").apply({}, {}, x)[0, 0], [[2.0, 3.5], [6.5, 8.0]])


def test_batch_norm_in_training_mode_updates_the_running_statistics_as_pytorch_does():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((3, 2, 4, 5)) * 2 + 1
    before = {"b.running_mean": np.array([0.5, -1.0]), "b.running_var": np.array([2.0, 3.0])}
    buffers, params = dict(before), {"b.weight": np.ones(2), "b.bias": np.zeros(2)}
    normal = BatchNorm("b", 2).apply(params, buffers, x, training=True)
    by_channel = x.transpose(1, 0, 2, 3).reshape(2, -1)
    mean, variance = by_channel.mean(1), by_channel.var(1, ddof=1)
    np.testing.assert_allclose(buffers["b.running_mean"], 0.9 * before["b.running_mean"] + 0.1 * mean)
    np.testing.assert_allclose(buffers["b.running_var"], 0.9 * before["b.running_var"] + 0.1 * variance)
    np.testing.assert_allclose(normal.std(axis=(0, 2, 3)), np.sqrt(1 - 1e-5 / (by_channel.var(1) + 1e-5)))


@pytest.mark.parametrize("training", [True, False])
def test_the_epsilon_of_batch_norm_is_one_hundred_thousandth(training):
    # of x = ±0.001: variance 1e-6, or the running one, 3e-6, and ε = 1e-5
    x, deviation = np.array([0.001, -0.001]).reshape(1, 1, 1, 2), (11e-6 if training else 13e-6) ** 0.5
    params = {"b.weight": np.ones(1), "b.bias": np.zeros(1)}
    buffers = {"b.running_mean": np.zeros(1), "b.running_var": np.array([3e-6])}
    normal = BatchNorm("b", 1).apply(params, buffers, x, training)
    np.testing.assert_allclose(normal, x / deviation, rtol=1e-12)
