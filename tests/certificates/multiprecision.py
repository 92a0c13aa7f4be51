"""Certifies test vectors: computes every output in multiple precision from values of the loss, without derivatives.

Method.  With a step h = 2⁻ˢ and one-sided differences,

    g_i = (L_i(θ + h e) − L_i(θ)) / h                     for each unit vector e
    H_j g_i = (g_j(θ) − g_j(θ − h g_i)) / h
    D_θ z · b = (z(θ + h b) − z(θ)) / h,

so H_j g_i − H_i g_j is the order swap (θ_ij − θ_ji) / h².  The error of each quotient is about h times the next
derivative.  Everything is computed with two steps and two working precisions.  The certificate is the number of digits
to which the two results agree in the worst row of any tensor.

Arithmetic.  Numbers are Python integers in units of 2⁻ᵇ.  Sums are exact in any order, so values that tie in exact
arithmetic also tie here.  A second difference quotient magnifies the unit by h⁻² = 2²ˢ and should be accurate to h, so
b = 3s + guard.

Guard bits.  A saturated activation or loss shrinks derivatives by a factor e⁻ᵃ.  The first evaluation of a field adds
up the largest exponent a of each layer; e to minus that sum bounds how much a gradient shrinks.  A bracket combines two
gradients and its push-forward adds a third derivative, so the guard is three times the sum, plus `SPARE_BITS`.
Softplus, log Σ exp, tanh and Mish are written in terms of e⁻ᵃ ≤ 1, so logits of ±800 lose no digits.

Cancellation.  A bracket that is much smaller than its terms loses digits.  If fewer than `DIGITS` remain, both steps
are squared, at most twice.  Two zeros agree to infinitely many digits.  A row that shrinks with the step has the limit
0, as the gradient of an example at its minimum has, and counts as 0.

Kinks.  If entries of a max-pool window tie, or the input of a ReLU is 0, a one-sided difference depends on its
direction.  The certified derivative is that of the branch that takes the first of equal entries in scan order, and
slope 0 for ReLU at 0.  Each layer records its branch in its first evaluation, which is at θ, and then stays on it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from os import PathLike
from typing import Any

import numpy as np
from mpmath.libmp import from_man_exp, mpf_exp, mpf_log, to_fixed
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray
State = dict[str, Array]  # parameters and buffers, or derivatives with respect to them, in fixed point
STEPS = (128, 160)  # s of the coarse and of the fine computation: h = 3e-39 and 7e-49
DIGITS = 20
SPARE_BITS = 64
EPS = 1e-5  # the nearest double, as in every implementation
# The number of leading axes of each quantity that index its rows
ROW_AXES = {"loss": 1, "logits": -1, "grad": 1, "hvp": 2, "bracket": 1, "logit_delta": 2}


# Fixed-point arithmetic


@dataclass
class FixedPoint:
    """Numbers as integers in units of 2^−bits, in object arrays; all results but sums have errors of a few units."""

    bits: int
    saturation: float = 0.0  # the sum of the largest |x| over all calls of `exp`

    @property
    def one(self) -> int:
        return 1 << self.bits

    def numbers(self, values: Any) -> Array:
        """Convert floats, exactly if their last bits are not below the unit."""

        def convert(value: float) -> int:
            numerator, denominator = float(value).as_integer_ratio()
            return (numerator << self.bits) // denominator

        return np.asarray(np.frompyfunc(convert, 1, 1)(values), object)

    def floats(self, x: Array) -> Array:
        """Convert to the nearest floats."""
        return (x / self.one).astype(float)

    def exp(self, x: Array) -> Array:
        """eˣ for x ≤ 0."""
        self.saturation -= x.min() / self.one
        return self._elementwise(mpf_exp, x)

    def log(self, x: Array) -> Array:
        """log x for x ≥ 1."""
        return self._elementwise(mpf_log, x)

    def _elementwise(self, function: Callable[..., Any], x: Array) -> Array:
        bits = self.bits
        return np.frompyfunc(lambda v: to_fixed(function(from_man_exp(v, -bits), bits), bits), 1, 1)(x)

    def reciprocal_root(self, x: Array) -> Array:
        """1/√x."""
        return np.frompyfunc(lambda v: math.isqrt(self.one**3 // v), 1, 1)(x)

    def softplus(self, x: Array) -> Array:
        """log(1 + eˣ)."""
        return np.maximum(x, 0) + self.log(self.one + self.exp(-abs(x)))

    def tanh(self, x: Array) -> Array:
        """± (1 − e⁻²ᵃ) / (1 + e⁻²ᵃ) for x = ±a."""
        u = self.exp(-2 * abs(x))
        return np.where(x < 0, -1, 1) * (((self.one - u) << self.bits) // (self.one + u))

    def mish(self, x: Array) -> Array:
        """x tanh(log(1 + eˣ)) = x (e²ˣ + 2eˣ) / (e²ˣ + 2eˣ + 2), both divided by e²ˣ for x ≥ 0."""
        u = self.exp(-abs(x))
        square = u * u >> self.bits
        top = np.where(x < 0, square + 2 * u, self.one + 2 * u)
        return x * top // (top + np.where(x < 0, 2 * self.one, 2 * square))


# Layers and networks


@dataclass
class Layer:
    """A function of (θ, x) and the names of its parameters."""

    apply: Callable[[State, Array], Array]
    names: list[str] = field(default_factory=list)


def run(layers: list[Layer], theta: State, x: Array) -> Array:
    for layer in layers:
        x = layer.apply(theta, x)
    return x


def pointwise(function: Callable[[Array], Array]) -> Layer:
    return Layer(lambda _, x: function(x))


def linear(f: FixedPoint, name: str) -> Layer:
    """(m, in) → (m, out)."""
    weight, bias = f"{name}.weight", f"{name}.bias"
    return Layer(lambda theta, x: (x @ theta[weight].T >> f.bits) + theta[bias], [weight, bias])


def relu() -> Layer:
    """max(x, 0), on the branch of the first evaluation."""
    sides: list[Array] = []

    def apply(_: State, x: Array) -> Array:
        if not sides:
            sides.append(x > 0)
        return np.where(sides[0], x, 0)

    return Layer(apply)


@lru_cache
def windows(height: int, width: int, size: int, stride: int) -> Array:
    """The flat positions in every window in scan order, −1 outside: (⌈h/stride⌉, ⌈w/stride⌉, size²).

    An odd window is padded by size // 2 on each side, and a 2 × 2 window only at the end, as with `ceil_mode`.
    """
    padding = ((size - 1) // 2, size // 2)
    positions = np.pad(np.arange(height * width).reshape(height, width), padding, constant_values=-1)
    found = sliding_window_view(positions, (size, size))[::stride, ::stride]
    return found.reshape(*found.shape[:2], -1)


def patches(x: Array, size: int, stride: int, fill: int) -> Array:
    """The entries in every window, `fill` outside: (m, c, h, w) → (m, c, ⌈h/stride⌉, ⌈w/stride⌉, size²)."""
    m, channels, height, width = x.shape
    padded = np.concatenate([x.reshape(m, channels, -1), np.full((m, channels, 1), fill, object)], 2)
    return padded[:, :, windows(height, width, size, stride)]  # position −1 is the fill


def convolution(f: FixedPoint, name: str, stride: int) -> Layer:
    """(m, in, h, w) → (m, out, ⌈h/stride⌉, ⌈w/stride⌉)."""

    def apply(theta: State, x: Array) -> Array:
        weight = theta[name]
        seen = patches(x, weight.shape[-1], stride, fill=0)
        return np.moveaxis(np.tensordot(seen, weight.reshape(*weight.shape[:2], -1), [(1, 4), (1, 2)]), -1, 1) >> f.bits

    return Layer(apply, [name])


def batch_norm(f: FixedPoint, name: str, training: bool) -> Layer:
    """Batch-norm by the running statistics or, in training mode, by the mean and biased variance of x (m, c, h, w)."""
    eps = f.numbers(EPS)

    def per_channel(theta: State, kind: str) -> Array:
        return theta[f"{name}.{kind}"][:, None, None]

    def apply(theta: State, x: Array) -> Array:
        if training:
            count = x.size // x.shape[1]
            mean = x.sum((0, 2, 3), keepdims=True) // count
            variance = ((x - mean) ** 2).sum((0, 2, 3), keepdims=True) // count >> f.bits
        else:
            mean, variance = per_channel(theta, "running_mean"), per_channel(theta, "running_var")
        scale = per_channel(theta, "weight") * f.reciprocal_root(variance + eps) >> f.bits
        return ((x - mean) * scale >> f.bits) + per_channel(theta, "bias")

    return Layer(apply, [f"{name}.weight", f"{name}.bias"])


def max_pool() -> Layer:
    """(m, c, h, w) → (m, c, ⌈h/2⌉, ⌈w/2⌉): from each 3 × 3 window the largest entry of the first evaluation."""
    taken: list[Array] = []

    def apply(_: State, x: Array) -> Array:
        seen = patches(x, 3, 2, fill=x.min() - 1)
        if not taken:
            taken.append(seen.argmax(-1)[..., None])  # the first of equal entries
        return np.take_along_axis(seen, taken[0], -1)[..., 0]

    return Layer(apply)


def average_pool() -> Layer:
    """(m, c, h, w) → (m, c, ⌈h/2⌉, ⌈w/2⌉): the mean over each 2 × 2 window without the padding."""
    return pointwise(lambda x: patches(x, 2, 2, fill=0).sum(-1) // (windows(*x.shape[2:], 2, 2) >= 0).sum(-1))


def global_average() -> Layer:
    """(m, c, h, w) → (m, c)."""
    return pointwise(lambda x: x.sum((2, 3)) // (x.shape[2] * x.shape[3]))


def mlp(f: FixedPoint, model: dict[str, Any]) -> list[Layer]:
    """Linear layers 0, 2, 4, … of a `Sequential`, with an activation between them."""
    functions = {"tanh": f.tanh, "mish": f.mish, "softplus": f.softplus}
    layers = [linear(f, "0")]
    for k in range(1, len(model["sizes"]) - 1):
        activation = model["activation"]
        layers += [relu() if activation == "relu" else pointwise(functions[activation]), linear(f, str(2 * k))]
    return layers


def conv_bn(f: FixedPoint, prefix: str, stride: int, training: bool) -> list[Layer]:
    return [convolution(f, f"{prefix}.0.weight", stride), batch_norm(f, f"{prefix}.1", training)]


def block(f: FixedPoint, prefix: str, stride: int, bottleneck: bool, widens: bool, training: bool) -> Layer:
    """A residual block: Mish(convolutions + shortcut)."""
    main: list[Layer] = []
    for k, s in enumerate((1, stride, 1) if bottleneck else (stride, 1)):
        main += [pointwise(f.mish)] if k else []
        main += conv_bn(f, f"{prefix}.convs.{k}", s, training)
    shortcut = [average_pool()] if stride > 1 else []
    shortcut += conv_bn(f, f"{prefix}.idconv", 1, training) if widens else []
    names = [name for layer in main + shortcut for name in layer.names]
    return Layer(lambda theta, x: f.mish(run(main, theta, x) + run(shortcut, theta, x)), names)


def mxresnet(f: FixedPoint, model: dict[str, Any], training: bool) -> list[Layer]:
    """The network of the public `mxresnet.py`."""
    layers: list[Layer] = []
    for k in range(3):
        layers += [*conv_bn(f, str(k), 1 if k else 2, training), pointwise(f.mish)]
    layers.append(max_pool())
    channels, expansion = model["stem"][-1], model["expansion"]
    for stage, (width, depth) in enumerate(zip(model["widths"], model["layers"], strict=True)):
        for b in range(depth):
            stride = 2 if stage and not b else 1
            widens = channels != width * expansion
            layers.append(block(f, f"{4 + stage}.{b}", stride, expansion > 1, widens, training))
            channels = width * expansion
    return [*layers, global_average(), linear(f, str(len(model["widths"]) + 6))]


def network(f: FixedPoint, model: dict[str, Any], training: bool = False) -> list[Layer]:
    """New layers, the first evaluation of which must be at θ."""
    return mlp(f, model) if model["kind"] == "mlp" else mxresnet(f, model, training)


# Losses: the mean over the m examples of logits z (m, k)


def bce(f: FixedPoint, z: Array, y: Array) -> int:
    return (f.softplus(z) - (f.numbers(y) * z >> f.bits)).sum() // z.size


def mse(f: FixedPoint, z: Array, y: Array) -> int:
    return ((z - f.numbers(y)) ** 2 >> f.bits).sum() // z.size


def softmax(f: FixedPoint, z: Array, y: Array) -> int:
    top = z.max(1)
    log_sum = top + f.log(f.exp(z - top[:, None]).sum(1))
    return (log_sum - z[np.arange(len(z)), y]).sum() // len(z)


LOSSES = {"bce": bce, "mse": mse, "softmax": softmax}


@dataclass
class Field:
    """The loss of an example or mini-batch as a function of θ, and its derivatives by differences with step 2^−step."""

    f: FixedPoint
    step: int
    layers: list[Layer]
    x: Array
    loss: Callable[[Array], int]  # of the logits

    def logits(self, theta: State) -> Array:
        return run(self.layers, theta, self.x)

    def value(self, theta: State) -> int:
        return self.loss(self.logits(theta))

    def gradient(self, theta: State) -> State:
        """Displace each parameter in turn, and evaluate only the layer that reads it and those after it."""
        value, x, gradient = self.value(theta), self.x, {}
        for k, layer in enumerate(self.layers):
            for name in layer.names:
                gradient[name] = np.empty_like(theta[name])
                for entry in np.ndindex(theta[name].shape):
                    parameter = theta[name].copy()
                    parameter[entry] += self.f.one >> self.step
                    displaced = self.loss(run(self.layers[k:], theta | {name: parameter}, x))
                    gradient[name][entry] = (displaced - value) << self.step
            x = layer.apply(theta, x)
        return gradient

    def product(self, theta: State, gradient: State, direction: State) -> State:
        """The Hessian-vector product, from the gradients at θ and at θ − 2^−step direction."""
        behind = self.gradient(moved(theta, direction, -1, self.step))
        return {name: (g - behind[name]) << self.step for name, g in gradient.items()}


def moved(theta: State, direction: State, sign: int, step: int) -> State:
    """θ ± 2^−step direction."""
    return theta | {name: theta[name] + sign * (d >> step) for name, d in direction.items()}


@dataclass(frozen=True)
class Vector:
    """A test vector, as stored in its file."""

    meta: dict[str, Any]
    arrays: dict[str, Array]

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Vector:
        with np.load(path) as file:
            arrays = dict(file)
        return cls(json.loads(str(arrays.pop("meta"))), arrays)

    def state(self, f: FixedPoint) -> State:
        """Parameters and buffers by their names in a `state_dict`."""
        groups = {key: key.partition("/") for key in self.arrays}
        return {name: f.numbers(self.arrays[key]) for key, (g, _, name) in groups.items() if g in ("param", "buffer")}

    def fields(self, f: FixedPoint, step: int) -> list[Field]:
        x, y, batches = self.arrays["x"], self.arrays["y"], self.meta["fields"] == "batches"
        loss, found = LOSSES[self.meta["loss"]], []
        for i in range(len(x)):
            members = i if batches else slice(i, i + 1)
            layers = network(f, self.meta["model"], self.meta["training"])
            found.append(Field(f, step, layers, f.numbers(x[members]), partial(loss, f, y=y[members])))
        return found

    def evaluation(self, f: FixedPoint) -> Callable[[State], Array]:
        """θ ↦ the logits (n_eval, k) of x_eval, with batch-norm in evaluation mode."""
        layers, x = network(f, self.meta["model"]), f.numbers(self.arrays["x_eval"])
        return lambda theta: run(layers, theta, x)


def outputs(vector: Vector, f: FixedPoint, step: int) -> State:
    """All outputs of the vector, under the keys of its file."""
    theta, fields, evaluate = vector.state(f), vector.fields(f, step), vector.evaluation(f)
    gradients, logits = [each.gradient(theta) for each in fields], evaluate(theta)
    product = lambda j, i: fields[j].product(theta, gradients[j], gradients[i])  # noqa: E731
    products = [(product(j, i), product(i, j)) for i, j in vector.arrays["pairs"].tolist()]
    brackets = [{name: a[name] - b[name] for name in a} for a, b in products]
    result = {
        "loss": np.array([each.value(theta) for each in fields], object),
        "logits": np.array([each.logits(theta) for each in fields]),
        "logit_delta": np.array([(evaluate(moved(theta, b, 1, step)) - logits) << step for b in brackets]),
    }
    if vector.meta["fields"] == "examples":
        result["logits"] = result["logits"][:, 0]
    for name in gradients[0]:
        result[f"grad/{name}"] = np.array([g[name] for g in gradients])
        result[f"hvp/{name}"] = np.array([(a[name], b[name]) for a, b in products])
        result[f"bracket/{name}"] = np.array([b[name] for b in brackets])
    return result


def guard_bits(vector: Vector) -> int:
    """The guard bits of the module's docstring."""
    f = FixedPoint(128)
    theta, saturations = vector.state(f), []
    for evaluate in (*(each.value for each in vector.fields(f, step=0)), vector.evaluation(f)):
        f.saturation = 0.0
        evaluate(theta)
        saturations.append(f.saturation)
    return SPARE_BITS + math.ceil(3 * math.log2(math.e) * max(saturations))


@dataclass(frozen=True)
class Certificate:
    """The certified outputs of a test vector, each under its key; numbers of digits and errors are of the worst row."""

    values: dict[str, Array]  # rounded to the nearest float64
    agreement: dict[str, float]  # of the two computations a and b, in digits: −log10(‖a − b‖/‖b‖)
    ulps: dict[str, float]  # the error of the file's outputs, in units of 2⁻⁵³ of the row's norm

    @property
    def worst(self) -> str:
        """The key with the fewest digits."""
        return min(self.agreement, key=self.agreement.__getitem__)

    @property
    def digits(self) -> float:
        """The certified number of digits."""
        return self.agreement[self.worst]


def certify(path: str | PathLike[str]) -> Certificate:
    vector = Vector.load(path)
    for power in (1, 2, 4):
        certificate = compare(vector, *(power * step for step in STEPS))
        if certificate.digits >= DIGITS:
            break
    return certificate


def compare(vector: Vector, coarse_step: int, step: int) -> Certificate:
    """Compare the outputs with step 2^−step with those with 2^−coarse_step and with those in the file."""
    guard = guard_bits(vector)
    coarse_f, f = FixedPoint(3 * coarse_step + guard), FixedPoint(3 * step + guard)
    coarse, fine = outputs(vector, coarse_f, coarse_step), outputs(vector, f, step)
    for key, b in fine.items():
        a = coarse[key] << f.bits - coarse_f.bits
        pairs = zip(rows(key, a), rows(key, b), strict=True)
        stays = np.reshape([not shrinks(*pair, step - coarse_step) for pair in pairs], (-1, 1))
        coarse[key], fine[key] = ((rows(key, c) * stays).reshape(b.shape) for c in (a, b))
    held = {key: f.numbers(vector.arrays[key]) for key in fine if key in vector.arrays}
    return Certificate(
        values={key: f.floats(b) for key, b in fine.items()},
        agreement={key: min(map(digits, rows(key, coarse[key]), rows(key, b))) for key, b in fine.items()},
        ulps={key: max(map(partial(ulps, f), rows(key, a), rows(key, fine[key]))) for key, a in held.items()},
    )


def rows(key: str, a: Array) -> Array:
    """A matrix with one row per example, pair, (pair, side) or (pair, input)."""
    return a.reshape(math.prod(a.shape[: ROW_AXES[key.split("/")[0]]]), -1)


def shrinks(a: Array, b: Array, bits: int) -> bool:
    """Whether a step that is smaller by 2^−bits makes a row a smaller by 2^−bits/2 at least: |b| ≤ 2^−bits/2 |a|."""
    return square(b) << bits <= square(a)


def square(row: Array) -> int:
    """The squared norm, exactly."""
    return (row**2).sum()


def digits(a: Array, b: Array) -> float:
    """The log relative error −log10(‖a − b‖/‖b‖)."""
    error, norm = square(a - b), square(b)
    if error == 0:
        return math.inf
    return (math.log10(norm) - math.log10(error)) / 2 if norm else -math.inf


def ulps(f: FixedPoint, a: Array, b: Array) -> float:
    """‖a − b‖ in units of 2⁻⁵³ ‖b‖, or of the smallest float if that is larger."""
    error, norm = square(a - b), square(b)
    unit = max(math.log2(norm) / 2 - f.bits - 53, -1074) if norm else -1074
    return 2 ** min(math.log2(error) / 2 - f.bits - unit, 1023) if error else 0.0
