"""PyTorch: torch.func for derivatives of single examples, in two threads; eager mode for training, in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from ..peers.mxresnet_torch import State, load_weights, loss_of, network, parameters, statistics
from .work import (
    THREADS,
    Arrays,
    Part,
    Peer,
    parts_of_evaluation,
    parts_of_training,
    problem,
    step_results,
    variants_of_brackets,
)

torch.set_num_threads(THREADS)


def evaluation(preset: str, inputs: int, examples: int) -> dict[str, Part]:
    """Gradients, brackets and push-forwards."""
    return parts_of_evaluation(peer(preset, inputs), examples)


def bracket(preset: str) -> dict[str, Part]:
    """One bracket: two gradients and, one after the other, two Hessian-vector products."""
    loop = variants_of_brackets(peer(preset, 2), 2, {})["loop"]
    return {"bracket": Part({"loop": lambda: {k: a for k, a in loop().items() if k.startswith("bracket/")}})}


def peer(preset: str, n: int) -> Peer:
    p = problem(preset, n)
    net = load_weights(network(p.model.spec), p.params, p.buffers)

    def loss(params: State, x: Tensor, y: Tensor) -> Tensor:
        return loss_of(net, x[None], y[None], "bce")(params)

    def logits(params: State, x: Tensor) -> Tensor:
        return functional_call(net, params, (x,))

    x, y = torch.from_numpy(p.x), torch.from_numpy(p.y)
    return Peer(torch.func, loss, logits, parameters(net), x, y, tensor=torch.from_numpy)


def training(preset: str, batch: int, steps: int, lr: float, betas: tuple[float, float]) -> dict[str, Part]:
    """Training steps with Adam, in both memory formats, in one thread: runs are trained side by side."""

    def trainer(dtype: type, memory_format: Any) -> Callable[[int], Arrays]:
        p = problem(preset, batch, dtype)
        net = load_weights(network(p.model.spec), p.params, p.buffers).train().to(memory_format=memory_format)
        x, y = torch.from_numpy(p.x).to(memory_format=memory_format), torch.from_numpy(p.y)
        adam = torch.optim.Adam(net.parameters(), lr, betas)

        def advance(steps: int) -> Arrays:
            torch.set_num_threads(1)
            for _ in range(steps):
                adam.zero_grad()
                loss = F.binary_cross_entropy_with_logits(net(x), y)
                loss.backward()
                adam.step()
            torch.set_num_threads(THREADS)
            means = {name: adam.state[value]["exp_avg"] for name, value in net.named_parameters()}
            return step_results(loss.detach(), mean=means, param=parameters(net), buffer=statistics(net))

        return advance

    formats = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
    return parts_of_training(trainer, steps, **formats)
