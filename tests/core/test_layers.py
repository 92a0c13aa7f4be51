"""Every layer: what it computes by hand, and its derivation by hand against autograd on its definition."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import make_jvp, make_vjp

from lie_ref.core.layers import EPS, Activation, BatchNorm, GlobalAvgPool, Linear, Residual, Sequential, Sweep
from lie_ref.fast import convolution as windows
from lie_ref.fast import dual
from lie_ref.fast.convolution import AvgPool, Conv, MaxPool
from lie_ref.fast.dual import Dual, linear

SHAPES = [(2, 4, 8, 8), (1, 4, 7, 5), (3, 4, 1, 6), (2, 4, 9, 1), (2, 4, 2, 2)]  # even, odd, non-square, a single row

LAYERS = [
    Conv("l", 4, 3, kernel=3, stride=1),
    Conv("l", 4, 3, kernel=3, stride=2),
    Conv("l", 4, 5, kernel=1, stride=1),
    BatchNorm("l", 4),
    Activation("l", "mish"),
    MaxPool("l"),
    AvgPool("l"),
    GlobalAvgPool("l"),
    Residual(
        "r",
        Sequential("r.convs", (Conv("a", 4, 6, 3, 2), BatchNorm("b", 6))),
        Sequential("r.shortcut", (AvgPool("p"), Conv("c", 4, 6, 1))),
        Activation("d", "mish"),
    ),
    Residual("r", Sequential("r.convs", (Conv("a", 4, 4),)), Sequential("r.shortcut", ()), Activation("d", "mish")),
]


def state(layer, rng):
    params = {name: rng.standard_normal(shape) for name, shape in layer.parameter_shapes().items()}
    buffers = {name: rng.uniform(0.5, 2, shape) for name, shape in layer.buffer_shapes().items()}
    return params, buffers


def channels_last(x):
    return np.moveaxis(x, -3, -1) if x.ndim > 3 else x


def definition(layer, buffers, training):
    """(params, x) ↦ y for a group of members, as one function of one dict."""
    return lambda t: layer.apply(t, buffers, t["x"], training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{type(layer).__name__}-{getattr(layer, 'stride', '')}")
def test_forward_backward_and_their_tangents_are_autograds_on_the_definition(layer, shape, training):
    rng = np.random.default_rng(0)
    params, buffers = state(layer, rng)
    point = {**params, "x": rng.standard_normal(shape)}
    directions = [{name: rng.standard_normal(a.shape) for name, a in point.items()} for _ in range(2)]

    f = definition(layer, buffers, training)
    cotangent = rng.standard_normal(f(point).shape)
    pull = lambda t: make_vjp(f)(t)[0](cotangent)  # noqa: E731
    value, gradient = f(point), pull(point)
    pushed = [make_jvp(f)(point)(d)[1] for d in directions]

    def flat_pull(t):  # autograd has no forward rule for the dict that a vjp returns
        found = pull(t)
        return anp.concatenate([anp.ravel(found[name]) for name in point])

    curved = [make_jvp(flat_pull)(point)(d)[1] for d in directions]

    # one group, all members in it; parameters with a group axis
    lifted = {name: Dual(p[None], np.stack([d[name] for d in directions])[:, None]) for name, p in params.items()}
    x = Dual(channels_last(point["x"])[None], channels_last(np.stack([d["x"] for d in directions]))[:, None])
    sweep = Sweep(lifted, buffers, training)
    y = layer.forward(sweep, x)
    back = layer.backward(sweep, np.ascontiguousarray(channels_last(cotangent))[None])

    assert not sweep.tape
    close = {"rtol": 1e-10, "atol": 1e-11}
    np.testing.assert_allclose(y.value[0], channels_last(value), **close)
    np.testing.assert_allclose(y.tangent[:, 0], channels_last(np.stack(pushed)), **close)
    found = {**sweep.grads, "x": linear(lambda a: np.moveaxis(a, -1, -3), back)}
    for name in point:
        np.testing.assert_allclose(dual.value(found[name])[0], gradient[name], **close)
    for k, expected in enumerate(curved):  # a cotangent that depends on no direction has no tangent: it is zero
        parts = [np.zeros_like(point[n]) if dual.tangent(found[n]) is None else found[n].tangent[k, 0] for n in point]
        np.testing.assert_allclose(np.concatenate([p.ravel() for p in parts]), expected, **close)


def test_linear_layer_and_its_derivatives_by_hand():
    rng = np.random.default_rng(1)
    layer, x, c = Linear("l", 3, 2), rng.standard_normal((1, 4, 3)), rng.standard_normal((1, 4, 2))
    w, b = rng.standard_normal((1, 2, 3)), rng.standard_normal((1, 2))
    sweep = Sweep({"l.weight": w, "l.bias": b}, {})
    np.testing.assert_allclose(layer.forward(sweep, x), x @ w[0].T + b[0])
    np.testing.assert_allclose(layer.backward(sweep, c), c @ w[0])
    np.testing.assert_allclose(sweep.grads["l.weight"][0], c[0].T @ x[0])
    np.testing.assert_allclose(sweep.grads["l.bias"][0], c[0].sum(axis=0))


def test_convolution_by_four_loops():
    rng = np.random.default_rng(2)
    for kernel, stride in ((3, 1), (3, 2), (1, 1)):
        layer = Conv("c", 2, 3, kernel, stride)
        x, w = rng.standard_normal((2, 2, 5, 6)), rng.standard_normal((3, 2, kernel, kernel))
        y = layer.apply({"c.weight": w}, {}, x)
        pad = kernel // 2
        padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        assert y.shape == (2, 3, -(-5 // stride), -(-6 // stride))
        for row in range(y.shape[2]):
            for column in range(y.shape[3]):
                patch = padded[:, :, row * stride : row * stride + kernel, column * stride : column * stride + kernel]
                expected = np.einsum("nchw,ochw->no", patch, w)
                np.testing.assert_allclose(y[:, :, row, column], expected, atol=1e-13)


@pytest.mark.parametrize("cached", [1, 300, 3000])
def test_bands_of_any_size_give_the_same_convolution(cached, monkeypatch):
    rng = np.random.default_rng(4)
    x = Dual(rng.standard_normal((2, 3, 7, 6, 2)), rng.standard_normal((4, 2, 3, 7, 6, 2)))
    w = Dual(rng.standard_normal((1, 3, 2, 3, 3)), rng.standard_normal((4, 1, 3, 2, 3, 3)))
    for stride in (1, 2):
        layer, found = Conv("c", 2, 3, stride=stride), []
        for size in (windows.CACHED, cached):
            monkeypatch.setattr(windows, "CACHED", size)
            sweep = Sweep({"c.weight": w}, {})
            y = layer.forward(sweep, x)
            found.append((y, layer.backward(sweep, y), sweep.grads["c.weight"]))
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a.value, b.value, atol=1e-11)
            np.testing.assert_allclose(a.tangent, b.tangent, atol=1e-11)


def test_every_pixel_is_in_one_band_and_no_band_is_larger_than_asked():
    rng = np.random.default_rng(5)
    for _ in range(300):
        pictures, height, width, size = rng.integers(1, (7, 20, 20, 900)).tolist()
        seen = np.zeros((pictures, height), int)
        for some, rows in windows.bands(pictures, height, width, size):
            seen[some, rows] += 1
            assert seen[some, rows].size * width <= max(size, width)
        assert (seen == 1).all()


def test_the_first_convolution_gives_no_cotangent_of_the_picture():
    rng = np.random.default_rng(3)
    layer, whole = Conv("c", 2, 3, first=True), Conv("c", 2, 3)
    x, w, c = rng.standard_normal((1, 2, 4, 4, 2)), rng.standard_normal((1, 3, 2, 3, 3)), np.ones((1, 2, 4, 4, 3))
    sweeps = [Sweep({"c.weight": w}, {}) for _ in range(2)]
    for each, sweep in zip((layer, whole), sweeps, strict=True):
        each.forward(sweep, x)
    assert layer.backward(sweeps[0], c) is None
    assert whole.backward(sweeps[1], c).shape == x.shape
    np.testing.assert_array_equal(sweeps[0].grads["c.weight"], sweeps[1].grads["c.weight"])


def test_max_pool_gives_ties_to_the_first_in_scan_order():
    x = np.zeros((1, 1, 4, 4))
    gradient = make_vjp(lambda x: MaxPool("p").apply({}, {}, x))(x)[0](np.ones((1, 1, 2, 2)))
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(gradient[0, 0], expected)
    sweep = Sweep({}, {})
    MaxPool("p").forward(sweep, channels_last(x)[None])
    back = MaxPool("p").backward(sweep, np.ones((1, 1, 2, 2, 1)))
    np.testing.assert_array_equal(back[0, 0, :, :, 0], expected)


def test_max_pool_of_negative_pictures_never_takes_the_padding():
    x = -1 - np.random.default_rng(4).random((1, 1, 5, 5))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    expected = [[padded[0, 0, i : i + 3, j : j + 3].max() for j in (0, 2, 4)] for i in (0, 2, 4)]
    np.testing.assert_array_equal(MaxPool("p").apply({}, {}, x)[0, 0], expected)
    np.testing.assert_array_equal(MaxPool("p").forward(Sweep({}, {}), channels_last(x)[None])[0, 0, :, :, 0], expected)


def test_average_pool_at_an_odd_edge_is_the_mean_of_what_is_there():
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    np.testing.assert_array_equal(AvgPool("p").apply({}, {}, x)[0, 0], [[2.0, 3.5], [6.5, 8.0]])


def test_batch_norm_keeps_pytorchs_running_statistics():
    rng = np.random.default_rng(5)
    layer, x = BatchNorm("b", 2), rng.standard_normal((3, 2, 4, 5)) * 2 + 1
    buffers = {"b.running_mean": np.array([0.5, -1.0]), "b.running_var": np.array([2.0, 3.0])}
    sweep = Sweep({"b.weight": np.ones((1, 2)), "b.bias": np.zeros((1, 2))}, buffers, training=True)
    normal = layer.forward(sweep, channels_last(x)[None])
    by_channel = x.transpose(1, 0, 2, 3).reshape(2, -1)
    np.testing.assert_allclose(
        sweep.running_statistics()["b.running_mean"], 0.9 * buffers["b.running_mean"] + 0.1 * by_channel.mean(1)
    )
    np.testing.assert_allclose(
        sweep.running_statistics()["b.running_var"], 0.9 * buffers["b.running_var"] + 0.1 * by_channel.var(1, ddof=1)
    )
    np.testing.assert_allclose(normal.std(axis=(0, 1, 2, 3)), np.sqrt(1 - EPS / (by_channel.var(1) + EPS)))


def test_groups_do_not_touch_each_other_in_training():
    rng = np.random.default_rng(6)
    layer, x = BatchNorm("b", 2), rng.standard_normal((3, 4, 5, 5, 2))
    params = {"b.weight": rng.standard_normal((1, 2)), "b.bias": rng.standard_normal((1, 2))}
    buffers = {"b.running_mean": np.zeros(2), "b.running_var": np.ones(2)}
    together = layer.forward(Sweep(params, buffers, True), x)
    for group in range(3):
        alone = layer.forward(Sweep(params, buffers, True), x[group : group + 1])
        np.testing.assert_allclose(together[group], alone[0], rtol=1e-13, atol=1e-14)
