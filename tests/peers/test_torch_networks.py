"""The networks have the names, shapes, initial constants and logits of their PyTorch peers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import generic_state

import lie_ref
from lie_ref.core.networks import Model

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from . import assert_agree  # noqa: E402
from .mxresnet_torch import ACTIVATIONS, MXResNet, load_weights, mlp, statistics  # noqa: E402

pytestmark = pytest.mark.torch

PRESETS: dict[str, dict[str, Any]] = {
    "mxresnet-tiny": {"stem": (8, 16, 16), "widths": (16, 32, 64), "layers": (1, 1, 1)},
    "mxresnet-small": {"stem": (16, 32, 32), "widths": (32, 64, 128), "layers": (1, 1, 1)},
    "mxresnet18": {"stem": (32, 64, 64), "widths": (64, 128, 256, 512), "layers": (2, 2, 2, 2)},
    "mxresnet50": {"stem": (32, 64, 64), "widths": (64, 128, 256, 512), "layers": (3, 4, 6, 3), "expansion": 4},
}
COUNTS = (83_280, 326_008, 11_243_976, 23_636_936)  # of parameters


@pytest.mark.parametrize(("name", "count"), list(zip(PRESETS, COUNTS, strict=True)))
def test_a_preset_has_the_names_shapes_and_constants_of_the_state_dict(name: str, count: int) -> None:
    params, buffers = lie_ref.preset(name, n_out=40).init(seed=0)
    assert sum(value.size for value in params.values()) == count
    net = MXResNet(**PRESETS[name])
    peer_params, peer_buffers = dict(net.named_parameters()), statistics(net)
    assert {k: v.shape for k, v in params.items()} == {k: tuple(v.shape) for k, v in peer_params.items()}
    assert {k: v.shape for k, v in buffers.items()} == {k: tuple(v.shape) for k, v in peer_buffers.items()}
    for key, value in {**peer_params, **peer_buffers}.items():
        if value.ndim == 1:  # biases, weights and statistics of batch-norm: zeros or ones
            np.testing.assert_array_equal({**params, **buffers}[key], value.detach().numpy(), err_msg=key)


@pytest.mark.parametrize("name", ["mxresnet-small", "mxresnet50"])
def test_initial_weights_are_kaiming_normal(name: str) -> None:
    params, _ = lie_ref.preset(name, n_out=40).init(seed=0)
    for key, value in params.items():
        if value.ndim == 1:
            continue
        u = np.asarray(value, dtype=np.float64).ravel() / np.sqrt(2 / np.prod(value.shape[1:]))
        # Five standard errors of the mean, variance and kurtosis of a standard normal sample.
        assert abs(u.mean()) < 5 / np.sqrt(u.size), key
        assert abs(np.mean(u**2) - 1) < 5 * np.sqrt(2 / u.size), key
        assert abs(np.mean(u**4) - 3) < 5 * np.sqrt(96 / u.size), key


def assert_same_logits(model: Model, peer: nn.Module, x: np.ndarray, seed: int) -> None:
    params, buffers = generic_state(model, seed)
    logits = load_weights(peer, params, buffers)(torch.from_numpy(x)).detach()
    assert_agree({"logits": model.apply(params, buffers, x)}, {"logits": logits})


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [(17, 17), (33, 47), (64, 64)])
def test_logits_of_a_preset(name: str, size: tuple[int, int]) -> None:
    x = np.random.default_rng(2).normal(size=(2, 3, *size))
    assert_same_logits(lie_ref.preset(name, n_out=40), MXResNet(**PRESETS[name]), x, seed=1)


@pytest.mark.parametrize("side", range(1, 20))
def test_logits_for_every_small_side(side: int) -> None:
    shape: dict[str, Any] = {"stem": (4, 4, 6), "widths": (6, 8, 8), "layers": (1, 2, 1), "n_in": 2}
    x = np.random.default_rng(side).normal(size=(3, 2, side, 20 - side))
    assert_same_logits(lie_ref.mxresnet(**shape, n_out=5), MXResNet(**shape, n_out=5), x, seed=side)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("spread", [1.0, 1000.0])
def test_logits_of_an_mlp(activation: str, spread: float) -> None:
    x = np.random.default_rng(4).normal(0, spread, size=(6, 7))
    assert_same_logits(lie_ref.mlp([7, 9, 8, 5], activation), mlp([7, 9, 8, 5], activation), x, seed=3)


def test_torch_loses_digits_of_softplus_and_the_second_derivative_of_mish() -> None:
    x = torch.tensor(21.0, dtype=torch.float64)
    assert nn.Softplus()(x) == 21 < nn.Softplus(threshold=40.0)(x)
    second_derivative = torch.func.grad(torch.func.grad(nn.functional.mish))
    assert second_derivative(torch.tensor(90.0)).isnan()
    assert second_derivative(torch.tensor(90.0, dtype=torch.float64)) == 0
