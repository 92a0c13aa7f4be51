"""Answers to a test vector in PyTorch, right or with any bugs of the catalogue planted as people write them.

A bug is its name in the catalogue, followed by what it needs to be told, after colons: "sign-swapped",
"factor:bracket:1e-4", "finite-differences:central:1e-2", "direction-lacks-group:biases". `PLANTED` lists them.
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

from .mxresnet_torch import MXResNet, ResBlock, mlp

Tree = dict[str, Tensor]
STAGES = ("logits", "loss", "grad", "hvp", "bracket", "logit_delta")


class NotApplicable(Exception):
    """The vector has nothing that the bug could be made in."""


# ---------------------------------------------------------------- modules, right as they stand or not


def softplus(z: Tensor) -> Tensor:
    """log(1 + exp z), to full precision at any z, and so its derivatives (PyTorch's own lose digits at large z)."""
    positive = z >= 0
    return torch.where(positive, z, 0.0) + torch.log1p(torch.exp(-torch.where(positive, z, -z)))


class Mish(nn.Module):
    """x tanh(softplus x), of which PyTorch's own has no second derivative at large x."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.tanh(softplus(x))


def edges(x: Tensor, kernel: int, stride: int, same: bool) -> list[int]:
    """Padding [left, right, top, bottom] as PyTorch users give it, or with `same` as TensorFlow's "SAME" does."""
    if not same:
        return [kernel // 2] * 4
    padding = []
    for length in (x.shape[-1], x.shape[-2]):
        total = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
        padding += [total // 2, total - total // 2]
    return padding


class Conv(nn.Conv2d):
    """A convolution without bias."""

    flipped = same = False

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.flip(-2, -1) if self.flipped else self.weight
        return F.conv2d(F.pad(x, edges(x, self.kernel_size[0], self.stride[0], self.same)), weight, stride=self.stride)


class MaxPool(nn.MaxPool2d):
    """A max-pool with the padding written out."""

    fill = -math.inf
    same = shares_ties = False

    def forward(self, x: Tensor) -> Tensor:
        k, s = self.kernel_size, self.stride
        x = F.pad(x, edges(x, k, s, self.same), value=self.fill)
        if self.shares_ties:  # as the derivative of `amax` does
            return x.unfold(2, k, s).unfold(3, k, s).amax((-2, -1))
        return F.max_pool2d(x, k, s)


class BatchNorm(nn.BatchNorm2d):
    """Batch-norm in elementary operations; in training mode it leaves the running statistics as they are."""

    correction = 0
    detached = epsilon_outside_root = variance_for_deviation = False

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (channels,), of the batch or running."""
        if not self.training:
            return self.running_mean, self.running_var
        if x.numel() == x.shape[1]:
            raise NotApplicable("batch-norm in training mode of a single value per channel")
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=self.correction)
        return (mean.detach(), variance.detach()) if self.detached else (mean, variance)

    def deviation(self, variance: Tensor) -> Tensor:
        """What to divide by, (channels,)."""
        if self.variance_for_deviation and not self.training:
            return variance + self.eps
        return variance.sqrt() + self.eps if self.epsilon_outside_root else (variance + self.eps).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.statistics(x)
        mean, scale, bias = (t[:, None, None] for t in (mean, self.weight / self.deviation(variance), self.bias))
        return (x - mean) * scale + bias


class TransposedLinear(nn.Linear):
    """A square linear layer that takes its weight for (in, out)."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class PaddedAveragePool(nn.AvgPool2d):
    """A 2 × 2 average-pool that pads odd sides with zeros, and counts them."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, [0, x.shape[-1] % 2, 0, x.shape[-2] % 2]), 2)


class LeftOut(nn.Module):
    """A layer that was forgotten; it keeps its parameters."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def change_class(net: nn.Module, old: type, new: type, where: Callable[[Any], bool] = lambda module: True) -> None:
    """Give every module of class `old` another forward pass; it keeps its parameters and their names."""
    for module in net.modules():
        if type(module) is old and where(module):
            module.__class__ = new


def network(spec: dict[str, Any]) -> nn.Module:
    """The network of a vector's `spec`, with the modules above in place of PyTorch's."""
    arguments = {name: value for name, value in spec.items() if name != "kind"}
    net = {"mlp": mlp, "mxresnet": MXResNet}[spec["kind"]](**arguments)
    for old, new in ((nn.Conv2d, Conv), (nn.MaxPool2d, MaxPool), (nn.BatchNorm2d, BatchNorm), (nn.Mish, Mish)):
        change_class(net, old, new)
    return net


# ---------------------------------------------------------------- losses, each (m, outputs)


def binary_cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    return y * softplus(-z) + (1 - y) * softplus(z)


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """(m, 1), from differences with the largest logit, so that probabilities near 1 keep their digits."""
    top = z.argmax(1, keepdim=True)
    largest = z.gather(1, top)
    others = torch.exp(z - largest).scatter(1, top, 0.0).sum(1, keepdim=True)
    return largest - z.gather(1, y[:, None]) + torch.log1p(others)


LOSSES = {"bce": binary_cross_entropy, "softmax": cross_entropy, "mse": lambda z, y: (z - y).square()}
CLIP = math.log((1 - 1e-7) / 1e-7)


# ---------------------------------------------------------------- products of the Hessian, or what is taken for one


class Objective(NamedTuple):
    """A loss of the parameters, in its two parts: the logits (m, k), and the loss of them."""

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
    """The product with one parameter tensor at a time, all others constants."""

    def blocks(objective: Objective, theta: Tree, direction: Tree) -> Tree:
        answer = {}
        for name in theta:
            logits = lambda tensor: objective.logits({**theta, **tensor})  # noqa: E731
            block = Objective(logits, objective.loss)
            answer |= product(block, {name: theta[name]}, {name: direction[name]})
        return answer

    return blocks


def differences(kind: str, step: str) -> Product:
    """Differences of two gradients: `kind` is "forward" or "central", with "-relative" for a step of h / ‖d‖."""

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
    """Euclidean norm of all tensors together."""
    size = torch.stack([value.norm() for value in tree.values()]).norm()
    if size == 0:
        raise NotApplicable("a direction of norm 0")
    return size


def normalised(direction: Tree) -> Tree:
    return times(1 / norm(direction), direction)


def names_of(net: nn.Module, kind: type) -> list[str]:
    """The parameters of every module of a kind."""
    modules = ((prefix, module) for prefix, module in net.named_modules() if isinstance(module, kind))
    return [f"{prefix}.{name}" for prefix, module in modules for name, _ in module.named_parameters(recurse=False)]


GROUPS: dict[str, Callable[[nn.Module], list[str]]] = {
    "biases": lambda net: [name for name, _ in net.named_parameters() if name.endswith(".bias")],
    "batch-norm": lambda net: names_of(net, BatchNorm),
    "head": lambda net: names_of(net, nn.Linear)[-2:],
    "convolutions": lambda net: names_of(net, Conv),
}


# ---------------------------------------------------------------- the pipeline


class Implementation:
    """An implementer's code: right as it is made; planting a bug changes one of its parts."""

    def __init__(self, vector: Any, dtype: torch.dtype) -> None:
        tensor = lambda array: torch.from_numpy(np.array(array)).to(dtype)  # noqa: E731
        self.vector = vector
        self.net = network(vector.model.spec)
        self.params = {name: tensor(value) for name, value in vector.params.items()}
        self.buffers = {name: tensor(value) for name, value in vector.buffers.items()}
        assert set(self.params) == {name for name, _ in self.net.named_parameters()}
        self.x, self.x_eval = tensor(vector.x), tensor(vector.x_eval)
        self.y = torch.from_numpy(np.array(vector.y))
        # The fields: the mode of batch-norm, what goes through together, what the loss is given, how it is reduced.
        self.training, self.training_when_pushed = vector.training, False
        self.alone = self.together = False
        self.logit_maps: list[Callable[[Tensor], Tensor]] = []
        self.target_maps: list[Callable[[Tensor], Tensor]] = []
        self.loss_of_outputs = LOSSES[vector.loss]
        self.over_outputs = self.over_outputs_in_hessian = self.over_examples = torch.mean
        self.divisor = 1
        # The products.
        self.product: Product = exact
        self.direction_maps: list[Callable[[Tree], Tree]] = []
        self.pairs_swapped = self.own_gradient = self.hessian_of_mean = False
        # The bracket of the rows H_j g_i and H_i g_j, and its push-forward.
        self.terms_swapped = False
        self.bracket: Callable[[Tensor, Tensor], Tensor] = torch.sub
        self.output_map: Callable[[Tensor], Tensor] = lambda z: z
        self.finite_change = False
        self.factors = dict.fromkeys(STAGES, 1.0)

    def forward(self, theta: Tree, x: Tensor, training: bool) -> Tensor:
        """Logits (m, k)."""
        if self.alone and len(x) > 1:
            return torch.cat([self.forward(theta, example, training) for example in x.split(1)])
        self.net.train(training)
        return functional_call(self.net, {**self.buffers, **theta}, (x,))

    def loss(self, z: Tensor, y: Tensor, over_outputs: Callable[..., Tensor]) -> Tensor:
        """The loss of logits (m, k), a number."""
        y = y.to(z.dtype) if y.is_floating_point() else y
        for change in self.logit_maps:
            z = change(z)
        for change in self.target_maps:
            y = change(y)
        return self.over_examples(over_outputs(self.loss_of_outputs(z, y), 1), 0) / self.divisor

    def objective(self, i: int, over_outputs: Callable[..., Tensor]) -> Objective:
        """The loss of field i: of one example, or of one mini-batch."""
        if self.vector.batches:
            x, y = self.x[i], self.y[i]
        else:
            x, y = self.x[i : i + 1], self.y[i : i + 1]
        if self.together:
            logits = lambda theta: self.forward(theta, self.x, self.training)[i : i + 1]  # noqa: E731
        else:
            logits = lambda theta: self.forward(theta, x, self.training)  # noqa: E731
        return Objective(logits, lambda z: self.loss(z, y, over_outputs))

    def hessian_objective(self, i: int) -> Objective:
        """What field i's Hessian is the Hessian of."""
        if self.hessian_of_mean:
            logits = lambda theta: self.forward(theta, self.x, self.training)  # noqa: E731
            return Objective(logits, lambda z: self.loss(z, self.y, self.over_outputs_in_hessian))
        return self.objective(i, self.over_outputs_in_hessian)

    def gradient(self, i: int) -> Tree:
        gradient = grad(self.objective(i, self.over_outputs))(self.params)
        return times(self.factors["grad"], gradient)

    def hvp(self, i: int, direction: Tree) -> Tree:
        """H_i d."""
        for change in self.direction_maps:
            direction = change(direction)
        return times(self.factors["hvp"], self.product(self.hessian_objective(i), self.params, direction))

    def rows(self, i: int, j: int, gradients: list[Tree]) -> tuple[Tree, Tree]:
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
        """(n_eval, k): the change of the logits along a bracket."""
        logits = lambda theta: self.output_map(self.forward(theta, self.x_eval, self.training_when_pushed))  # noqa: E731
        if self.finite_change:
            change = logits(plus(self.params, bracket)) - logits(self.params)
        else:
            _, change = jvp(logits, (self.params,), (bracket,))
        return self.factors["logit_delta"] * change

    def answers(self) -> dict[str, np.ndarray]:
        """Every output of a test vector, under its key, in float64."""
        fields = [self.objective(i, self.over_outputs) for i in range(len(self.x))]
        logits = [field.logits(self.params) for field in fields]
        losses = [field.loss(z) for field, z in zip(fields, logits, strict=True)]
        gradients = [self.gradient(i) for i in range(len(fields))]
        rows = [self.rows(int(i), int(j), gradients) for i, j in self.vector.pairs]
        brackets = [self.bracket_of(*pair) for pair in rows]
        answers = {
            "logits": torch.stack(logits) if self.vector.batches else torch.cat(logits),
            "loss": torch.stack(losses),
            "logit_delta": torch.stack([self.push_forward(bracket) for bracket in brackets]),
        }
        for name in self.params:
            answers[f"grad/{name}"] = torch.stack([gradient[name] for gradient in gradients])
            answers[f"hvp/{name}"] = torch.stack([torch.stack([row[name] for row in pair]) for pair in rows])
            answers[f"bracket/{name}"] = torch.stack([bracket[name] for bracket in brackets])
        return {key: value.detach().double().numpy() for key, value in answers.items()}


# ---------------------------------------------------------------- the bugs: where each can be made, and what it changes

Where = Callable[[Any], bool]
Plant = Callable[..., None]  # takes the implementation, and what stands after the bug's name


class Bug(NamedTuple):
    """A mistake: the stage it is made in, the vectors it can be made on, and how it is made."""

    stage: str
    where: Where
    plant: Plant


def setting(**parts: Any) -> Plant:
    """Give parts of the implementation another value."""

    def plant(code: Implementation) -> None:
        for name, value in parts.items():
            setattr(code, name, value)

    return plant


def adding(part: str, change: Callable[[Any], Any]) -> Plant:
    """Put one more change into a list of them."""
    return lambda code: getattr(code, part).append(change)


def modules(kind: type, **parts: Any) -> Plant:
    """Give every module of a kind another value of an attribute."""

    def plant(code: Implementation) -> None:
        for module in code.net.modules():
            if isinstance(module, kind):
                for name, value in parts.items():
                    setattr(module, name, value)

    return plant


def instead(old: type, new: type, where: Callable[[Any], bool] = lambda module: True) -> Plant:
    """Put another module in the place of every one of a kind."""
    return lambda code: change_class(code.net, old, new, where)


def same_padding(code: Implementation) -> None:
    modules(Conv, same=True)(code)
    modules(MaxPool, same=True)(code)


def no_shortcut_norm(code: Implementation) -> None:
    for block in code.net.modules():
        if isinstance(block, ResBlock) and isinstance(block.idconv, nn.Sequential):
            block.idconv[1].__class__ = LeftOut


def fresh_statistics(code: Implementation) -> None:
    """Those of a network just made."""
    code.buffers = {name: torch.full_like(b, float(name.endswith("running_var"))) for name, b in code.buffers.items()}


def shift_labels(code: Implementation) -> None:
    spec = code.vector.model.spec
    classes = spec["n_out"] if "n_out" in spec else spec["sizes"][-1]
    code.target_maps.append(lambda y: (y + 1) % classes)


def leave_out(code: Implementation, group: str) -> None:
    names = GROUPS[group](code.net)
    if not names:
        raise NotApplicable(f"no parameters among the {group}")
    code.direction_maps.append(lambda d: {name: 0 * value if name in names else value for name, value in d.items()})


def threshold(code: Implementation, stage: str) -> None:
    """PyTorch's own softplus in the activations ("logits") or in the loss."""
    spec = code.vector.model.spec
    if stage == "loss" and code.vector.loss == "bce":
        code.loss_of_outputs = lambda z, y: F.softplus(z) - y * z
    elif stage == "logits" and spec.get("activation") == "softplus" and len(spec["sizes"]) > 2:
        modules(nn.Softplus, threshold=20.0)(code)
    else:
        raise NotApplicable(f"no softplus in the {stage}")


def wrap_product(code: Implementation) -> None:
    code.product = layerwise(code.product)


def probabilities(code: Implementation) -> None:
    code.output_map = (lambda z: z.softmax(1)) if code.vector.loss == "softmax" else torch.sigmoid


def push_onto_x(code: Implementation) -> None:
    code.x_eval = code.x


def factor(code: Implementation, stage: str, c: str) -> None:
    """`c` is a number, or "n", the number of examples: of all, or of a mini-batch."""
    code.factors[stage] *= examples_of(code.vector) if c == "n" else float(c)


def lower_precision(code: Implementation, name: str) -> None:
    """All in float32; or weights and inputs rounded to bfloat16, and the rest as it was."""
    narrow = {"float32": Tensor.float, "bfloat16": lambda t: t.bfloat16().to(t.dtype)}[name]
    code.params = {key: narrow(value) for key, value in code.params.items()}
    code.buffers = {key: narrow(value) for key, value in code.buffers.items()}
    code.x, code.x_eval = narrow(code.x), narrow(code.x_eval)


def examples_of(vector: Any) -> int:
    return vector.x.shape[1] if vector.batches else len(vector.x)


def anywhere(vector: Any) -> bool:
    return True


def loss_is(*losses: str) -> Where:
    return lambda vector: vector.loss in losses


def several_outputs(vector: Any) -> bool:
    return vector.loss in ("bce", "mse") and vector.y.shape[-1] > 1


def several_examples(vector: Any) -> bool:
    return not vector.batches and len(vector.x) > 1


def mini_batches(vector: Any) -> bool:
    return vector.batches and vector.x.shape[1] > 1


def mish(vector: Any) -> bool:
    spec = vector.model.spec
    return spec["kind"] == "mxresnet" or (spec["activation"] == "mish" and len(spec["sizes"]) > 2)


def convolutional(vector: Any) -> bool:
    return vector.model.spec["kind"] == "mxresnet"


def strided_stages(vector: Any) -> bool:
    return convolutional(vector) and len(vector.model.spec["widths"]) > 1


def square_linear(vector: Any) -> bool:
    return any(p.ndim == 2 and p.shape[0] == p.shape[1] > 1 for p in vector.params.values())


def shortcut_norm(vector: Any) -> bool:
    return any(".idconv.1." in name for name in vector.params)


def examples_through_batch_norm(vector: Any) -> bool:
    return convolutional(vector) and not vector.batches


def batch_norm_of_batches(vector: Any) -> bool:
    return convolutional(vector) and vector.training


def evaluation_like_x(vector: Any) -> bool:
    return vector.x.shape == vector.x_eval.shape


# Planted in this order, so that of two bugs in one place the later one has the last word. Finite differences come after
# Gauss-Newton, which is exact for a linear model, where they are not.
BUGS: dict[str, Bug] = {
    "sum-over-outputs": Bug(
        "loss", several_outputs, setting(over_outputs=torch.sum, over_outputs_in_hessian=torch.sum)
    ),
    "mean-over-examples": Bug("loss", several_examples, lambda code: setting(divisor=len(code.x))(code)),
    "sum-over-batch": Bug("loss", mini_batches, setting(over_examples=torch.sum)),
    "targets-plus-minus-one": Bug("loss", loss_is("bce"), adding("target_maps", lambda y: 2 * y - 1)),
    "double-sigmoid": Bug("loss", loss_is("bce"), adding("logit_maps", torch.sigmoid)),
    "double-softmax": Bug("loss", loss_is("softmax"), adding("logit_maps", lambda z: z.softmax(1))),
    "clipped-probabilities": Bug("loss", loss_is("bce"), adding("logit_maps", lambda z: z.clamp(-CLIP, CLIP))),
    "shifted-labels": Bug("loss", loss_is("softmax"), shift_labels),
    "softplus-threshold": Bug("", anywhere, threshold),  # in the stage that it names
    "relu-for-mish": Bug("logits", mish, instead(Mish, nn.ReLU)),
    "silu-for-mish": Bug("logits", mish, instead(Mish, nn.SiLU)),
    "flipped-kernels": Bug("logits", convolutional, modules(Conv, flipped=True)),
    "transposed-weight": Bug(
        "logits",
        square_linear,
        instead(nn.Linear, TransposedLinear, lambda layer: layer.in_features == layer.out_features),
    ),
    "same-padding": Bug("logits", convolutional, same_padding),
    "max-pool-zero-padding": Bug("logits", convolutional, modules(MaxPool, fill=0.0)),
    "average-pool-divides-by-four": Bug("logits", strided_stages, instead(nn.AvgPool2d, PaddedAveragePool)),
    "max-pool-shares-ties": Bug("grad", convolutional, modules(MaxPool, shares_ties=True)),
    "no-shortcut-norm": Bug("logits", shortcut_norm, no_shortcut_norm),
    "batch-norm-of-all": Bug(
        "logits", examples_through_batch_norm, setting(training=True, training_when_pushed=True, together=True)
    ),
    "batch-norm-of-one": Bug(
        "logits", examples_through_batch_norm, setting(training=True, training_when_pushed=True, alone=True)
    ),
    "batch-norm-evaluation-mode": Bug("logits", batch_norm_of_batches, setting(training=False)),
    "detached-statistics": Bug("grad", batch_norm_of_batches, modules(BatchNorm, detached=True)),
    "unbiased-variance": Bug("logits", batch_norm_of_batches, modules(BatchNorm, correction=1)),
    "batch-norm-epsilon": Bug("logits", convolutional, lambda code, eps: modules(BatchNorm, eps=float(eps))(code)),
    "epsilon-outside-root": Bug("logits", convolutional, modules(BatchNorm, epsilon_outside_root=True)),
    "fresh-statistics": Bug("logits", convolutional, fresh_statistics),
    "variance-for-deviation": Bug("logits", convolutional, modules(BatchNorm, variance_for_deviation=True)),
    "gauss-newton": Bug("hvp", anywhere, setting(product=gauss_newton)),
    "finite-differences": Bug("hvp", anywhere, lambda code, kind, step: setting(product=differences(kind, step))(code)),
    "layerwise-hessian": Bug("hvp", anywhere, wrap_product),
    "hessian-of-sum": Bug("hvp", several_outputs, setting(over_outputs_in_hessian=torch.sum)),
    "hessian-of-mean": Bug("hvp", several_examples, setting(hessian_of_mean=True)),
    "own-gradient": Bug("hvp", anywhere, setting(own_gradient=True)),
    "direction-lacks-group": Bug("hvp", anywhere, leave_out),
    "normalised-direction": Bug("hvp", anywhere, adding("direction_maps", normalised)),
    "pair-order-swapped": Bug("hvp", anywhere, setting(pairs_swapped=True)),
    "sign-swapped": Bug("bracket", anywhere, setting(terms_swapped=True)),
    "plus-for-minus": Bug("bracket", anywhere, setting(bracket=torch.add)),
    "first-term-only": Bug("bracket", anywhere, setting(bracket=lambda first, second: first)),
    "second-term-only": Bug("bracket", anywhere, setting(bracket=lambda first, second: -second)),
    "pushed-onto-x": Bug("logit_delta", evaluation_like_x, push_onto_x),
    "probability-change": Bug("logit_delta", anywhere, probabilities),
    "finite-change": Bug("logit_delta", anywhere, setting(finite_change=True)),
    "factor": Bug("", anywhere, factor),  # in the stage that it names
    "lower-precision": Bug("logits", anywhere, lower_precision),
}

ARGUMENTS = {
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
    return arguments[0] if name in ("factor", "softplus-threshold") else BUGS[name].stage


def applies(bug: str, vector: Any) -> bool:
    """Whether the vector has what the bug is made in; `answers` may find out more, and say so by `NotApplicable`."""
    return BUGS[bug.split(":")[0]].where(vector)


def answers(vector: Any, bugs: Collection[str] = (), dtype: torch.dtype = torch.float64) -> dict[str, np.ndarray]:
    """Every output of the vector, as the code with all these bugs gives it.  Raises NotApplicable where it cannot."""
    for bug in bugs:
        if not applies(bug, vector):
            raise NotApplicable(f"{bug} on {vector.name}")
    code = Implementation(vector, dtype)
    for bug in sorted(bugs, key=lambda bug: list(BUGS).index(bug.split(":")[0])):
        name, *arguments = bug.split(":")
        BUGS[name].plant(code, *arguments)
    return code.answers()
