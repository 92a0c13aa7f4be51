"""PyTorch at the same work: torch.func for derivatives by example, eager mode for training, two threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional as F

from ..peers.mxresnet_torch import MXResNet, State, load_weights, loss_of, parameters
from .work import (
    THREADS,
    Arrays,
    Part,
    Peer,
    Problem,
    parts_of_evaluation,
    parts_of_training,
    problem,
    step_results,
    ways_to_bracket,
)

torch.set_num_threads(THREADS)


def evaluation(preset: str, inputs: int, examples: int) -> dict[str, Part]:
    """Gradients, brackets and push-forward."""
    return parts_of_evaluation(differentiated(problem(preset, inputs), examples), examples)


def bracket(preset: str) -> dict[str, Part]:
    """One bracket: two gradients, and two Hessian-vector products one after the other."""
    loop = ways_to_bracket(differentiated(problem(preset, 2), 2), 2)["loop"]
    return {"bracket": Part({"loop": lambda: {k: a for k, a in loop().items() if k.startswith("bracket/")}})}


def differentiated(p: Problem, examples: int) -> Peer:
    """The network's derivatives by torch.func."""
    net = load_weights(network(p), p.params, p.buffers)
    theta, x, y = parameters(net), torch.from_numpy(p.x), torch.from_numpy(p.y)

    def gradient(params: State, x: Tensor, y: Tensor) -> State:
        return grad(loss_of(net, x[None], y[None], "bce"))(params)

    def hvp(x: Tensor, y: Tensor, direction: State) -> State:
        return jvp(lambda params: gradient(params, x, y), (theta,), (direction,))[1]

    def change(tangent: State) -> tuple[Tensor, Tensor]:
        return jvp(lambda params: functional_call(net, params, (x,)), (theta,), (tangent,))

    def tensors(arrays: Arrays) -> State:
        return {name: torch.from_numpy(a) for name, a in arrays.items()}

    return Peer(
        gradients=lambda: vmap(gradient, (None, 0, 0))(theta, x[:examples], y[:examples]),
        hvp=lambda j, d: hvp(x[j], y[j], d),
        hvps_of_one=lambda j, ds: vmap(lambda d: hvp(x[j], y[j], d))(ds),
        hvps=lambda js, ds: vmap(hvp)(x[js], y[js], ds),
        change=lambda t: change(tensors(t)),
        changes=lambda ts: vmap(change, out_dims=(None, 0))(tensors(ts)),
    )


def training(preset: str, batch: int, steps: int, lr: float, betas: tuple[float, float]) -> dict[str, Part]:
    """Training steps with Adam, memory in either format."""

    def trainer(dtype: type, memory_format: Any) -> Callable[[int], Arrays]:
        p = problem(preset, batch, dtype)
        net = load_weights(network(p), p.params, p.buffers).train().to(memory_format=memory_format)
        x, y = torch.from_numpy(p.x).to(memory_format=memory_format), torch.from_numpy(p.y)
        adam = torch.optim.Adam(net.parameters(), lr, betas)

        def advance(steps: int) -> Arrays:
            for _ in range(steps):
                adam.zero_grad()
                loss = F.binary_cross_entropy_with_logits(net(x), y)
                loss.backward()
                adam.step()
            means = {name: adam.state[value]["exp_avg"] for name, value in net.named_parameters()}
            buffers = {name: value for name, value in net.named_buffers() if name in p.buffers}
            return step_results(loss.detach(), mean=means, param=parameters(net), buffer=buffers)

        return advance

    ways = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
    return parts_of_training(trainer, steps, **ways)


def network(p: Problem) -> MXResNet:
    """The peer of a problem's network."""
    return MXResNet(**{key: value for key, value in p.model.spec.items() if key != "kind"})
