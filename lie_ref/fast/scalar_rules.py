"""Derivation rules for activations and losses: closed forms that keep their digits, registered for core's definitions.

`derivatives(f)` returns a rule for a function f that is applied entry by entry and for its first two derivatives.
`gradient(loss)` returns a rule for the gradient of a loss in the logits, on arrays or duals.  Functions that have no
rule here are differentiated by autograd.
"""

import math
from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import elementwise_grad, grad

from ..core.activations import mish, relu, softplus, tanh
from ..core.fields import directional_derivative
from ..core.losses import LossFunction, bce, mse, one_hot, softmax
from ..core.types import Array
from .dual import Dual, Number, elementwise, linear, value

Derivatives = Callable[[Array, int], list[Array]]  # (x, n) -> [f(x), f'(x), …, f⁽ⁿ⁾(x)], n at most 2
Gradient = Callable[[Number, Array], Number]  # logits z (…, k) and targets -> ∂L/∂z (…, k)
ALONE = RLock()  # autograd counts nested derivatives for all threads together, and Python keeps its warning filters so


def derivatives(function: Callable[[Any], Any]) -> Derivatives:
    """The rule of an activation function, or one by autograd.

    >>> derivatives(anp.square)(np.array([3.0]), 2)
    [array([9.]), array([6.]), array([2.])]
    """
    if function in DERIVATIVES:
        return DERIVATIVES[function]
    first = elementwise_grad(function)
    forms = (function, first, elementwise_grad(first))

    def of(x: Array, order: int) -> list[Array]:
        with ALONE:
            return [np.asarray(form(x)) for form in forms[: order + 1]]

    return of


def gradient(loss: LossFunction) -> Gradient:
    """The rule of a loss, or one by autograd; a `partial` of a definition gets its rule with the same keywords.

    >>> own = LossFunction(lambda z, y: anp.sum((z - y) ** 4, axis=-1))
    >>> gradient(own)(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]))
    array([[ 4., 32.]])
    """
    definition = loss.definition
    if isinstance(definition, partial) and definition.func in GRADIENTS:
        return partial(GRADIENTS[definition.func], **definition.keywords)
    if definition in GRADIENTS:
        return GRADIENTS[definition]

    def of(z: Number, y: Array) -> Number:
        with ALONE:
            return _by_autograd(definition, z, y)

    return of


def _by_autograd(definition: Callable[[Any, Array], Any], z: Number, y: Array) -> Number:
    """A definition gets the members (m, k) of one field, whose losses it may mix; or all fields, if it does not."""
    *lead, k = z.shape
    y = y.reshape(math.prod(lead), *y.shape[len(lead) :])
    members = len(y) if _apart(definition, value(z).reshape(-1, k), y) else lead[-1]

    def total(logits: Any) -> Any:
        rows = anp.reshape(logits, (-1, k))
        fields = [slice(start, start + members) for start in range(0, len(y), members)]
        return sum(anp.sum(_losses(definition, rows[of], y[of])) for of in fields)

    slope = grad(total)
    if not isinstance(z, Dual):
        return slope(z)
    return Dual(slope(z.value), np.stack([directional_derivative(slope, z.value, t) for t in z.tangent]))


def _apart(definition: Callable[[Any, Array], Any], z: Array, y: Array) -> bool:
    """Whether the loss of each row of logits (n, k) has nothing to do with the other rows.

    If so, a factor of each loss is that of the gradient of its row, to the last bit for powers of 2, and a loss is the
    same without the others.
    """
    factors = 2.0 ** np.random.default_rng(0).integers(8, size=(len(y), 1)).astype(z.dtype)
    slopes = [grad(lambda rows, f=f: anp.sum(f * _losses(definition, rows, y)))(z) for f in (factors[:, 0], 1.0)]
    if not np.array_equal(slopes[0], factors * slopes[1], equal_nan=True):
        return False
    losses = _losses(definition, z, y)
    row = slice(most := int(np.argmax(np.abs(losses))), most + 1)
    return np.allclose(losses[row], _losses(definition, z[row], y[row]), rtol=1e-6, atol=0, equal_nan=True)


def _losses(definition: Callable[[Any, Array], Any], z: Any, y: Array) -> Any:
    losses, expected = definition(z, y), (len(y),)
    if np.shape(losses) != expected:
        raise ValueError(f"loss: expected {len(y)} losses, {expected}, of logits {z.shape}, got {np.shape(losses)}")
    return losses


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^−x), without overflow and correct to rounding at both ends.

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, decay) / (1 + decay)


def sigmoid_derivatives(x: Array, order: int) -> list[Array]:
    """σ(x) and, for order 1, its derivative."""
    s, complement = sigmoid(x), sigmoid(-x)
    return [s, s * complement][: order + 1]


def _mish(x: Array, order: int) -> list[Array]:
    """With e = e^x, n = e² + 2e and r = 1 / (n + 2): tanh(softplus x) = t = n r, t' = 4(e² + e)r², and f = x t."""
    # Beyond half the largest exponent t is 1 to the last bit and t' is far below it; e² must not overflow.
    limit = np.log(np.finfo(x.dtype).max) / 2 - 2
    near = x if x.max(initial=-np.inf) < limit else np.minimum(x, limit)  # the minimum is slow, and rarely needed
    e = np.exp(near)
    n = (e + 2) * e
    r = 1 / (n + 2)
    t = n * r
    found = [x * t]
    if order >= 1:
        dt = (n - e) * r * r * 4
        found.append(near * dt + t)
    if order >= 2:
        a = e * r
        ddt = (2 * r * (r + a) - a * a * (2 * e + 3)) * a * 4
        found.append(near * ddt + 2 * dt)
    return found


def _tanh(x: Array, order: int) -> list[Array]:
    t = np.tanh(x)
    decay = np.exp(-2 * np.abs(x))
    slope = 4 * decay / (1 + decay) ** 2  # 1 − t² without its cancellation
    return [t, slope, -2 * t * slope][: order + 1]


def _softplus(x: Array, order: int) -> list[Array]:
    return [np.logaddexp(0, x), *sigmoid_derivatives(x, 1)][: order + 1]


def _relu(x: Array, order: int) -> list[Array]:
    on = (x > 0).astype(x.dtype)
    return [x * on, on, np.zeros_like(x)][: order + 1]


DERIVATIVES: dict[Callable[[Any], Any], Derivatives] = {tanh: _tanh, mish: _mish, softplus: _softplus, relu: _relu}


def _bce(z: Number, y: Array) -> Number:
    """(σ(z) − y) / k, as [(1 − y) σ(z) − y σ(−z)] / k."""

    def error(x: Array, order: int) -> list[Array]:
        s, complement = sigmoid(x), sigmoid(-x)
        return [(1 - y) * s - y * complement, s * complement][: order + 1]

    return linear(lambda d: d / d.shape[-1], elementwise(error, z)[0])


def _softmax(z: Number, y: Array) -> Number:
    """p − one-hot(y)."""
    return excess(probabilities(z), one_hot(value(z), y))


def excess(p: Number, target: Array) -> Number:
    """p − target, where an entry p_k > 1/2 is (1 − target_k) − Σ of the other p, so that small numbers keep digits."""
    likely = value(p) > 0.5
    small = linear(lambda d: np.where(likely, -(d * ~likely).sum(axis=-1, keepdims=True), d), p)
    return small + (likely - target)


def probabilities(z: Number) -> Number:
    """The softmax of the logits."""
    exponential = elementwise(lambda x, order: [np.exp(x)] * (order + 1), z - value(z).max(axis=-1, keepdims=True))[0]
    return exponential * elementwise(_reciprocal, linear(lambda e: e.sum(axis=-1, keepdims=True), exponential))[0]


def _reciprocal(x: Array, order: int) -> list[Array]:
    return [1 / x, -1 / x**2][: order + 1]


def _mse(z: Number, y: Array) -> Number:
    """2 (z − y) / k."""
    return linear(lambda d: 2 * d / d.shape[-1], z - y)


GRADIENTS: dict[Callable[..., Any], Callable[..., Number]] = {bce: _bce, softmax: _softmax, mse: _mse}
