"""Answers a test vector in PyTorch, correctly or with bugs of the catalogue, written the way people make them.

A planted bug is a name of the catalogue and, after colons, its arguments: "sign-swapped", "factor:bracket:1e-4",
"finite-differences:central:1e-2", "direction-lacks-group:biases".  `PLANTED` lists all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vjp
from torch.nn import functional as F

from .mxresnet_torch import Mish, ResBlock, network

Tree = dict[str, Tensor]
STAGES = ("logits", "loss", "grad", "hvp", "bracket", "logit_delta")


class NotApplicable(Exception):
    """The bug cannot be made on this vector."""


# Modules, correct unless an attribute switches a bug on


def softplus(z: Tensor) -> Tensor:
    """log(1 + eᶻ), with full precision for its derivatives, too (those of PyTorch's own lose digits at large z)."""
    positive = z >= 0
    return torch.where(positive, z, 0.0) + torch.log1p(torch.exp(-torch.where(positive, z, -z)))


def edges(x: Tensor, kernel: int, stride: int, same: bool) -> list[int]:
    """The padding [left, right, top, bottom] that is usual in PyTorch, or with `same` that of TensorFlow's "SAME"."""
    if not same:
        return [kernel // 2] * 4
    padding = []
    for length in (x.shape[-1], x.shape[-2]):
        total = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
        padding += [total // 2, total - total // 2]
    return padding


class Conv(nn.Conv2d):
    """Convolution without bias."""

    flipped = same = False

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.flip(-2, -1) if self.flipped else self.weight
        return F.conv2d(F.pad(x, edges(x, self.kernel_size[0], self.stride[0], self.same)), weight, stride=self.stride)


class MaxPool(nn.MaxPool2d):
    """Max-pool with explicit padding."""

    fill = -math.inf
    same = shares_ties = False

    def forward(self, x: Tensor) -> Tensor:
        k, s = self.kernel_size, self.stride
        x = F.pad(x, edges(x, k, s, self.same), value=self.fill)
        if self.shares_ties:  # the derivative of `amax` does so
            return x.unfold(2, k, s).unfold(3, k, s).amax((-2, -1))
        return F.max_pool2d(x, k, s)


class BatchNorm(nn.BatchNorm2d):
    """Batch-norm in elementary operations; training mode does not update the running statistics."""

    correction = 0
    detached = epsilon_outside_root = variance_for_deviation = False

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (channels,): those of the batch, or the running ones."""
        if not self.training:
            return self.running_mean, self.running_var
        if x.numel() == x.shape[1]:
            raise NotApplicable("batch-norm in training mode has a single value per channel")
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=self.correction)
        return (mean.detach(), variance.detach()) if self.detached else (mean, variance)

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.statistics(x)
        deviation = variance.sqrt() + self.eps if self.epsilon_outside_root else (variance + self.eps).sqrt()
        if self.variance_for_deviation and not self.training:
            deviation = variance + self.eps
        mean, scale, bias = (t[:, None, None] for t in (mean, self.weight / deviation, self.bias))
        return (x - mean) * scale + bias


class TransposedLinear(nn.Linear):
    """A linear layer that reads a square weight as (in, out)."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias if self.in_features == self.out_features else super().forward(x)


class PaddedAveragePool(nn.AvgPool2d):
    """A 2 × 2 average-pool that pads odd sides with zeros and counts them."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, [0, x.shape[-1] % 2, 0, x.shape[-2] % 2]), 2)


def change_class(net: nn.Module, old: type, new: type) -> None:
    """Give every module of class `old` another forward pass; its parameters and their names stay."""
    for module in net.modules():
        if type(module) is old:
            module.__class__ = new


def binary_cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """(m, outputs)."""
    return y * softplus(-z) + (1 - y) * softplus(z)


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """(m, 1), from differences to the largest logit, so that probabilities near 1 keep their digits."""
    top = z.argmax(1, keepdim=True)
    largest = z.gather(1, top)
    others = torch.exp(z - largest).scatter(1, top, 0.0).sum(1, keepdim=True)
    return largest - z.gather(1, y[:, None]) + torch.log1p(others)


LOSSES = {"bce": binary_cross_entropy, "softmax": cross_entropy, "mse": lambda z, y: (z - y).square()}
CLIP = math.log((1 - 1e-7) / 1e-7)


# Hessian-vector products, exact and wrong


class Objective(NamedTuple):
    """A function of the parameters in two parts: the logits (m, k), and the loss of the logits."""

    logits: Callable[[Tree], Tensor]
    loss: Callable[[Tensor], Tensor]

    def __call__(self, theta: Tree) -> Tensor:
        return self.loss(self.logits(theta))


Product = Callable[[Objective, Tree, Tree], Tree]  # objective, θ, direction → name → (*shape)


def exact(objective: Objective, theta: Tree, direction: Tree) -> Tree:
    return jvp(grad(objective), (theta,), (direction,))[1]


def gauss_newton(objective: Objective, theta: Tree, direction: Tree) -> Tree:
    """Jᵀ (∂²L/∂z²) J d."""
    z, transposed_jacobian = vjp(objective.logits, theta)
    _, z_change = jvp(objective.logits, (theta,), (direction,))
    return transposed_jacobian(jvp(grad(objective.loss), (z,), (z_change,))[1])[0]


def layerwise(product: Product) -> Product:
    """The product with each parameter tensor separately, all others held constant."""

    def blocks(objective: Objective, theta: Tree, direction: Tree) -> Tree:
        block = Objective(lambda tensor: objective.logits({**theta, **tensor}), objective.loss)
        found = (product(block, {name: theta[name]}, {name: direction[name]}) for name in theta)
        return {name: value for tensor in found for name, value in tensor.items()}

    return blocks


def differences(kind: str, step: str) -> Product:
    """A difference of two gradients; `kind` is "forward" or "central", or ends in "-relative" for a step of h / ‖d‖."""

    def product(objective: Objective, theta: Tree, direction: Tree) -> Tree:
        h = float(step) / (norm(direction) if kind.endswith("-relative") else 1.0)
        ahead, behind = (h, 0.0) if kind.startswith("forward") else (h, -h)
        gradients = [grad(objective)(plus(theta, direction, c)) for c in (ahead, behind)]
        return {name: (gradients[0][name] - gradients[1][name]) / (ahead - behind) for name in theta}

    return product


def plus(theta: Tree, direction: Tree, c: float = 1.0) -> Tree:
    return {name: value + c * direction[name] for name, value in theta.items()}


def times(c: float, tree: Tree) -> Tree:
    return {name: c * value for name, value in tree.items()}


def norm(tree: Tree) -> Tensor:
    """The Euclidean norm of all tensors together."""
    size = torch.stack([value.norm() for value in tree.values()]).norm()
    if size == 0:
        raise NotApplicable("a direction has norm 0")
    return size


def names_of(net: nn.Module, kind: type) -> list[str]:
    """The names of the parameters of all modules of a kind."""
    modules = ((prefix, module) for prefix, module in net.named_modules() if isinstance(module, kind))
    return [f"{prefix}.{name}" for prefix, module in modules for name, _ in module.named_parameters(recurse=False)]


GROUPS: dict[str, Callable[[nn.Module], list[str]]] = {
    "biases": lambda net: [name for name, _ in net.named_parameters() if name.endswith(".bias")],
    "batch-norm": lambda net: names_of(net, BatchNorm),
    "head": lambda net: names_of(net, nn.Linear)[-2:],
    "convolutions": lambda net: names_of(net, Conv),
}


class Implementation:
    """Somebody's code, correct as constructed; planting a bug changes one of its attributes."""

    def __init__(self, vector: Any, dtype: torch.dtype) -> None:
        tensor = lambda array: torch.from_numpy(np.array(array)).to(dtype)  # noqa: E731
        self.vector = vector
        self.net = network(vector.model.spec)
        for old, new in ((nn.Conv2d, Conv), (nn.MaxPool2d, MaxPool), (nn.BatchNorm2d, BatchNorm), (nn.Mish, Mish)):
            change_class(self.net, old, new)
        self.params = {name: tensor(value) for name, value in vector.params.items()}
        self.buffers = {name: tensor(value) for name, value in vector.buffers.items()}
        assert set(self.params) == {name for name, _ in self.net.named_parameters()}
        self.x, self.x_eval = tensor(vector.x), tensor(vector.x_eval)
        self.y = torch.from_numpy(np.array(vector.y))
        # The fields: the mode of batch-norm, what changes the arguments of the loss, how the loss is reduced.
        self.training = vector.training
        self.batch_norm_of = ""  # "all" or "one": batch-norm in training mode, of all examples or of each one
        self.logit_maps: list[Callable[[Tensor], Tensor]] = []
        self.target_maps: list[Callable[[Tensor], Tensor]] = []
        self.loss_of_outputs = LOSSES[vector.loss]
        self.over_outputs = self.hessian_over_outputs = self.over_examples = torch.mean
        self.divisor = 1
        # The Hessian-vector products.
        self.product: Product = exact
        self.direction_maps: list[Callable[[Tree], Tree]] = []
        self.pairs_swapped = self.own_gradient = self.hessian_of_mean = False
        # The bracket of H_j g_i and H_i g_j, and its push-forward.
        self.terms_swapped = False
        self.bracket: Callable[[Tensor, Tensor], Tensor] = torch.sub
        self.output_map: Callable[[Tensor], Tensor] = lambda z: z
        self.finite_change = False
        self.factors = dict.fromkeys(STAGES, 1.0)

    def forward(self, theta: Tree, x: Tensor, training: bool = False) -> Tensor:
        """Logits (m, k)."""
        if self.batch_norm_of == "one" and len(x) > 1:
            return torch.cat([self.forward(theta, example) for example in x.split(1)])
        self.net.train(training or self.batch_norm_of != "")
        return functional_call(self.net, {**self.buffers, **theta}, (x,))

    def loss(self, z: Tensor, y: Tensor, over_outputs: Callable[..., Tensor]) -> Tensor:
        """The loss of logits (m, k), a number."""
        y = y.to(z.dtype) if y.is_floating_point() else y
        for change in self.logit_maps:
            z = change(z)
        for change in self.target_maps:
            y = change(y)
        return self.over_examples(over_outputs(self.loss_of_outputs(z, y), 1), 0) / self.divisor

    def objective(self, i: int, for_hessian: bool = False) -> Objective:
        """The loss of field i, an example or a mini-batch, or the function whose Hessian is taken for that field's."""
        own = i if self.vector.batches else slice(i, i + 1)
        if for_hessian and self.hessian_of_mean:
            own = slice(None)
        over_outputs = self.hessian_over_outputs if for_hessian else self.over_outputs

        def logits(theta: Tree) -> Tensor:
            if self.batch_norm_of == "all":
                return self.forward(theta, self.x)[own]
            return self.forward(theta, self.x[own], self.training)

        return Objective(logits, lambda z: self.loss(z, self.y[own], over_outputs))

    def hvp(self, i: int, direction: Tree) -> Tree:
        """H_i d."""
        for change in self.direction_maps:
            direction = change(direction)
        return times(self.factors["hvp"], self.product(self.objective(i, for_hessian=True), self.params, direction))

    def hvps(self, i: int, j: int, gradients: list[Tree]) -> tuple[Tree, Tree]:
        """H_j g_i and H_i g_j."""
        if self.pairs_swapped:
            i, j = j, i
        first, second = (j, i) if self.own_gradient else (i, j)
        return self.hvp(j, gradients[first]), self.hvp(i, gradients[second])

    def bracket_of(self, first: Tree, second: Tree) -> Tree:
        if self.terms_swapped:
            first, second = second, first
        return {name: self.factors["bracket"] * self.bracket(first[name], second[name]) for name in first}

    def push_forward(self, bracket: Tree) -> Tensor:
        """The change of the logits (n_eval, k) along a bracket."""
        logits = lambda theta: self.output_map(self.forward(theta, self.x_eval))  # noqa: E731
        if self.finite_change:
            change = logits(plus(self.params, bracket)) - logits(self.params)
        else:
            _, change = jvp(logits, (self.params,), (bracket,))
        return self.factors["logit_delta"] * change

    def answers(self) -> dict[str, np.ndarray]:
        """All outputs of a test vector under their keys, in float64."""
        fields = [self.objective(i) for i in range(len(self.x))]
        logits = [field.logits(self.params) for field in fields]
        losses = [field.loss(z) for field, z in zip(fields, logits, strict=True)]
        gradients = [times(self.factors["grad"], grad(field)(self.params)) for field in fields]
        hvps = [self.hvps(int(i), int(j), gradients) for i, j in self.vector.pairs]
        brackets = [self.bracket_of(*pair) for pair in hvps]
        answers = {
            "logits": torch.stack(logits) if self.vector.batches else torch.cat(logits),
            "loss": torch.stack(losses),
            "logit_delta": torch.stack([self.push_forward(bracket) for bracket in brackets]),
        }
        for name in self.params:
            answers[f"grad/{name}"] = torch.stack([gradient[name] for gradient in gradients])
            answers[f"hvp/{name}"] = torch.stack([torch.stack([hvp[name] for hvp in pair]) for pair in hvps])
            answers[f"bracket/{name}"] = torch.stack([bracket[name] for bracket in brackets])
        return {key: value.detach().double().numpy() for key, value in answers.items()}


Plant = Callable[..., None]  # takes the implementation and the bug's arguments


def setting(**attributes: Any) -> Plant:
    """Give attributes of the implementation other values."""
    return lambda code: vars(code).update(attributes)


def deriving(**attributes: Callable[..., Any]) -> Plant:
    """Give attributes values that depend on the implementation and on the bug's arguments."""
    return lambda code, *arguments: vars(code).update({k: f(code, *arguments) for k, f in attributes.items()})


def adding(attribute: str, change: Callable[[Any], Any]) -> Plant:
    """Append a change to a list of them."""
    return lambda code: getattr(code, attribute).append(change)


def modules(kind: type, **attributes: Any) -> Plant:
    """Give attributes of all modules of a kind other values."""

    def plant(code: Implementation) -> None:
        for module in code.net.modules():
            if isinstance(module, kind):
                vars(module).update(attributes)

    return plant


def replacing(old: type, new: type) -> Plant:
    return lambda code: change_class(code.net, old, new)


def same_padding(code: Implementation) -> None:
    modules(Conv, same=True)(code)
    modules(MaxPool, same=True)(code)


def no_shortcut_norm(code: Implementation) -> None:
    for block in code.net.modules():
        if isinstance(block, ResBlock) and isinstance(block.idconv, nn.Sequential):
            block.idconv[1].__class__ = nn.Identity


def initial_statistics(code: Implementation) -> Tree:
    return {name: torch.full_like(b, float(name.endswith("running_var"))) for name, b in code.buffers.items()}


def leave_out(code: Implementation, group: str) -> None:
    names = GROUPS[group](code.net)
    if not names:
        raise NotApplicable(f"no parameters among the {group}")
    code.direction_maps.append(lambda d: {name: 0 * value if name in names else value for name, value in d.items()})


def threshold(code: Implementation, stage: str) -> None:
    """PyTorch's own softplus, in the activations ("logits") or in the loss."""
    spec = code.vector.model.spec
    if stage == "loss" and code.vector.loss == "bce":
        code.loss_of_outputs = lambda z, y: F.softplus(z) - y * z
    elif stage == "logits" and spec.get("activation") == "softplus" and len(spec["sizes"]) > 2:
        modules(nn.Softplus, threshold=20.0)(code)
    else:
        raise NotApplicable(f"no softplus in the {stage}")


def probabilities(code: Implementation) -> Callable[[Tensor], Tensor]:
    return (lambda z: z.softmax(1)) if code.vector.loss == "softmax" else torch.sigmoid


def factor(code: Implementation, stage: str, c: str) -> None:
    """`c` is a number, or "n" for the number of examples: all of them, or those of a mini-batch."""
    code.factors[stage] *= code.x.shape[1 if code.vector.batches else 0] if c == "n" else float(c)


def lower_precision(code: Implementation, name: str) -> None:
    """Compute everything in float32, or round only weights and inputs to bfloat16."""
    narrow = {"float32": Tensor.float, "bfloat16": lambda t: t.bfloat16().to(t.dtype)}[name]
    code.params, code.buffers = ({k: narrow(a) for k, a in tree.items()} for tree in (code.params, code.buffers))
    code.x, code.x_eval = narrow(code.x), narrow(code.x_eval)


# What a vector must have for a bug to be possible.
WHERE: dict[str, Callable[[Any], bool]] = {
    "anywhere": lambda v: True,
    "bce": lambda v: v.loss == "bce",
    "softmax": lambda v: v.loss == "softmax",
    "several outputs": lambda v: v.loss in ("bce", "mse") and v.y.shape[-1] > 1,
    "several examples": lambda v: not v.batches and len(v.x) > 1,
    "mini-batches": lambda v: v.batches and v.x.shape[1] > 1,
    "convolutions": lambda v: v.model.pictures,
    "strided stages": lambda v: v.model.pictures and len(v.model.spec["widths"]) > 1,
    "shortcut norm": lambda v: any(".idconv.1." in name for name in v.params),
    "batch-norm of examples": lambda v: v.model.pictures and not v.batches,
    "batch-norm of batches": lambda v: v.model.pictures and v.training,
    "square weight": lambda v: any(p.ndim == 2 and p.shape[0] == p.shape[1] > 1 for p in v.params.values()),
    "mish": lambda v: v.model.pictures or (v.model.spec["activation"] == "mish" and len(v.model.spec["sizes"]) > 2),
    "x_eval like x": lambda v: v.x.shape == v.x_eval.shape,
}


class Bug(NamedTuple):
    """The stage that the bug is made in, a key of `WHERE`, and how the bug is made."""

    stage: str  # "" if the bug's first argument is its stage
    where: str
    plant: Plant


# Bugs are planted in this order: of two bugs in one place, the later one wins.  Finite differences come after
# Gauss-Newton, because Gauss-Newton is exact for a linear model and they are not.
# fmt: off
BUGS: dict[str, Bug] = {
    "sum-over-outputs": Bug("loss", "several outputs", setting(over_outputs=torch.sum, hessian_over_outputs=torch.sum)),
    "mean-over-examples": Bug("loss", "several examples", deriving(divisor=lambda code: len(code.x))),
    "sum-over-batch": Bug("loss", "mini-batches", setting(over_examples=torch.sum)),
    "targets-plus-minus-one": Bug("loss", "bce", adding("target_maps", lambda y: 2 * y - 1)),
    "double-sigmoid": Bug("loss", "bce", adding("logit_maps", torch.sigmoid)),
    "double-softmax": Bug("loss", "softmax", adding("logit_maps", lambda z: z.softmax(1))),
    "clipped-probabilities": Bug("loss", "bce", adding("logit_maps", lambda z: z.clamp(-CLIP, CLIP))),
    "shifted-labels": Bug("loss", "softmax", deriving(y=lambda code: (code.y + 1) % code.vector.model.n_out)),
    "softplus-threshold": Bug("", "anywhere", threshold),
    "other-activation": Bug("logits", "mish", lambda code, name: replacing(Mish, getattr(nn, name))(code)),
    "flipped-kernels": Bug("logits", "convolutions", modules(Conv, flipped=True)),
    "transposed-weight": Bug("logits", "square weight", replacing(nn.Linear, TransposedLinear)),
    "same-padding": Bug("logits", "convolutions", same_padding),
    "max-pool-zero-padding": Bug("logits", "convolutions", modules(MaxPool, fill=0.0)),
    "average-pool-divides-by-four": Bug("logits", "strided stages", replacing(nn.AvgPool2d, PaddedAveragePool)),
    "max-pool-shares-ties": Bug("grad", "convolutions", modules(MaxPool, shares_ties=True)),
    "no-shortcut-norm": Bug("logits", "shortcut norm", no_shortcut_norm),
    "batch-norm-of-all": Bug("logits", "batch-norm of examples", setting(batch_norm_of="all")),
    "batch-norm-of-one": Bug("logits", "batch-norm of examples", setting(batch_norm_of="one")),
    "batch-norm-evaluation-mode": Bug("logits", "batch-norm of batches", setting(training=False)),
    "detached-statistics": Bug("grad", "batch-norm of batches", modules(BatchNorm, detached=True)),
    "unbiased-variance": Bug("logits", "batch-norm of batches", modules(BatchNorm, correction=1)),
    "batch-norm-epsilon": Bug("logits", "convolutions", lambda code, eps: modules(BatchNorm, eps=float(eps))(code)),
    "epsilon-outside-root": Bug("logits", "convolutions", modules(BatchNorm, epsilon_outside_root=True)),
    "fresh-statistics": Bug("logits", "convolutions", deriving(buffers=initial_statistics)),
    "variance-for-deviation": Bug("logits", "convolutions", modules(BatchNorm, variance_for_deviation=True)),
    "gauss-newton": Bug("hvp", "anywhere", setting(product=gauss_newton)),
    "finite-differences": Bug("hvp", "anywhere", deriving(product=lambda code, kind, step: differences(kind, step))),
    "layerwise-hessian": Bug("hvp", "anywhere", deriving(product=lambda code: layerwise(code.product))),
    "hessian-of-sum": Bug("hvp", "several outputs", setting(hessian_over_outputs=torch.sum)),
    "hessian-of-mean": Bug("hvp", "several examples", setting(hessian_of_mean=True)),
    "own-gradient": Bug("hvp", "anywhere", setting(own_gradient=True)),
    "direction-lacks-group": Bug("hvp", "anywhere", leave_out),
    "normalised-direction": Bug("hvp", "anywhere", adding("direction_maps", lambda d: times(1 / norm(d), d))),
    "pair-order-swapped": Bug("hvp", "anywhere", setting(pairs_swapped=True)),
    "sign-swapped": Bug("bracket", "anywhere", setting(terms_swapped=True)),
    "plus-for-minus": Bug("bracket", "anywhere", setting(bracket=torch.add)),
    "first-term-only": Bug("bracket", "anywhere", setting(bracket=lambda first, second: first)),
    "second-term-only": Bug("bracket", "anywhere", setting(bracket=lambda first, second: -second)),
    "pushed-onto-x": Bug("logit_delta", "x_eval like x", deriving(x_eval=lambda code: code.x)),
    "probability-change": Bug("logit_delta", "anywhere", deriving(output_map=probabilities)),
    "finite-change": Bug("logit_delta", "anywhere", setting(finite_change=True)),
    "factor": Bug("", "anywhere", factor),
    "lower-precision": Bug("logits", "anywhere", lower_precision),
}
# fmt: on
ARGUMENTS = {
    "other-activation": ["ReLU", "SiLU"],
    "batch-norm-epsilon": ["1e-3"],
    "finite-differences": ["forward:1e-3", "central:1e-2", "forward-relative:1e-3"],
    "direction-lacks-group": list(GROUPS),
    "softplus-threshold": ["logits", "loss"],
    "factor": ["bracket:1e-4", "hvp:2", "grad:n"],
    "lower-precision": ["float32", "bfloat16"],
}
PLANTED = [":".join([name, argument]).rstrip(":") for name in BUGS for argument in ARGUMENTS.get(name, [""])]


def stage(bug: str) -> str:
    """The first output that is wrong."""
    name, *arguments = bug.split(":")
    return BUGS[name].stage or arguments[0]


def answers(vector: Any, bugs: Collection[str] = (), dtype: torch.dtype = torch.float64) -> dict[str, np.ndarray]:
    """All outputs of the vector, computed with all of these bugs.  Raises NotApplicable if one cannot be made."""
    planted = [bug.split(":") for bug in sorted(bugs, key=lambda bug: list(BUGS).index(bug.split(":")[0]))]
    for name, *_ in planted:
        if not WHERE[BUGS[name].where](vector):
            raise NotApplicable(f"{name} on {vector.name}")
    code = Implementation(vector, dtype)
    for name, *arguments in planted:
        BUGS[name].plant(code, *arguments)
    return code.answers()
