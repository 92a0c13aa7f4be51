"""Training steps, optimizers and the loss of exclusive attributes equal those of PyTorch."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from networks import examples, generic_state, training_gradients

import lie_ref
from lie_ref.core.networks import Model
from lie_ref.core.optimizers import AdamState, Momentum, Optimizer, WeightDecay
from lie_ref.experiment.exclusive import exclusive
from lie_ref.fast.scalar_rules import gradient
from lie_ref.study.training import Adam

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from . import Arrays, assert_agree  # noqa: E402
from .mxresnet_torch import LOSSES, load_weights, network, statistics  # noqa: E402

pytestmark = pytest.mark.torch

NETWORKS = {
    "mxresnet-tiny": (lie_ref.preset("mxresnet-tiny"), (3, 64, 64)),
    "bottleneck": (lie_ref.mxresnet((4, 4, 8), (4, 6), (2, 1), expansion=4), (3, 33, 47)),
    "mlp": (lie_ref.mlp([6, 9, 40], activation="mish"), (6,)),
}
with_networks = pytest.mark.parametrize(("model", "shape"), NETWORKS.values(), ids=NETWORKS)


@pytest.mark.parametrize("loss", LOSSES)
@with_networks
def test_three_training_steps_with_adam(model: Model, shape: tuple[int, ...], loss: str) -> None:
    params, buffers = generic_state(model, seed=11)
    net = load_weights(network(model.spec), params, buffers).train()
    adam = Adam(params, lr=5e-3, betas=(0.8, 0.999))
    peer_adam = torch.optim.Adam(net.parameters(), lr=5e-3, betas=(0.8, 0.999), eps=1e-8)
    for step in range(3):
        x, y = examples(model, (8, *shape), seed=step, loss=loss)
        value, grads, buffers = training_gradients(model, params, buffers, x, y, loss=loss)
        peer_adam.zero_grad()
        peer_value = LOSSES[loss](net(torch.from_numpy(x)), torch.from_numpy(y))
        peer_value.backward()
        assert_agree({"loss": np.float64(value)}, {"loss": peer_value.detach()})
        assert_agree(grads, {name: p.grad for name, p in net.named_parameters()})
        adam.step(params, grads)
        peer_adam.step()
        assert_agree(params, {name: p.detach() for name, p in net.named_parameters()})
        if buffers:  # those of batch-norm
            assert_agree(buffers, statistics(net))


@with_networks
def test_a_float32_step_stays_in_float32_and_close_to_the_float64_step(model: Model, shape: tuple[int, ...]) -> None:
    params, buffers = generic_state(model, seed=13)
    x, y = examples(model, (32, *shape), seed=14)
    narrow = [{name: a.astype(np.float32) for name, a in tree.items()} for tree in (params, buffers, {"x": x, "y": y})]
    value, grads, new_buffers = training_gradients(model, *narrow[:2], **narrow[2])
    net = load_weights(network(model.spec), params, buffers).train()
    peer_value = LOSSES["bce"](net(torch.from_numpy(x)), torch.from_numpy(y))
    peer_value.backward()
    assert abs(float(value) - peer_value.item()) < 1e-6 * peer_value.item()
    # The float32 step of torch itself is 6e-6 off its float64 step.
    assert_agree(grads, {name: p.grad.float() for name, p in net.named_parameters()}, tolerance=5e-5)
    if new_buffers:  # those of batch-norm
        assert_agree(new_buffers, {name: b.float() for name, b in statistics(net).items()}, tolerance=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-6)])
def test_fifty_adam_steps(dtype: type, tolerance: float) -> None:
    rng = np.random.default_rng(15)
    # Large gradients, gradients below ε, where ε inside and outside the root differ, and zeros.
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
        for name in scales:  # one by one, so that no tensor with large steps hides an error
            assert_agree({name: params[name]}, {name: peers[name].detach()}, tolerance=tolerance)
    np.testing.assert_array_equal(params["zero"], start["zero"])


def sgd(**options: float) -> Any:
    return lambda params, lr: torch.optim.SGD(params, lr=lr, **options)


def adam(kind: Any = torch.optim.Adam, **options: float) -> Any:
    return lambda params, lr: kind(params, lr=lr, betas=(0.8, 0.999), eps=1e-8, **options)


REST = AdamState(np.zeros(7), np.zeros(7), count=0, betas=(0.8, 0.999))
OPTIMIZERS = {  # ours from rest, and PyTorch's
    "SGD": (Optimizer(), sgd()),
    "SGD with weight decay": (WeightDecay(Optimizer(), l2=0.2), sgd(weight_decay=0.2)),
    "SGD with momentum": (Momentum(np.zeros(7), momentum=0.9), sgd(momentum=0.9)),
    "SGD with both": (WeightDecay(Momentum(np.zeros(7), 0.9), l2=0.2), sgd(momentum=0.9, weight_decay=0.2)),
    "Adam": (REST, adam()),
    "Adam with weight decay": (WeightDecay(REST, l2=0.2), adam(weight_decay=0.2)),
    "AdamW": (WeightDecay(REST, decoupled=0.2), adam(torch.optim.AdamW, weight_decay=0.2)),
}


@pytest.mark.parametrize(("state", "peer_of"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_four_steps_of_an_optimizer_from_rest(state: Optimizer, peer_of: Any) -> None:
    rng = np.random.default_rng(15)
    at = rng.normal(size=7)
    theta = torch.nn.Parameter(torch.from_numpy(at.copy()))
    peer = peer_of([theta], 0.5)
    for _ in range(4):
        gradient = rng.normal(size=7)
        update, state = state.step(gradient, at)
        at = at - 0.5 * update
        theta.grad = torch.from_numpy(gradient)
        peer.step()
        np.testing.assert_allclose(at, theta.detach().numpy(), rtol=1e-13)


@pytest.mark.parametrize(("state", "peer_of"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_effects_of_a_swap_are_those_of_steps_of_torch_optim(state: Optimizer, peer_of: Any) -> None:
    """After three steps, the order of two examples changes ε · first + ε² · second, up to an error C ε³."""
    rng = np.random.default_rng(17)
    model, before = lie_ref.mlp([2, 1, 1, 1], "tanh"), rng.normal(size=(3, 7))
    shapes = model.parameter_shapes
    x, y = rng.normal(size=(2, 2)), np.array([[0.0], [1.0]])
    net, theta = network(model.spec), rng.normal(size=7)
    for g in before:
        state = state.step(g, theta)[1]

    def point(flat: np.ndarray) -> Arrays:
        ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes.values()])[:-1]
        return {name: a.reshape(shape) for (name, shape), a in zip(shapes.items(), np.split(flat, ends), strict=True)}

    def ends(epsilon: float, order: tuple[int, int]) -> np.ndarray:
        load_weights(net, point(theta), {})
        peer = peer_of(net.parameters(), 0.0)  # at a rate of 0 the first steps change its state alone
        for g in before:
            for name, p in net.named_parameters():
                p.grad = torch.from_numpy(point(g)[name])
            peer.step()
        peer.param_groups[0]["lr"] = epsilon
        for i in order:
            peer.zero_grad()
            LOSSES["bce"](net(torch.from_numpy(x[[i]])), torch.from_numpy(y[[i]])).backward()
            peer.step()
        return np.concatenate([p.detach().numpy().ravel() for p in net.parameters()])

    effects = lie_ref.swap_effects(model, point(theta), {}, x, y, [(0, 1)], mapped(state, point))
    first, second = (np.concatenate([e[name].ravel() for name in shapes]) for e in effects)
    epsilons = 2.0 ** -np.arange(5, 9)
    errors = [np.linalg.norm(ends(e, (0, 1)) - ends(e, (1, 0)) - e * first - e**2 * second) for e in epsilons]
    assert errors[-1] < 0.1 * epsilons[-1] ** 2 * np.linalg.norm(second)
    np.testing.assert_allclose(np.diff(np.log(errors)) / np.diff(np.log(epsilons)), 3, atol=0.3)


def mapped(state: Any, f: Any) -> Any:
    """The state of an optimizer with f applied to each of its arrays."""
    if isinstance(state, np.ndarray):
        return f(state)
    if not isinstance(state, (Momentum, AdamState, WeightDecay)):
        return state
    return replace(state, **{field.name: mapped(getattr(state, field.name), f) for field in fields(state)})


def test_exclusive_attributes_have_the_cross_entropy_of_torch() -> None:
    """Softmax over none, attribute 0 and attribute 2, and binary cross-entropy for 1 and 3; also the gradients."""
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
