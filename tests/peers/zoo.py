"""A zoo of small PyTorch problems with exact derivatives, to check what sees no more of them than gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

Theta = dict[str, Tensor]
Criterion = Callable[[Tensor, Tensor], Tensor]  # of outputs and labels
Layer = Callable[..., nn.Module]


@dataclass(frozen=True)
class Case:
    """Three fields on parameter space, each the gradient of the loss of an example or mini-batch i = 0, 1, 2."""

    name: str
    smooth: bool  # no kinks in the gradient, nor in its derivative
    theta: Theta
    loss: Callable[[Theta, int], Tensor]
    logits: Callable[[Theta], Tensor]  # (2, k), of two more inputs

    def gradient(self, theta: Theta, i: int) -> Theta:
        leaves = with_graph(theta)
        return derivative(self.loss(leaves, i), leaves)

    def hvp(self, theta: Theta, i: int, direction: Theta) -> Theta:
        """H_i · direction, the derivative of field i, by double backward."""
        leaves = with_graph(theta)
        slopes = derivative(self.loss(leaves, i), leaves, create_graph=True)
        along = torch.stack([(slopes[name] * d).sum() for name, d in direction.items()]).sum()
        return derivative(along, leaves)

    def bracket(self, theta: Theta, i: int, j: int) -> Theta:
        """H_j g_i − H_i g_j."""
        forth = self.hvp(theta, j, self.gradient(theta, i))
        back = self.hvp(theta, i, self.gradient(theta, j))
        return {name: forth[name] - back[name] for name in theta}


@dataclass(frozen=True)
class Momentum(Case):
    """The fields are 0.9 b + g_i with a constant b, as in a step of SGD with momentum."""

    buffer: Theta

    def gradient(self, theta: Theta, i: int) -> Theta:
        return {name: 0.9 * self.buffer[name] + g for name, g in super().gradient(theta, i).items()}


def with_graph(theta: Theta) -> Theta:
    return {name: value.detach().requires_grad_() for name, value in theta.items()}


def derivative(value: Tensor, leaves: Theta, create_graph: bool = False) -> Theta:
    """The gradient; zero for leaves that the value does not depend on."""
    gradients = torch.autograd.grad(value, list(leaves.values()), create_graph=create_graph, materialize_grads=True)
    return dict(zip(leaves, gradients, strict=True))


class Draw:
    """Random numbers that are the same in each dtype, up to rounding."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        self.generator, self.dtype = torch.Generator().manual_seed(seed), dtype

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).to(self.dtype)

    def integers(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator)

    def weights(self, p: Tensor) -> Tensor:
        """He's initial weights; biases and constants are off 0 or 1, so that no derivative vanishes by accident."""
        if p.ndim > 1:
            return math.sqrt(2 * len(p) / p.numel()) * self.normal(*p.shape)
        return float((p == 1).all()) + self.normal(*p.shape) / 10  # the weights of normalisation are ones


class Problem(NamedTuple):
    """A network, three mini-batches of m examples, and two inputs for the logits."""

    net: nn.Module
    x: Tensor  # (3, m, …)
    y: Tensor  # (3, m, …)
    x_eval: Tensor  # (2, …)
    criterion: Criterion = F.cross_entropy
    smooth: bool = True
    decay: float = 0.0  # the factor of ½|θ|² in the loss


class Net(nn.Module):
    """Modules and parameters, and a function that puts them together."""

    def __init__(self, compute: Callable[[Any, Tensor], Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.compute = compute
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(self, x)


def mlp(act: Layer, *sizes: int) -> nn.Sequential:
    layers = [layer for n_in, n_out in pairwise(sizes) for layer in (nn.Linear(n_in, n_out), act())]
    return nn.Sequential(*layers[:-1])


batch_norm = partial(nn.BatchNorm2d, track_running_stats=False)  # by the batch's own statistics, in the logits, too


def resnet(draw: Draw, act: Layer, pool: nn.Module, norm: Layer = batch_norm, m: int = 4, **options: Any) -> Problem:
    """A stem, a basic block that doubles the channels and halves the image, and five logits."""

    def conv(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False), norm(n_out))

    convs = nn.Sequential(conv(6, 12, stride=2), act(), conv(12, 12))
    block = Net(lambda net, x: net.convs(x) + net.shortcut(x), convs=convs, shortcut=nn.Conv2d(6, 12, 1, stride=2))
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)
    net = nn.Sequential(conv(3, 6), act(), pool, block, act(), *head)
    return Problem(net, draw.normal(3, m, 3, 8, 8), draw.integers(5, 3, m), draw.normal(2, 3, 8, 8), **options)


def regression(draw: Draw, act: Layer, criterion: Criterion, **options: Any) -> Problem:
    """An MLP and the three numbers that it is to learn."""
    x, y = draw.normal(3, 2, 6), draw.normal(3, 2, 3)
    return Problem(mlp(act, 6, 16, 16, 3), x, y, draw.normal(2, 6), criterion, **options)


def weight_decay(draw: Draw) -> Problem:
    problem = regression(draw, nn.Tanh, F.mse_loss, decay=0.01)
    problem.net.register_parameter("unused", nn.Parameter(torch.ones(5)))
    return problem


def hinge(draw: Draw) -> Problem:
    return regression(draw, nn.ReLU, lambda z, y: F.relu(1 - y.sign() * z).square().mean(), smooth=False)


def transformer_block(width: int, heads: int) -> Net:
    """Causal attention and an MLP.  The attention is spelled out, as PyTorch's fused one has no double backward."""

    def compute(net: Any, h: Tensor) -> Tensor:
        q, k, v = net.qkv(h).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # each (m, heads, t, width / heads)
        future = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool).triu(1)
        weights = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(future, -math.inf).softmax(-1)
        h = h + net.out((weights @ v).transpose(1, 2).flatten(2))
        return h + net.mlp(h)

    qkv = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * width))
    layers = nn.Sequential(nn.LayerNorm(width), mlp(nn.GELU, width, 2 * width, width))
    return Net(compute, qkv=qkv, out=nn.Linear(width, width), mlp=layers)


def transformer(draw: Draw) -> Problem:
    def compute(net: Any, x: Tensor) -> Tensor:  # (m, t) → (m, vocabulary, t)
        return F.linear(net.blocks(net.token(x) + net.position), net.token.weight).mT

    blocks = nn.Sequential(transformer_block(12, 2), transformer_block(12, 2), nn.LayerNorm(12))
    net = Net(compute, token=nn.Embedding(16, 12), position=nn.Parameter(torch.zeros(6, 12)), blocks=blocks)
    text = draw.integers(16, 3, 1, 7)
    return Problem(net, text[..., :-1], text[..., 1:], draw.integers(16, 2, 6))


def recurrent(draw: Draw) -> Problem:
    def compute(net: Any, x: Tensor) -> Tensor:  # (m, t, 4) → (m, 3)
        state: Any = None
        for inputs in x.unbind(1):
            state = net.cell(inputs, state)
        return net.head(state[0])

    net = Net(compute, cell=nn.LSTMCell(4, 10), head=nn.Linear(10, 3))
    return Problem(net, draw.normal(3, 1, 5, 4), draw.integers(3, 3, 1), draw.normal(2, 5, 4))


def segmentation(draw: Draw) -> Problem:
    def compute(net: Any, x: Tensor) -> Tensor:  # a U-Net of two levels
        skip = F.gelu(net.enter(x))
        up = torch.tanh(net.up(F.gelu(net.down(skip))))
        return net.head(F.gelu(net.merge(torch.cat([skip, up], 1))))

    enter, down = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 12, 3, 2, padding=1)
    up, merge, head = nn.ConvTranspose2d(12, 6, 2, 2), nn.Conv2d(12, 6, 3, padding=1), nn.Conv2d(6, 3, 1)
    net = Net(compute, enter=enter, down=down, up=up, merge=merge, head=head)
    return Problem(net, draw.normal(3, 1, 2, 8, 8), draw.integers(3, 3, 1, 8, 8), draw.normal(2, 2, 8, 8))


def contrastive(draw: Draw) -> Problem:
    def compute(net: Any, x: Tensor) -> Tensor:  # two views (m, 2, 8) → scaled cosines of first and second (m, m)
        first, second = F.normalize(net.encoder(x), dim=-1).unbind(1)
        return net.log_scale.exp() * first @ second.T

    net = Net(compute, encoder=mlp(nn.Tanh, 8, 20, 8), log_scale=nn.Parameter(torch.tensor(1.0)))
    x, y = draw.normal(3, 4, 1, 8) + draw.normal(3, 4, 2, 8) / 2, torch.arange(4).expand(3, 4)
    return Problem(net, x, y, draw.normal(2, 2, 8), lambda z, y: F.cross_entropy(z, y) + F.cross_entropy(z.T, y))


def embeddings(draw: Draw) -> Problem:
    net = Net(lambda net, x: net.head(net.word(x).mean(1)), word=nn.Embedding(40, 8), head=mlp(nn.Softplus, 8, 12, 4))
    x, y = draw.integers(40, 3, 1, 10), draw.integers(2, 3, 1, 4).to(draw.dtype)
    return Problem(net, x, y, draw.integers(40, 2, 10), F.binary_cross_entropy_with_logits)


def autoencoder(draw: Draw) -> Problem:
    def compute(net: Any, x: Tensor) -> Tensor:  # pixels and noise (m, 16 + 3) → logits and code (m, 16 + 2 · 3)
        code = net.encoder(x[:, :16])
        mean, log_variance = code.chunk(2, 1)
        return torch.cat([net.decoder(mean + (log_variance / 2).exp() * x[:, 16:]), code], 1)

    def negative_elbo(z: Tensor, pixels: Tensor) -> Tensor:
        mean, log_variance = z[:, 16:].chunk(2, 1)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        return F.binary_cross_entropy_with_logits(z[:, :16], pixels, reduction="sum") + divergence

    net = Net(compute, encoder=mlp(nn.Tanh, 16, 12, 6), decoder=mlp(nn.Tanh, 3, 12, 16))
    pixels, noise = draw.normal(3, 1, 16).sigmoid(), draw.normal(3, 1, 3)
    return Problem(net, torch.cat([pixels, noise], 2), pixels, draw.normal(2, 19), negative_elbo)


def attention_pool(draw: Draw) -> Problem:
    def compute(net: Any, x: Tensor) -> Tensor:  # sets (m, n, 5) → (m, 2)
        h = net.features(x)
        return net.head(torch.cat([(net.score(h).softmax(1) * h).sum(1), h.logsumexp(1)], 1))

    net = Net(compute, features=mlp(nn.Tanh, 5, 14, 14), score=nn.Linear(14, 1), head=nn.Linear(28, 2))
    x, y = draw.normal(3, 1, 7, 5), draw.normal(3, 1, 2)
    return Problem(net, x, y, draw.normal(2, 7, 5), lambda z, y: (1 + (z - y).square()).sqrt().mean())


smoothed = partial(F.cross_entropy, label_smoothing=0.1)
KINDS: dict[str, Callable[[Draw], Problem]] = {
    "resnet-silu": partial(resnet, act=nn.SiLU, pool=nn.Identity()),
    "resnet-mish": partial(resnet, act=nn.Mish, pool=nn.MaxPool2d(2), criterion=smoothed, smooth=False),
    "resnet-relu": partial(resnet, act=nn.ReLU, pool=nn.MaxPool2d(2), norm=partial(nn.GroupNorm, 2), m=1, smooth=False),
    "mlp-huber": partial(regression, act=nn.GELU, criterion=F.huber_loss, smooth=False),
    "momentum": partial(regression, act=nn.Sigmoid, criterion=F.mse_loss),
}
SEQUENCES_AND_SETS = transformer, recurrent, embeddings, attention_pool
OTHERS = segmentation, contrastive, autoencoder, weight_decay, hinge
KINDS |= {make.__name__.replace("_", "-"): make for make in (*SEQUENCES_AND_SETS, *OTHERS)}


def case(kind: str, seed: int, dtype: torch.dtype = torch.float64) -> Case:
    """A problem of this kind; a seed gives the same one in each dtype, up to rounding."""
    draw = Draw(seed, dtype)
    with torch.random.fork_rng(devices=[]):  # the weights that PyTorch draws are replaced
        net, x, y, x_eval, criterion, smooth, decay = KINDS[kind](draw)
    theta = {name: draw.weights(p.detach()) for name, p in net.named_parameters()}

    def loss(theta: Theta, i: int) -> Tensor:
        value = criterion(functional_call(net, theta, (x[i],), strict=True), y[i])
        return value + decay / 2 * sum(t.square().sum() for t in theta.values()) if decay else value

    def logits(theta: Theta) -> Tensor:
        return functional_call(net, theta, (x_eval,), strict=True).flatten(1)

    if kind == "momentum":
        buffer = {name: draw.normal(*t.shape) / 10 for name, t in theta.items()}
        return Momentum(kind, smooth, theta, loss, logits, buffer)
    return Case(kind, smooth, theta, loss, logits)
