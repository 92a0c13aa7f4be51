"""lie_ref's networks and their exact derivatives in PyTorch, written independently of lie_ref's code."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, replace_all_batch_norm_modules_
from torch.nn import functional as F

State = dict[str, Tensor]

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": F.binary_cross_entropy_with_logits,
    "softmax": F.cross_entropy,
    # In torch 2.13, forward mode over the gradient of `F.mse_loss` fails ("ZeroTensors are immutable").
    "mse": lambda z, y: (z - y).square().mean(),
}


class Mish(nn.Mish):
    """x tanh(softplus x); PyTorch's own has no second derivative at large x."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.tanh(F.softplus(x, threshold=40.0))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "mish": Mish,
    "relu": nn.ReLU,
    # By default PyTorch returns z itself from z = 20 on, which is off by 2e-9; from 40 on it is exact in float64.
    "softplus": lambda: nn.Softplus(threshold=40.0),
}


def conv_layer(c_in: int, c_out: int, kernel: int, stride: int = 1, act: bool = True) -> nn.Sequential:
    """Convolution without bias, batch-norm and, with `act`, Mish.  An odd kernel keeps the size at stride 1."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), *([nn.Mish()] if act else []))


class ResBlock(nn.Module):
    """Basic block (expansion 1) or bottleneck, from `c_in` to `width * expansion` channels."""

    def __init__(self, c_in: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        c_out = width * expansion
        if expansion == 1:
            self.convs = nn.Sequential(conv_layer(c_in, width, 3, stride), conv_layer(width, c_out, 3, act=False))
        else:
            self.convs = nn.Sequential(
                conv_layer(c_in, width, 1), conv_layer(width, width, 3, stride), conv_layer(width, c_out, 1, act=False)
            )
        nn.init.zeros_(self.convs[-1][1].weight)
        self.idconv = nn.Identity() if c_in == c_out else conv_layer(c_in, c_out, 1, act=False)
        self.pool = nn.Identity() if stride == 1 else nn.AvgPool2d(2, ceil_mode=True)
        self.act = nn.Mish()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.convs(x) + self.idconv(self.pool(x)))


class MXResNet(nn.Sequential):
    """MXResNet without attention; its `state_dict` has the names of the public `mxresnet.py`."""

    def __init__(
        self,
        stem: Sequence[int],
        widths: Sequence[int],
        layers: Sequence[int],
        expansion: int = 1,
        n_out: int = 40,
        n_in: int = 3,
    ) -> None:
        sizes = [n_in, *stem]
        modules: list[nn.Module] = [conv_layer(sizes[i], sizes[i + 1], 3, 2 if i == 0 else 1) for i in range(len(stem))]
        modules.append(nn.MaxPool2d(3, stride=2, padding=1))
        channels = stem[-1]
        for stage, (width, depth) in enumerate(zip(widths, layers, strict=True)):
            blocks = []
            for block in range(depth):
                blocks.append(ResBlock(channels, width, expansion, stride=2 if stage > 0 and block == 0 else 1))
                channels = width * expansion
            modules.append(nn.Sequential(*blocks))
        linear = nn.Linear(channels, n_out)
        nn.init.kaiming_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        super().__init__(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)


def mlp(sizes: Sequence[int], activation: str) -> nn.Sequential:
    """`Sequential(Linear, act, Linear, …, Linear)`."""
    modules: list[nn.Module] = []
    for c_in, c_out in pairwise(sizes):
        modules += [nn.Linear(c_in, c_out), ACTIVATIONS[activation]()]
    return nn.Sequential(*modules[:-1])


def network(spec: dict[str, Any]) -> nn.Module:
    """The network that a lie_ref model's `spec` describes."""
    arguments = {key: value for key, value in spec.items() if key != "kind"}
    return {"mlp": mlp, "mxresnet": MXResNet}[spec["kind"]](**arguments)


def load_weights(net: nn.Module, params: dict[str, np.ndarray], buffers: dict[str, np.ndarray]) -> nn.Module:
    """`net` with lie_ref's weights, in their dtype and in evaluation mode; the names must be the same."""
    weights = {name: torch.from_numpy(np.array(value)) for name, value in {**params, **buffers}.items()}
    net.to(next(iter(weights.values())).dtype)  # loading would round to the dtype of the net
    keys = net.load_state_dict(weights, strict=False)
    assert not keys.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in keys.missing_keys), keys.missing_keys
    return net.eval()


def parameters(net: nn.Module) -> State:
    return {name: p.detach() for name, p in net.named_parameters()}


def statistics(net: nn.Module) -> State:
    """The running means and variances."""
    return {name: b for name, b in net.named_buffers() if not name.endswith("num_batches_tracked")}


def without_running_statistics(net: nn.Module) -> nn.Module:
    """A copy whose batch-norm uses the statistics of the batch and has no running ones."""
    return replace_all_batch_norm_modules_(copy.deepcopy(net)).train()


def loss_of(net: nn.Module, x: Tensor, y: Tensor, loss: str) -> Callable[[State], Tensor]:
    """θ ↦ mean loss of the batch (x, y), in the current mode of `net`."""
    return lambda params: LOSSES[loss](functional_call(net, params, (x,)), y)


def gradient(net: nn.Module, x: Tensor, y: Tensor, loss: str) -> State:
    """The gradient of the batch's mean loss, name → (*shape)."""
    return grad(loss_of(net, x, y, loss))(parameters(net))


def hvp(net: nn.Module, x: Tensor, y: Tensor, loss: str, direction: State) -> State:
    """The Hessian of the batch's mean loss times the direction, forward over reverse, name → (*shape)."""
    return jvp(grad(loss_of(net, x, y, loss)), (parameters(net),), (direction,))[1]


def bracket(net: nn.Module, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], loss: str) -> State:
    """The bracket H_j g_i − H_i g_j of the fields v = −g of two batches (x, y), name → (*shape)."""
    forth = hvp(net, *second, loss, gradient(net, *first, loss))
    back = hvp(net, *first, loss, gradient(net, *second, loss))
    return {name: forth[name] - back[name] for name in forth}


def push_forward(net: nn.Module, x: Tensor, tangent: State) -> Tensor:
    """D_θ z(x) · tangent, (n, n_out)."""
    return jvp(lambda params: functional_call(net, params, (x,)), (parameters(net),), (tangent,))[1]
