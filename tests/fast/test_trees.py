"""Networks with other layers: batch-norm folded into convolutions.  `test_engine.py` compares their answers."""

from __future__ import annotations

from networks import generic_state

import lie_ref
from lie_ref.core.layers import BatchNorm
from lie_ref.fast.trees import folded, with_layers
from lie_ref.oracle.bugs.layers import LeftOut, swapped


def test_every_batch_norm_and_nothing_else_is_folded():
    model = lie_ref.preset("mxresnet-tiny")
    params, buffers = generic_state(model, 0)
    lifted = {name: p[None] for name, p in params.items()}
    network, state = folded(model, lifted, buffers)
    assert not any(name.endswith(".1.weight") for name in network.parameter_shapes)
    assert network.parameter_shapes.keys() <= state.keys()
    other = with_layers(model, swapped(BatchNorm, LeftOut))
    assert folded(other, lifted, buffers)[0] == other
    mlp = lie_ref.mlp([2, 3, 1])
    assert folded(mlp, mlp.init(0)[0], {})[0] is mlp
