"""Networks with other layers: batch-norm folded into convolutions."""

from __future__ import annotations

import numpy as np
import pytest
from networks import generic_state

import lie_ref
from lie_ref.core.layers import BatchNorm
from lie_ref.fast.dual import Dual
from lie_ref.fast.rules import Sweep, forward
from lie_ref.fast.trees import folded, with_layers
from lie_ref.oracle.bugs.layers import LeftOut, swapped


@pytest.mark.parametrize("expansion", [1, 4])
def test_batch_norm_folded_into_convolutions_changes_neither_logits_nor_their_derivatives(expansion):
    rng = np.random.default_rng(0)
    model = lie_ref.mxresnet((3, 4, 8), (4, 6), (2, 1), expansion)
    params, buffers = generic_state(model, 0)
    lifted = {name: Dual(p[None], rng.standard_normal((2, 1, *p.shape))) for name, p in params.items()}
    x = rng.standard_normal((1, 3, 17, 12, 3))
    network, state = folded(model, lifted, buffers)
    assert not any(name.endswith(".1.weight") for name in network.parameter_shapes)
    assert network.parameter_shapes.keys() <= state.keys()
    usual = forward(model.network, Sweep(lifted, buffers, tape=None), x)
    found = forward(network.network, Sweep(state, buffers, tape=None), x)
    np.testing.assert_allclose(found.value, usual.value, rtol=0, atol=1e-12 * np.abs(usual.value).max())
    np.testing.assert_allclose(found.tangent, usual.tangent, rtol=0, atol=1e-12 * np.abs(usual.tangent).max())


def test_only_batch_norm_itself_is_folded():
    model = with_layers(lie_ref.preset("mxresnet-tiny"), swapped(BatchNorm, LeftOut))
    params, buffers = generic_state(lie_ref.preset("mxresnet-tiny"), 0)
    network, _ = folded(model, {name: p[None] for name, p in params.items()}, buffers)
    assert network == model
    mlp = lie_ref.mlp([2, 3, 1])
    assert folded(mlp, mlp.init(0)[0], {})[0] is mlp
