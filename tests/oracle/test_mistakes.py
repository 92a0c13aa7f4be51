"""Each mistake of a table, written without the catalogue of bugs, is rejected by the vector beside it.

The table goes through what an implementation may get wrong and a vector may fail to show: kinks, thresholds and
overflow of activations and losses, ties and edges of pools, statistics, the order of examples and axes, precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache, partial
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.extend import defvjp, primitive
from autograd.tracer import getval

from lie_ref import oracle
from lie_ref.core.activations import mish, softplus, tanh
from lie_ref.core.engine import AUTOGRAD
from lie_ref.core.layers import EPS, Activation, AvgPool, BatchNorm, Conv, GlobalAvgPool, Linear, MaxPool, Residual
from lie_ref.core.layers import window_entries as windows
from lie_ref.core.losses import LossFunction, bce, one_hot, softmax
from lie_ref.fast.trees import with_layers
from lie_ref.oracle import Vector
from lie_ref.oracle.answers import QUANTITIES, Answers, gradient_norms, keyed, mapped
from lie_ref.oracle.comparison import Comparison, compared
from lie_ref.oracle.tolerance import norms

Make = Callable[[Vector], Answers]  # the answers of an implementation with the mistake


@cache
def right_answers(name: str, dtype: Any) -> Comparison:
    """The vector compared with its own answers in this precision: the errors that it allows."""
    v = oracle.load(name)
    return compared(v, {key: a.astype(dtype) for key, a in v.outputs.items()})


def rejected(name: str, make: Make, dtype: Any) -> bool:
    """Whether a quantity disagrees; each is computed only if those before it agree."""
    right = right_answers(name, dtype)
    with np.errstate(all="ignore"):
        answers = make(Vector.of(right.vector.astype(dtype), right.vector.outputs))
        for quantity in QUANTITIES:
            for key, a in keyed(quantity, answers[quantity]).items():
                error = norms(np.asarray(a).astype(dtype) - right.vector.outputs[key], key)
                if not (error <= right.allowed[key]).all():
                    return True
    return False


# Ways to make a mistake


def activation(wrong: Callable[[Any], Any]) -> Make:
    """Another function in place of the activation."""
    change = lambda a: replace(a, function=wrong) if isinstance(a, Activation) else a  # noqa: E731
    return lambda v: Answers(replace(v, model=with_layers(v.model, change)))


def loss(wrong: Callable[[Any, Any], Any]) -> Make:
    """Another definition in place of the loss."""
    return lambda v: Answers(replace(v, loss=LossFunction(wrong, labels=v.loss_function.labels)))


def problem(**changes: Callable[[Vector], Any]) -> Make:
    """Other inputs, targets, pairs, weights or statistics in place of the vector's."""
    return lambda v: Answers(replace(v, **{key: change(v) for key, change in changes.items()}))


def quantity(name: str, change: Callable[[Answers], Any]) -> Make:
    """A quantity made from the right answers, and all that follows from it."""
    return lambda v: Answers(v).replaced(**{name: lambda _: change(Answers(v))})


def layer(right: type, apply: Callable[..., Any], where: Callable[[Any], bool] = lambda _: True) -> Make:
    """apply(layer, params, buffers, x, training) in place of what the layers of this class do."""
    wrong = type("Wrong", (right,), {"apply": apply})

    def change(a: Any) -> Any:
        return wrong(*(getattr(a, f.name) for f in fields(a))) if type(a) is right and where(a) else a

    return lambda v: Answers(replace(v, model=with_layers(v.model, change)), AUTOGRAD)


def kernels(change: Callable[[Any], Any], where: Callable[[Any], bool] = lambda _: True) -> Make:
    """Convolutions that read their kernels (out, in, row, column) in another way."""

    def apply(self: Conv, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return Conv.apply(self, {f"{self.name}.weight": change(params[f"{self.name}.weight"])}, buffers, x)

    return layer(Conv, apply, where)


def padding(right: type, kernel: Callable[[Any], int], stride: Callable[[Any], int]) -> Make:
    """Padded as "SAME": as little as the stride allows, with the smaller half before."""

    def padding(self: Any, length: int) -> tuple[int, int]:
        total = max((-(-length // stride(self)) - 1) * stride(self) + kernel(self) - length, 0)
        return total // 2, total - total // 2

    wrong = type("Wrong", (right,), {"padding": padding})
    change = lambda a: wrong(*(getattr(a, f.name) for f in fields(a))) if type(a) is right else a  # noqa: E731
    return lambda v: Answers(replace(v, model=with_layers(v.model, change)), AUTOGRAD)


def normed(x: Any, mean: Any, variance: Any, weight: Any, bias: Any) -> Any:
    return (x - mean) / anp.sqrt(variance + EPS) * weight + bias


def norm(formula: Callable[..., Any] = normed, statistics: Callable[..., Any] = BatchNorm.statistics) -> Make:
    """Batch-norm by formula(x, mean, variance, weight, bias) and statistics(layer, buffers, x, training)."""

    def apply(self: BatchNorm, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        weight, bias = (params[f"{self.name}.{key}"][:, None, None] for key in ("weight", "bias"))
        return formula(x, *statistics(self, dict(buffers), x, training), weight, bias)

    return layer(BatchNorm, apply)


def batch_statistics(wrong: Callable[[Any], Any]) -> Make:
    """Batch-norm with wrong(x) as the mean and variance in training mode."""
    right = BatchNorm.statistics
    return norm(statistics=lambda a, buffers, x, training: wrong(x) if training else right(a, buffers, x, False))


def moments(
    x: Any, axes: tuple[int, ...] = (0, 2, 3), mean_of: Any = lambda a: a, deviation_of: Any = lambda a: a
) -> Any:
    mean = mean_of(anp.mean(x, axis=axes, keepdims=True))
    deviation = deviation_of(x - anp.mean(x, axis=axes, keepdims=True))
    return mean, anp.mean(deviation**2, axis=axes, keepdims=True)


# Activations and losses


def absolute(x: Any) -> Any:
    """|x| with slope 0 at 0."""
    return np.sign(getval(x)) * x


def split_softplus(x: Any, of_max: float, of_abs: float) -> Any:
    """max(x, 0) + log(1 + exp(−|x|)), where the maximum and |x| have these slopes at 0."""
    at_zero = getval(x) == 0
    return ((getval(x) > 0) + of_max * at_zero) * x + anp.log1p(anp.exp(-(np.sign(getval(x)) + of_abs * at_zero) * x))


def naive_softplus(x: Any) -> Any:
    return anp.log(1 + anp.exp(x))


def unsafe_softplus(x: Any) -> Any:
    return anp.where(x > 30, x, naive_softplus(x))


def from_threshold(t: float, x: Any) -> Any:
    """Softplus that is x beyond t."""
    return anp.where(x > t, x, softplus(x))


def split_tanh(x: Any) -> Any:
    e = anp.exp(-2 * absolute(x))
    return np.sign(getval(x)) * (1 - e) / (1 + e)


def naive_tanh(x: Any) -> Any:
    return (anp.exp(x) - anp.exp(-x)) / (anp.exp(x) + anp.exp(-x))


@primitive
def cosh_tanh(x: Any) -> Any:
    """tanh x with the slope 1/cosh² x."""
    return np.tanh(x)


defvjp(cosh_tanh, lambda _, x: lambda g: g / anp.cosh(x) ** 2)


def naive_mish(x: Any) -> Any:
    square = (1 + anp.exp(x)) ** 2
    return x * (square - 1) / (square + 1)


def sigmoid(z: Any) -> Any:
    return anp.exp(-softplus(-z))


def probabilities(z: Any) -> Any:
    e = anp.exp(z - np.max(getval(z), axis=-1, keepdims=True))
    return e / anp.sum(e, axis=-1, keepdims=True)


def bce_of(p: Any, q: Any, y: Any) -> Any:
    """From the probabilities p of 1 and q of 0."""
    return -anp.mean(y * anp.log(p) + (1 - y) * anp.log(q), axis=-1)


def bce_by(f: Callable[[Any], Any], z: Any, y: Any) -> Any:
    """From a function in place of softplus, on one side."""
    return anp.mean(f(z) - y * z, axis=-1)


def bce_by_two(f: Callable[[Any], Any], z: Any, y: Any) -> Any:
    return anp.mean(y * f(-z) + (1 - y) * f(z), axis=-1)


def cut_bce(least: float, z: Any, y: Any) -> Any:
    """Of probabilities from `least` to 1 − `least`."""
    largest = np.log(1 / least - 1)
    return bce(anp.clip(z, -largest, largest), y)


def of_label(a: Any, y: Any) -> Any:
    return anp.sum(a * one_hot(getval(a), y), axis=-1)


def softmax_of(change: Callable[[Any], Any], z: Any, y: Any) -> Any:
    """From the changed probability of the label."""
    return -anp.log(change(of_label(probabilities(z), y)))


def ignoring(label: Callable[[int], int], z: Any, y: Any) -> Any:
    return softmax(z, y) * (y != label(z.shape[-1]))


def pairwise_softmax(z: Any, y: Any) -> Any:
    """log Σ exp by max(a, b) + log(1 + exp(−|a − b|)), where the maximum has the slope ½ and |x| the slope 0 at 0."""
    total = z[..., 0]
    for k in range(1, z.shape[-1]):
        total = z[..., k] + split_softplus(total - z[..., k], 0.5, 0.0)
    return total - of_label(z, y)


def smoothed_softmax(z: Any, y: Any) -> Any:
    """With a thousandth of every label."""
    return softmax(z, y) + 1e-3 * (of_label(z, y) - anp.mean(z, axis=-1))


def huber(delta: float, z: Any, y: Any) -> Any:
    r = absolute(z - y)
    return anp.mean(anp.where(r <= delta, r**2, 2 * delta * r - delta**2), axis=-1)


def mse_of_norm(z: Any, y: Any) -> Any:
    return anp.sqrt(anp.sum((z - y) ** 2, axis=-1)) ** 2 / z.shape[-1]


# Layers


def padded_by(mode: str) -> Make:
    """Convolutions that pad by numpy.pad's mode."""

    def apply(self: Conv, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        rows, columns = (np.pad(np.arange(n), self.kernel // 2, mode=mode) for n in x.shape[2:])
        entries, w = windows(x[:, :, rows][..., columns], self.kernel, self.stride), params[f"{self.name}.weight"]
        places = np.ndindex(self.kernel, self.kernel)
        total = sum(anp.tensordot(w[:, :, i, j], e, axes=(1, 1)) for (i, j), e in zip(places, entries, strict=True))
        return anp.swapaxes(total, 0, 1)

    return layer(Conv, apply)


def second_places(self: Conv, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
    """A strided convolution that takes every second place from the second on."""
    whole = replace(self, stride=1)
    rows, columns = (np.minimum(np.arange(1, n + 1, 2), n - 1) for n in x.shape[2:])
    return Conv.apply(whole, params, buffers, x)[:, :, rows][..., columns]


def stride_at_first(v: Vector) -> Answers:
    """Bottlenecks with the stride in the first convolution, as in the first ResNets."""
    strides = {"5.0.convs.0.0": 2, "5.0.convs.1.0": 1}
    change = lambda a: replace(a, stride=strides[a.name]) if a.name in strides else a  # noqa: E731
    return Answers(replace(v, model=with_layers(v.model, change)), AUTOGRAD)


def surrounded(x: Any, rows: tuple[int, int], columns: tuple[int, int], fill: float = 0.0) -> Any:
    return anp.pad(x, ((0, 0), (0, 0), rows, columns), "constant", constant_values=fill)


def max_pool(weights: Callable[[Any], Any], fill: float = -np.inf) -> Make:
    """A max-pool with weights(hits) (9, …), of which entries of a window are its largest; ties must be zeros."""

    def apply(self: MaxPool, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        entries = windows(surrounded(x, (1, 1), (1, 1), fill), 3, 2)
        values = np.array([getval(e) for e in entries])
        taken = zip(weights(values == values.max(axis=0)), entries, strict=True)
        return sum(anp.where(w > 0, e, 0.0) * w for w, e in taken)

    return layer(MaxPool, apply)


def first_of(order: list[int]) -> Callable[[Any], Any]:
    """All weight on the first of equal entries in this order."""
    return lambda hits: np.moveaxis(np.eye(9)[np.array(order)[hits[order].argmax(axis=0)]], -1, 0)


def in_ceil_mode(self: MaxPool, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
    """With a further window at even edges."""
    rows, columns = ((1, 2 - n % 2) for n in x.shape[2:])
    entries = windows(surrounded(x, rows, columns, -1e30), 3, 2)
    first = np.argmax([getval(e) for e in entries], axis=0)
    return sum(anp.where(first == n, e, 0.0) for n, e in enumerate(entries))


def average_pool(counts: Callable[[Any, Any], Any]) -> Make:
    """The sum over each window divided by counts(rows of it, columns of it)."""

    def apply(self: AvgPool, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        entries = windows(surrounded(x, *((0, n % 2) for n in x.shape[2:])), 2, 2)
        rows, columns = (np.minimum(2, n - np.arange(0, n, 2)) for n in x.shape[2:])
        return sum(entries) / counts(rows[:, None], columns[None])

    return layer(AvgPool, apply)


def global_pool(mean: Callable[[Any], Any]) -> Make:
    return layer(GlobalAvgPool, lambda self, params, buffers, x, training=False: mean(x))


def residual(joined: Callable[..., Any], where: Callable[[Residual], bool] = lambda _: True) -> Make:
    """joined(activation, main branch, shortcut) in place of activation(main branch + shortcut)."""

    def apply(self: Residual, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        branches = (branch.apply(params, buffers, x, training) for branch in (self.convs, self.shortcut))
        return joined(self.activation.function, *branches)

    return layer(Residual, apply, where)


def linear(formula: Callable[..., Any], where: Callable[[Linear], bool] = lambda _: True) -> Make:
    def apply(self: Linear, params: Any, buffers: Any, x: Any, training: bool = False) -> Any:
        return formula(x, params[f"{self.name}.weight"], params[f"{self.name}.bias"])

    return layer(Linear, apply, where)


# Problems and quantities


def rolled(v: Vector) -> Any:
    """The targets of the example, or mini-batch, before."""
    return np.roll(v.y, 1, axis=0)


def rolled_within(v: Vector) -> Any:
    """The targets of the member before, within each mini-batch."""
    return np.roll(v.y, 1, axis=1)


def interleaved(a: Any) -> Any:
    """(b, m, …) read as (m, b, …)."""
    return a.swapaxes(0, 1).reshape(a.shape)


def reversed_order(v: Vector, kind: str) -> Any:
    """The statistics of this kind of layers with equal channels, in the reverse order."""
    buffers = dict(v.buffers)
    for shape in {b.shape for b in v.buffers.values()}:
        names = [name for name, b in v.buffers.items() if b.shape == shape and name.endswith(kind)]
        buffers |= {name: v.buffers[other] for name, other in zip(names, reversed(names), strict=True)}
    return buffers


def evaluated_with(buffers: Callable[[Vector], Any]) -> Make:
    """Logit changes with other running statistics."""

    def make(v: Vector) -> Answers:
        other = replace(v, buffers={k: np.asarray(b, v.x.dtype) for k, b in buffers(v).items()})
        return Answers(v).replaced(logit_delta=lambda a: a.engine.push_forward(other, v.x_eval, a.bracket)[1])

    return make


def trained(v: Vector) -> Any:
    """The buffers after a training pass over each mini-batch."""
    buffers = dict(v.buffers)
    for x in v.x:
        v.model.network.apply(v.params, buffers, x, training=True)
    return buffers


def fresh(v: Vector) -> Any:
    return v.model.init(seed=0, dtype=v.x.dtype)[1]


def detached_products(v: Vector) -> Answers:
    """Right gradients, but products with constant statistics."""
    wrong = batch_statistics(lambda x: moments(getval(x)))(v)
    return Answers(v).replaced(hvp=lambda _: wrong.hvp)


def logits_of_x_eval(v: Vector) -> Answers:
    return Answers(v).known({"logits": Answers(replace(v, x=v.x_eval)).logits})


def along_rows(factor: Any, a: Any) -> Any:
    """Factors (n,) or (p, 2), one a row of a gradient or product."""
    return factor.reshape(*factor.shape, *(1,) * (a.ndim - factor.ndim))


def clipped(largest: float, a: Answers) -> Any:
    """Gradients of a norm of at most `largest`."""
    factor = np.minimum(1, largest / gradient_norms(a.grad))
    return mapped(lambda g: g * along_rows(factor, g), a.grad)


def normalised(a: Answers) -> Any:
    """Products with normalised gradients times their norms: nan for a gradient of 0."""
    norms = gradient_norms(a.grad)[a.problem.pairs]
    return mapped(lambda h: h / along_rows(norms, h) * along_rows(norms, h), a.hvp)


def damped(damping: float, a: Answers) -> Any:
    """Products with H + damping · I."""
    return {name: h + damping * a.grad[name][a.problem.pairs] for name, h in a.hvp.items()}


def decayed(decay: float, a: Answers) -> Any:
    """Gradients of the loss with weight decay."""
    return {name: g + decay * a.problem.params[name] for name, g in a.grad.items()}


def rounded(bits: int, a: Any) -> Any:
    """The nearest numbers with this many bits: 8 for bfloat16, 11 for float16 and TF32, 24 for float32."""
    fraction, exponent = np.frexp(a)
    return np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits).astype(a.dtype)


def kept(bits: int, part: str) -> Make:
    """An input or a set of weights rounded to this many bits."""
    return problem(**{part: lambda v: mapped(partial(rounded, bits), getattr(v, part))})


# fmt: off
MISTAKES: dict[str, dict[str, Make]] = {  # by the vector that sees them
    "mlp-at-zero-relu": {
        "slope 1 at 0": activation(lambda x: anp.where(x >= 0, x, 0.0)),
        "slope ½ at 0": activation(lambda x: anp.maximum(x, 0.0)),
        "ReLU as (x + |x|)/2": activation(lambda x: (x + absolute(x)) / 2),
        "ReLU as (x + √x²)/2": activation(lambda x: (x + anp.sqrt(x**2)) / 2),
        "ReLU6": activation(lambda x: anp.clip(x, 0.0, 6.0)),
        "ReLU capped at 20": activation(lambda x: anp.clip(x, 0.0, 20.0)),
        **{f"Huber's loss, δ = {delta}": loss(partial(huber, delta)) for delta in (1, 5, 10)},
        "mse of |z − y|": loss(lambda z, y: anp.mean(absolute(z - y) ** 2, axis=-1)),
        "mse of the norm": loss(mse_of_norm),
        "directions divided by their norm 0": quantity("hvp", normalised),
    },
    "mlp-relu-at-zero": {
        "slope 1 at 0 in the second layer": activation(lambda x: anp.where(x >= 0, x, 0.0)),
        "leaky ReLU": activation(lambda x: anp.where(x > 0, x, 0.001 * x)),
    },
    "mlp-at-zero-tanh": {
        "tanh of |x|": activation(split_tanh),
        **{f"bce of |z|, slopes {a} and {b} at 0": loss(partial(bce_by, partial(split_softplus, of_max=a, of_abs=b)))
           for a, b in ((0.5, 0), (1, 0), (0, 0), (0, 1), (0.5, 1))},
    },
    "mlp-at-zero-softplus": {
        f"softplus of |x|, slopes {a} and {b} at 0": activation(partial(split_softplus, of_max=a, of_abs=b))
        for a, b in ((0.5, 0), (1, 0), (0, 0), (0, 1))
    },
    "mlp-at-zero-mish": {
        **{f"Mish of |x|, slopes {a} and 0 at 0": activation(lambda x, a=a: x * anp.tanh(split_softplus(x, a, 0)))
           for a in (1, 0)},
        "log Σ exp by pairs": loss(pairwise_softmax),
    },
    "mlp-large-tanh": {
        "tanh that overflows": activation(naive_tanh),
        "tanh whose slope 1/cosh² overflows": activation(cosh_tanh),
        "tanh cut at ±5": activation(lambda x: anp.tanh(anp.clip(x, -5, 5))),
        "bce with softplus that overflows": loss(partial(bce_by, naive_softplus)),
        "bce with softplus that overflows where it is not taken": loss(partial(bce_by, unsafe_softplus)),
        "bce of e^z / (1 + e^z)": loss(lambda z, y: bce_of(anp.exp(z) / (1 + anp.exp(z)), 1 / (1 + anp.exp(z)), y)),
    },
    "mlp-large-softplus": {
        "softplus that overflows": activation(naive_softplus),
        "softplus that overflows where it is not taken": activation(unsafe_softplus),
        "softplus of inputs cut at ±50": activation(lambda x: softplus(anp.clip(x, -50, 50))),
    },
    "mlp-large-mish": {
        "Mish that overflows": activation(naive_mish),
        "Mish with softplus that overflows": activation(lambda x: x * anp.tanh(naive_softplus(x))),
        "Mish with tanh whose slope 1/cosh² overflows": activation(lambda x: x * cosh_tanh(softplus(x))),
        "Mish that is 0 below −7": activation(lambda x: anp.where(x < -7, 0.0, mish(x))),
    },
    "mlp-mish-bce": {"SiLU": activation(lambda x: x * sigmoid(x))},
    "mlp-saturated-bce-30": {
        **{f"bce of probabilities cut to {e}": loss(partial(cut_bce, e)) for e in (1e-3, 1e-7)},
        **{f"bce of log(p + {e})": loss(lambda z, y, e=e: bce_of(sigmoid(z) + e, sigmoid(-z) + e, y))
           for e in (1e-6, 1e-12)},
        "square weights transposed": linear(lambda x, w, b: anp.dot(x, w) + b, lambda a: a.n_in == a.n_out),
    },
    "mlp-saturated-bce-800": {
        "bce of probabilities cut to 1e-12": loss(partial(cut_bce, 1e-12)),
        "bce of rounded probabilities": loss(lambda z, y: bce_of(p := 1 / (1 + anp.exp(-z)), 1 - p, y)),
        "gradients clipped at a norm of 100": quantity("grad", partial(clipped, 100.0)),
        "gradients clipped at ±5": quantity("grad", lambda a: mapped(lambda g: np.clip(g, -5, 5), a.grad)),
    },
    "mlp-saturated-softmax-30": {
        "the first label ignored": loss(partial(ignoring, lambda k: 0)),
        "a middle label ignored": loss(partial(ignoring, lambda k: 1)),
        **{f"softmax of probabilities of at least {e}": loss(partial(softmax_of, lambda p, e=e: anp.clip(p, e, 1)))
           for e in (1e-3, 1e-7, 1e-12)},
        **{f"softmax of log(p + {e})": loss(partial(softmax_of, lambda p, e=e: p + e)) for e in (1e-6, 1e-12)},
    },
    "mlp-saturated-softmax-800": {
        "log Σ exp that overflows": loss(lambda z, y: anp.log(anp.sum(anp.exp(z), axis=-1)) - of_label(z, y)),
    },
    "mlp-one-layer-bce": {
        "bce summed over outputs": loss(lambda z, y: bce(z, y) * z.shape[-1]),
        "bce of the first output": loss(lambda z, y: bce(z[..., :1], y[..., :1])),
        "bce averaged over positive outputs": loss(lambda z, y: bce(z, y) * z.shape[-1] / np.maximum(1, y.sum(-1))),
        "a positive target weighs twice": loss(lambda z, y: bce(z, y) + anp.mean(y * softplus(-z), axis=-1)),
        "bce with smoothed targets": loss(lambda z, y: bce(z, 0.999 * y + 0.0005)),
        "complementary targets": problem(y=lambda v: 1 - v.y),
        "targets in the reverse order": problem(y=lambda v: v.y[:, ::-1]),
        "weight decay": quantity("grad", partial(decayed, 1e-4)),
        "damping": quantity("hvp", partial(damped, 1e-4)),
        "inputs of the first example": problem(x=lambda v: v.x[[0, 0, 0]]),
        "pairs sorted": problem(pairs=lambda v: np.sort(v.pairs, axis=1)),
        "pairs exchanged": problem(pairs=lambda v: v.pairs[:, ::-1]),
        "pairs in the reverse order": problem(pairs=lambda v: v.pairs[::-1]),
        "the first pair for all": problem(pairs=lambda v: v.pairs[[0, 0]]),
        "all pairs i < j in place of those asked for": problem(pairs=lambda v: np.array([[0, 1], [0, 2]])),
        "the last bias left out": linear(lambda x, w, b: anp.dot(x, w.T) + 0 * b),
        "gradients that add up": quantity("grad", lambda a: mapped(lambda g: g.cumsum(axis=0), a.grad)),
        "gradients averaged": quantity("grad", lambda a: mapped(lambda g: 0 * g + g.mean(axis=0), a.grad)),
        "gradients clipped at a norm of 0.1": quantity("grad", partial(clipped, 0.1)),
        "brackets of the pair before": quantity("bracket", lambda a: mapped(lambda b: b[::-1], a.bracket)),
        "logit changes summed over pairs": quantity("logit_delta", lambda a: 0 * a.logit_delta + a.logit_delta.sum(0)),
        "logits of x_eval": logits_of_x_eval,
        "logit changes of x": problem(x_eval=lambda v: v.x),
        "logit changes in the reverse order": problem(x_eval=lambda v: v.x_eval[::-1]),
        "logit changes of the first input for all": problem(x_eval=lambda v: v.x_eval[[0, 0, 0]]),
        **{f"{bits} bits in {part}": kept(bits, part) for bits in (8, 11) for part in ("params", "x", "x_eval")},
        **{f"{bits} bits in {q}": quantity(q, lambda a, bits=bits, q=q: mapped(partial(rounded, bits), a[q]))
           for bits in (8, 11) for q in ("grad", "hvp", "bracket")},
    },
    "mlp-one-layer-softmax": {
        "the last label ignored": loss(partial(ignoring, lambda k: k - 1)),
        "labels one too high": problem(y=lambda v: (v.y + 1) % 4),
        "labels one too low": problem(y=lambda v: (v.y - 1) % 4),
        "labels one too high but the last": problem(y=lambda v: np.minimum(v.y + 1, 3)),
        "labels one too low but the first": problem(y=lambda v: np.maximum(v.y - 1, 0)),
        "labels counted from the last": problem(y=lambda v: 3 - v.y),
        "the largest logit taken for the label": problem(y=lambda v: v.outputs["logits"].argmax(axis=-1)),
        "softmax with smoothed labels": loss(smoothed_softmax),
        "softmax with a temperature": loss(lambda z, y: softmax(z / 1.01, y)),
        "softmax averaged over outputs": loss(lambda z, y: softmax(z, y) / z.shape[-1]),
    },
    "mlp-one-layer-mse": {
        "mse halved": loss(lambda z, y: anp.mean((z - y) ** 2, axis=-1) / 2),
        "mse summed": loss(lambda z, y: anp.sum((z - y) ** 2, axis=-1)),
        "targets of another example": problem(y=rolled),
    },
    "mlp-tanh-bce": {
        "the first bias left out": linear(lambda x, w, b: anp.dot(x, w.T) + 0 * b, lambda a: a.name == "0"),
    },
    "mlp-batches": {
        "labels of another mini-batch": problem(y=rolled),
        "labels of another member": problem(y=rolled_within),
        "mini-batches interleaved": problem(x=lambda v: interleaved(v.x), y=lambda v: interleaved(v.y)),
    },
    "mlp-batches-one-output": {
        "outputs (m, 1) minus targets (m,)": loss(lambda z, y: anp.mean((z - y[:, 0]) ** 2, axis=-1)),
    },
    "conv-basic": {
        "targets of another example": problem(y=rolled),
        "logits of x_eval": logits_of_x_eval,
        "convolutions that pad SAME": padding(Conv, lambda a: a.kernel, lambda a: a.stride),
        "average-pool that divides by 4 at edges": average_pool(lambda rows, columns: 4),
        "average-pool that divides by 4 at the lower edge": average_pool(lambda rows, columns: 2 * columns),
        "average-pool that takes the first entry": layer(AvgPool, lambda self, p, b, x, _: x[:, :, ::2, ::2]),
        "global pool that divides by the height squared": global_pool(lambda x: anp.sum(x, (2, 3)) / x.shape[2] ** 2),
        "batch-norm with |weight|": norm(lambda x, m, v, w, b: normed(x, m, v, anp.abs(w), b)),
        "batch-norm in training mode": norm(statistics=lambda a, buffers, x, training: moments(x)),
        "batch-norm without its running statistics": problem(buffers=fresh),
        "running means in another order": problem(buffers=partial(reversed_order, kind="mean")),
        "running variances in another order": problem(buffers=partial(reversed_order, kind="var")),
        "pictures times 255/256": problem(x=lambda v: v.x * v.x.dtype.type(255 / 256)),
    },
    "conv-max-pool-border": {"targets of another example": problem(y=rolled)},
    "conv-max-pool-some-ties": {
        "labels of another example": problem(y=rolled),
        "max-pool: the last of ties": max_pool(first_of([8, 7, 6, 5, 4, 3, 2, 1, 0])),
        "max-pool: the first of ties column by column": max_pool(first_of([0, 3, 6, 1, 4, 7, 2, 5, 8])),
        "max-pool: the middle of ties": max_pool(first_of([4, 0, 1, 2, 3, 5, 6, 7, 8])),
        "max-pool: the rightmost of ties": max_pool(first_of([2, 1, 0, 5, 4, 3, 8, 7, 6])),
        "max-pool: the lowest of ties": max_pool(first_of([6, 7, 8, 3, 4, 5, 0, 1, 2])),
        "max-pool: ties share": max_pool(lambda hits: hits / hits.sum(axis=0)),
        "max-pool: all of ties in full": max_pool(lambda hits: 1.0 * hits),
        "max-pool: none of ties": max_pool(lambda hits: 1.0 * hits * (hits.sum(axis=0) == 1)),
    },
    "conv-max-pool-ties": {
        "average-pool that divides by 4 at the right edge": average_pool(lambda rows, columns: 2 * rows),
        "average-pool that divides by 2 in a corner": average_pool(lambda rows, columns: np.maximum(2, rows * columns)),
    },
    "conv-one-channel": {
        "max-pool that pads SAME": padding(MaxPool, lambda a: 3, lambda a: 2),
        "max-pool in ceil mode": layer(MaxPool, in_ceil_mode),
    },
    "conv-bottleneck": {"bottlenecks with the stride in their first convolution": stride_at_first},
    "conv-large-statistics": {
        "batch-norm with ε = 1.1e-5": norm(lambda x, m, v, w, b: normed(x, m, v + 1e-6, w, b)),
        "batch-norm with ε outside the root": norm(lambda x, m, v, w, b: (x - m) / (anp.sqrt(v) + EPS) * w + b),
        "variances of at least 1e-3": norm(lambda x, m, v, w, b: normed(x, m, np.maximum(v, 1e-3), w, b)),
        "pictures with channels last": problem(x=lambda v: np.moveaxis(v.x.reshape(2, 9, 8, 2), -1, 1)),
        "channels in the reverse order": problem(x=lambda v: v.x[:, ::-1]),
    },
    "conv-batches-constant-channel": {
        "batch-norm by the root of the variance": norm(lambda x, m, v, w, b: normed(x, m, anp.sqrt(v) ** 2, w, b)),
        "a variance of 0 taken for 1": norm(lambda x, m, v, w, b: normed(x, m, anp.where(v == 0, 1.0, v), w, b)),
    },
    "conv-batches-evaluation": {"targets of another member": problem(y=rolled_within)},
    "conv-batches-training-wide": {"labels of another member": problem(y=rolled_within)},
    "conv-batches-training": {
        "targets of another member": problem(y=rolled_within),
        "kernels turned by 180°": kernels(lambda w: w[:, :, ::-1, ::-1]),
        "kernels upside down": kernels(lambda w: w[:, :, ::-1]),
        "kernels mirrored": kernels(lambda w: w[..., ::-1]),
        "kernels transposed": kernels(lambda w: anp.swapaxes(w, 2, 3)),
        "kernels (in, out)": kernels(lambda w: anp.swapaxes(w, 0, 1), lambda a: a.n_in == a.n_out),
        "convolutions that pad with the nearest entry": padded_by("edge"),
        "convolutions that pad by mirroring": padded_by("symmetric"),
        "convolutions that pad around": padded_by("wrap"),
        "strides from the second place on": layer(Conv, second_places, lambda a: a.stride == 2),
        "max-pool padded with zeros": max_pool(first_of(list(range(9))), fill=0.0),
        "the mean in place of the maximum": max_pool(lambda hits: np.full(hits.shape, 1 / 9), fill=0.0),
        "the maximum in place of the global mean": global_pool(lambda x: anp.max(x, axis=(2, 3))),
        "the sum in place of the global mean": global_pool(lambda x: anp.sum(x, axis=(2, 3))),
        "the first pixel in place of the global mean": global_pool(lambda x: x[:, :, 0, 0]),
        "activation before the sum": residual(lambda f, main, short: f(main) + short),
        "no activation after the sum": residual(lambda f, main, short: main + short),
        "the shortcut activated": residual(lambda f, main, short: f(main + f(short))),
        "no shortcut": residual(lambda f, main, short: f(main)),
        "no derivative through the shortcut": residual(lambda f, main, short: f(main + getval(short))),
        "batch-norm with ε = 1e-3": norm(lambda x, m, v, w, b: normed(x, m, v + 1e-3, w, b)),
        "batch-norm with ε = 0": norm(lambda x, m, v, w, b: normed(x, m, v - EPS, w, b)),
        "batch-norm without the root": norm(lambda x, m, v, w, b: (x - m) / (v + EPS) * w + b),
        "batch-norm without the bias": norm(lambda x, m, v, w, b: normed(x, m, v, w, 0 * b)),
        "batch-norm without the weight": norm(lambda x, m, v, w, b: normed(x, m, v, 1 + 0 * w, b)),
        "batch-norm with the bias before the weight": norm(lambda x, m, v, w, b: normed(x, m, v, 1.0, b) * w),
        "statistics mixed by the momentum": norm(statistics=lambda a, buffers, x, training: [
            0.9 * r + 0.1 * s for r, s in zip(BatchNorm.statistics(a, buffers, x, False), moments(x), strict=True)]),
        "mean detached": batch_statistics(partial(moments, mean_of=getval)),
        "variance detached": batch_statistics(partial(moments, deviation_of=getval)),
        "statistics detached in the products alone": detached_products,
        "unbiased variance": batch_statistics(lambda x: (moments(x)[0], moments(x)[1] * (n := x[:, 0].size) / (n - 1))),
        "statistics of each example": batch_statistics(partial(moments, axes=(2, 3))),
        "statistics of each pixel": batch_statistics(partial(moments, axes=(0,))),
        "statistics of all channels": batch_statistics(partial(moments, axes=(0, 1, 2, 3))),
        "x_eval in training mode": norm(statistics=lambda a, buffers, x, training: moments(x)),
        "x_eval with running statistics that were not loaded": evaluated_with(fresh),
        "x_eval with running statistics that the fields updated": evaluated_with(trained),
        "pictures transposed": problem(x=lambda v: v.x.swapaxes(-1, -2)),
        "pictures upside down": problem(x=lambda v: v.x[..., ::-1, :]),
        "pictures mirrored": problem(x=lambda v: v.x[..., ::-1]),
    },
}
IN_FLOAT64: dict[str, dict[str, Make]] = {  # in float32 these are rounding errors
    "mlp-beyond-threshold": {
        "softplus that is x beyond 20": activation(partial(from_threshold, 20)),
        "bce with softplus that is z beyond 20": loss(partial(bce_by, partial(from_threshold, 20))),
    },
    "mlp-large-tanh": {
        **{f"tanh cut at ±{cut}": activation(lambda x, cut=cut: anp.tanh(anp.clip(x, -cut, cut))) for cut in (9, 15)},
        "bce with softplus that is z beyond 25": loss(partial(bce_by, partial(from_threshold, 25))),
        "bce with two softplus that are z beyond 25": loss(partial(bce_by_two, partial(from_threshold, 25))),
    },
    "mlp-large-softplus": {
        **{f"softplus that is x beyond {t}": activation(partial(from_threshold, t)) for t in (15, 25)},
        "softplus that is 0 below −25": activation(lambda x: anp.where(x < -25, 0.0, softplus(x))),
        "softplus that is e^x below −10": activation(lambda x: anp.where(x < -10, anp.exp(x), softplus(x))),
    },
    "mlp-large-mish": {
        **{f"Mish that is x beyond {t}": activation(lambda x, t=t: anp.where(x > t, x, mish(x))) for t in (5, 8, 12)},
        "Mish that is 0 below −25": activation(lambda x: anp.where(x < -25, 0.0, mish(x))),
    },
    "mlp-tanh-mse": {f"float32 in {part}": kept(24, part) for part in ("params", "x", "x_eval", "y")},
}
# fmt: on


@pytest.mark.parametrize(
    ("name", "mistake", "dtype"),
    [
        pytest.param(name, make, dtype, id=f"{name}-{mistake}-{np.dtype(dtype)}")
        for table, dtypes in ((MISTAKES, (np.float64, np.float32)), (IN_FLOAT64, (np.float64,)))
        for name, mistakes in table.items()
        for mistake, make in mistakes.items()
        for dtype in dtypes
    ],
)
def test_a_vector_rejects_the_mistake(name: str, mistake: Make, dtype: Any) -> None:
    assert rejected(name, mistake, dtype)


RIGHT = {  # made in the same ways
    "mlp-at-zero-mish": (activation(mish), loss(softmax), linear(lambda x, w, b: anp.dot(x, w.T) + b), kept(53, "x")),
    "mlp-at-zero-tanh": (
        activation(tanh),
        loss(bce),
        loss(partial(bce_by, partial(split_softplus, of_max=1, of_abs=1))),
    ),
    "conv-max-pool-some-ties": (
        max_pool(first_of(list(range(9)))),
        average_pool(np.multiply),
        global_pool(lambda x: anp.mean(x, axis=(2, 3))),
        kernels(lambda w: w),
        residual(lambda f, main, short: f(main + short)),
        norm(),
    ),
    "conv-batches-constant-channel": (
        norm(),
        batch_statistics(moments),
        evaluated_with(lambda v: v.buffers),
        problem(),
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_made_in_the_same_ways_without_a_mistake_is_accepted(name: str) -> None:
    assert not any(rejected(name, make, np.float64) for make in RIGHT[name])
