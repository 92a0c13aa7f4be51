"""The networks have PyTorch's names, shapes, initialisation and logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lie_ref

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from . import assert_agree, generic_weights  # noqa: E402
from .mxresnet_torch import ACTIVATIONS, MXResNet, load_weights, mlp  # noqa: E402

pytestmark = pytest.mark.torch

PRESETS: dict[str, dict[str, Any]] = {
    "mxresnet-tiny": {"stem": (8, 16, 16), "widths": (16, 32, 64), "layers": (1, 1, 1)},
    "mxresnet-small": {"stem": (16, 32, 32), "widths": (32, 64, 128), "layers": (1, 1, 1)},
    "mxresnet18": {"stem": (32, 64, 64), "widths": (64, 128, 256, 512), "layers": (2, 2, 2, 2)},
    "mxresnet50": {"stem": (32, 64, 64), "widths": (64, 128, 256, 512), "layers": (3, 4, 6, 3), "expansion": 4},
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_names_shapes_and_constants_of_the_state_dict(name: str) -> None:
    params, buffers = lie_ref.preset(name, n_out=40).init(seed=0)
    net = MXResNet(**PRESETS[name])
    peer_params = dict(net.named_parameters())
    peer_buffers = {k: v for k, v in net.named_buffers() if not k.endswith("num_batches_tracked")}
    assert {k: v.shape for k, v in params.items()} == {k: tuple(v.shape) for k, v in peer_params.items()}
    assert {k: v.shape for k, v in buffers.items()} == {k: tuple(v.shape) for k, v in peer_buffers.items()}
    for key, value in {**peer_params, **peer_buffers}.items():
        if value.ndim == 1:  # batch-norm weights, biases and running statistics are constants: zeros or ones
            np.testing.assert_array_equal({**params, **buffers}[key], value.detach().numpy(), err_msg=key)


@pytest.mark.parametrize(("name", "count"), [("mxresnet-tiny", 83_280), ("mxresnet-small", 326_008)])
def test_a_preset_has_the_number_of_parameters_that_the_contract_states(name: str, count: int) -> None:
    params, _ = lie_ref.preset(name, n_out=40).init(seed=0)
    assert sum(value.size for value in params.values()) == count


@pytest.mark.parametrize("name", ["mxresnet-small", "mxresnet50"])
def test_initial_weights_are_kaiming_normal(name: str) -> None:
    params, _ = lie_ref.preset(name, n_out=40).init(seed=0)
    for key, value in params.items():
        if value.ndim == 1:
            continue
        u = np.asarray(value, dtype=np.float64).ravel() / np.sqrt(2 / np.prod(value.shape[1:]))
        # Five standard errors of the mean, of the variance and of the kurtosis of a standard normal sample.
        assert abs(u.mean()) < 5 / np.sqrt(u.size), key
        assert abs(np.mean(u**2) - 1) < 5 * np.sqrt(2 / u.size), key
        assert abs(np.mean(u**4) - 3) < 5 * np.sqrt(96 / u.size), key


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [(17, 17), (33, 47), (64, 64)])
def test_logits_of_a_preset_are_those_of_torch(name: str, size: tuple[int, int]) -> None:
    model = lie_ref.preset(name, n_out=40)
    params, buffers = generic_weights(model, seed=1)
    x = np.random.default_rng(2).normal(size=(2, 3, *size))
    logits = load_weights(MXResNet(**PRESETS[name]), params, buffers)(torch.from_numpy(x)).detach()
    assert_agree({"logits": model.apply(params, buffers, x)}, {"logits": logits})


@pytest.mark.parametrize("side", range(1, 20))
def test_logits_agree_for_every_small_side(side: int) -> None:
    shape: dict[str, Any] = {"stem": (4, 4, 6), "widths": (6, 8, 8), "layers": (1, 2, 1), "n_in": 2}
    model = lie_ref.mxresnet(**shape, n_out=5)
    params, buffers = generic_weights(model, seed=side)
    x = np.random.default_rng(side).normal(size=(3, 2, side, 20 - side))
    logits = load_weights(MXResNet(**shape, n_out=5), params, buffers)(torch.from_numpy(x)).detach()
    assert_agree({"logits": model.apply(params, buffers, x)}, {"logits": logits})


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("spread", [1.0, 1000.0])
def test_logits_of_an_mlp_are_those_of_torch(activation: str, spread: float) -> None:
    model = lie_ref.mlp([7, 9, 8, 5], activation=activation)
    params, buffers = generic_weights(model, seed=3)
    x = np.random.default_rng(4).normal(0, spread, size=(6, 7))
    logits = load_weights(mlp([7, 9, 8, 5], activation), params, buffers)(torch.from_numpy(x)).detach()
    assert_agree({"logits": model.apply(params, buffers, x)}, {"logits": logits})


def test_what_the_readme_says_of_torchs_own_softplus_and_mish() -> None:
    x = torch.tensor(21.0, dtype=torch.float64)
    assert nn.Softplus()(x) == 21 < nn.Softplus(threshold=40.0)(x)
    second_derivative = torch.func.grad(torch.func.grad(nn.functional.mish))
    assert second_derivative(torch.tensor(90.0)).isnan()
    assert second_derivative(torch.tensor(90.0, dtype=torch.float64)) == 0
