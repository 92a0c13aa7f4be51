"""A training step and Adam do what PyTorch's do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from networks import training_gradients

import lie_ref
from lie_ref.core.optimizers import AdamState, GradientDescent, Momentum
from lie_ref.experiment.exclusive import exclusive
from lie_ref.fast.scalar_rules import gradient
from lie_ref.study.training import Adam

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from . import Arrays, assert_agree, generic_weights  # noqa: E402
from .mxresnet_torch import LOSSES, MXResNet, load_weights, mlp  # noqa: E402
from .test_torch_networks import PRESETS  # noqa: E402

pytestmark = pytest.mark.torch

BOTTLENECK: dict[str, Any] = {"stem": (4, 4, 8), "widths": (4, 6), "layers": (2, 1), "expansion": 4, "n_out": 40}

NETWORKS: dict[str, tuple[Callable[[], Any], Callable[[], nn.Module], tuple[int, ...]]] = {
    "mxresnet-tiny": (
        lambda: lie_ref.preset("mxresnet-tiny", n_out=40),
        lambda: MXResNet(**PRESETS["mxresnet-tiny"]),
        (3, 64, 64),
    ),
    "bottleneck": (lambda: lie_ref.mxresnet(**BOTTLENECK), lambda: MXResNet(**BOTTLENECK), (3, 33, 47)),
    "mlp": (lambda: lie_ref.mlp([6, 9, 40], activation="mish"), lambda: mlp([6, 9, 40], "mish"), (6,)),
}


def targets(rng: np.random.Generator, loss: str, n: int) -> np.ndarray:
    """Targets for 40 outputs."""
    if loss == "softmax":
        return rng.integers(0, 40, size=n)
    return rng.integers(0, 2, size=(n, 40)).astype(np.float64)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", NETWORKS)
def test_three_adam_steps_follow_torch_with_batch_norm_in_training_mode(network: str, loss: str) -> None:
    make_model, make_peer, shape = NETWORKS[network]
    model = make_model()
    params, buffers = generic_weights(model, seed=11)
    net = load_weights(make_peer(), params, buffers).train()
    adam = Adam(params, lr=5e-3, betas=(0.8, 0.999))
    peer_adam = torch.optim.Adam(net.parameters(), lr=5e-3, betas=(0.8, 0.999), eps=1e-8)
    rng = np.random.default_rng(12)
    for _ in range(3):
        x, y = rng.normal(size=(8, *shape)), targets(rng, loss, 8)
        value, grads, buffers = training_gradients(model, params, buffers, x, y, loss=loss)
        peer_adam.zero_grad()
        peer_value = LOSSES[loss](net(torch.from_numpy(x)), torch.from_numpy(y))
        peer_value.backward()
        assert_agree({"loss": np.float64(value)}, {"loss": peer_value.detach()})
        assert_agree(grads, {name: p.grad for name, p in net.named_parameters()})
        adam.step(params, grads)
        peer_adam.step()
        assert_agree(params, {name: p.detach() for name, p in net.named_parameters()})
        assert_agree(buffers, {k: v for k, v in net.named_buffers() if not k.endswith("num_batches_tracked")})


@pytest.mark.parametrize("network", NETWORKS)
def test_a_float32_step_stays_in_float32_and_close_to_the_float64_step(network: str) -> None:
    make_model, make_peer, shape = NETWORKS[network]
    model = make_model()
    params, buffers = generic_weights(model, seed=13)
    rng = np.random.default_rng(14)
    x, y = rng.normal(size=(32, *shape)), targets(rng, "bce", 32)
    weights, statistics = ({k: v.astype(np.float32) for k, v in tree.items()} for tree in (params, buffers))
    value, grads, new_buffers = training_gradients(
        model, weights, statistics, x.astype(np.float32), y.astype(np.float32)
    )
    net = load_weights(make_peer(), params, buffers).train()
    peer_value = LOSSES["bce"](net(torch.from_numpy(x)), torch.from_numpy(y))
    peer_value.backward()
    assert abs(float(value) - peer_value.item()) < 1e-6 * peer_value.item()
    # Rounding to float32 takes torch's own step 6e-6 away from its float64 step.
    assert_agree(grads, {name: p.grad.float() for name, p in net.named_parameters()}, tolerance=5e-5)
    peer_buffers = {k: v.float() for k, v in net.named_buffers() if not k.endswith("num_batches_tracked")}
    assert_agree(new_buffers, peer_buffers, tolerance=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-6)])
def test_fifty_adam_steps_equal_those_of_torch(dtype: type, tolerance: float) -> None:
    rng = np.random.default_rng(15)
    # From large gradients down to ones below epsilon, where ε inside and outside the root differ; and zeros.
    scales = {f"g{power}": 10.0**power for power in (2, 0, -4, -8, -10)} | {"zero": 0.0}
    params: Arrays = {name: rng.normal(0, 0.01, size=(4, 3)).astype(dtype) for name in scales}
    start = {name: value.copy() for name, value in params.items()}
    peers = {name: nn.Parameter(torch.from_numpy(value.copy())) for name, value in params.items()}
    adam = Adam(params, lr=5e-3, betas=(0.8, 0.999))
    peer_adam = torch.optim.Adam(peers.values(), lr=5e-3, betas=(0.8, 0.999), eps=1e-8)
    for _ in range(50):
        grads: Arrays = {name: (scale * rng.normal(size=(4, 3))).astype(dtype) for name, scale in scales.items()}
        adam.step(params, grads)
        for name, peer in peers.items():
            peer.grad = torch.from_numpy(grads[name])
        peer_adam.step()
        for name in scales:  # one by one: a tensor with a small step must not hide behind another
            assert_agree({name: params[name]}, {name: peers[name].detach()}, tolerance=tolerance)
    np.testing.assert_array_equal(params["zero"], start["zero"])


@pytest.mark.parametrize("kind", ["gradient descent", "momentum", "adam"])
def test_states_of_optimizers_follow_torch(kind: str) -> None:
    """From rest, through four gradients, for a learning rate of 1."""
    rng = np.random.default_rng(15)
    theta = torch.nn.Parameter(torch.zeros(7, dtype=torch.float64))
    state, peer = {
        "gradient descent": (GradientDescent(), torch.optim.SGD([theta], lr=1.0)),
        "momentum": (Momentum(np.zeros(7), momentum=0.9), torch.optim.SGD([theta], lr=1.0, momentum=0.9)),
        "adam": (
            AdamState(np.zeros(7), np.zeros(7), count=0, betas=(0.8, 0.999)),
            torch.optim.Adam([theta], lr=1.0, betas=(0.8, 0.999), eps=1e-8),
        ),
    }[kind]
    moved = np.zeros(7)
    for _ in range(4):
        gradient = rng.normal(size=7)
        update, state = state.step(gradient)
        moved -= update
        theta.grad = torch.from_numpy(gradient)
        peer.step()
        np.testing.assert_allclose(moved, theta.detach().numpy(), rtol=1e-13)


def test_exclusive_attributes_have_the_cross_entropy_of_torch() -> None:
    """Of classes none, first and third, and binary cross-entropy for the rest; gradients in the logits, too."""
    rng = np.random.default_rng(16)
    z, y = rng.normal(size=(5, 4)), np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0], [0, 1, 0, 1.0]])
    logits = torch.from_numpy(z).requires_grad_()
    classes = torch.cat([torch.zeros(5, 1), logits[:, [0, 2]]], dim=1)
    shares = y[:, [0, 2]] / np.maximum(y[:, [0, 2]].sum(axis=1, keepdims=True), 1)
    target = torch.from_numpy(np.concatenate([1 - shares.sum(axis=1, keepdims=True), shares], axis=1))
    single = nn.functional.binary_cross_entropy_with_logits(
        logits[:, [1, 3]], torch.from_numpy(y[:, [1, 3]]), reduction="none"
    )
    peer = (nn.functional.cross_entropy(classes, target, reduction="none") + single.sum(dim=1)) / 4
    peer.sum().backward()
    loss = exclusive([0, 2])
    np.testing.assert_allclose(loss.definition(z, y), peer.detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(gradient(loss)(z, y), logits.grad.numpy(), rtol=1e-12, atol=1e-16)
