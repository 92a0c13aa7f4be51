"""Derivation rules worked by hand; that all agree with autograd is tested with the engine."""

from __future__ import annotations

import numpy as np

from lie_ref.core.layers import BatchNorm, Linear
from lie_ref.fast.rules import Sweep, backward, forward


def test_linear_layer_and_its_derivatives_by_hand():
    rng = np.random.default_rng(1)
    layer, x, c = Linear("l", 3, 2), rng.standard_normal((1, 4, 3)), rng.standard_normal((1, 4, 2))
    w, b = rng.standard_normal((1, 2, 3)), rng.standard_normal((1, 2))
    sweep = Sweep({"l.weight": w, "l.bias": b}, {})
    np.testing.assert_allclose(forward(layer, sweep, x), x @ w[0].T + b[0])
    np.testing.assert_allclose(backward(layer, sweep, c), c @ w[0])
    np.testing.assert_allclose(sweep.grads["l.weight"][0], c[0].T @ x[0])
    np.testing.assert_allclose(sweep.grads["l.bias"][0], c[0].sum(axis=0))


def test_groups_do_not_touch_each_other_in_training():
    rng = np.random.default_rng(6)
    layer, x = BatchNorm("b", 2), rng.standard_normal((3, 4, 5, 5, 2))
    params = {"b.weight": rng.standard_normal((1, 2)), "b.bias": rng.standard_normal((1, 2))}
    buffers = {"b.running_mean": np.zeros(2), "b.running_var": np.ones(2)}
    together = forward(layer, Sweep(params, buffers, True), x)
    for group in range(3):
        alone = forward(layer, Sweep(params, buffers, True), x[group : group + 1])
        np.testing.assert_allclose(together[group], alone[0], rtol=1e-13, atol=1e-14)
