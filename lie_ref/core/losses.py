"""The losses of one example as functions of its logits: mean binary cross-entropy, softmax cross-entropy, mean square.

Each is defined once for autograd (`definition`) and has its gradient in the logits in closed form for the sweeps
(`gradient`, on arrays or duals).  Neither form overflows, nor is it the small difference of two large terms, however
large the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.tracer import getval

from ..fast.dual import Array, Number, elementwise, linear, value
from .activations import sigmoid


@dataclass(frozen=True)
class LossFunction:
    """`definition(z, y)` → (…,) and `gradient(z, y)` → ∂L/∂z (…, k), for logits z (…, k).

    Targets y are (…, k), with `binary` between 0 and 1, or with `labels` integers (…,) in 0 … k − 1; errors say `name`.
    """

    definition: Callable[[Any, Array], Any]
    gradient: Callable[[Number, Array], Number]
    labels: bool = False
    binary: bool = False
    name: str = "of your own"


def _bce(z: Any, y: Array) -> Any:
    """mean_k [(1 − y_k) softplus(z_k) + y_k softplus(−z_k)], y in [0, 1]."""
    return anp.mean((1 - y) * anp.logaddexp(0.0, z) + y * anp.logaddexp(0.0, -z), axis=-1)


def _bce_gradient(z: Number, y: Array) -> Number:
    """(σ(z) − y) / k, as [(1 − y) σ(z) − y σ(−z)] / k."""

    def derivatives(x: Array, order: int) -> list[Array]:
        s, complement = sigmoid(x), sigmoid(-x)
        return [(1 - y) * s - y * complement, s * complement, s * complement * (complement - s)][: order + 1]

    return linear(lambda d: d / d.shape[-1], elementwise(derivatives, z)[0])


def _softmax(z: Any, y: Array) -> Any:
    """log Σ_k exp z_k − z_y, as softplus(log Σ_{k≠y} exp(z_k − z_y)); 0 with one output."""
    if z.shape[-1] == 1:
        return 0.0 * z[..., 0]
    hot = one_hot(z, y)
    excess = anp.where(hot, -anp.inf, z - anp.sum(z * hot, axis=-1, keepdims=True))
    largest = np.max(getval(excess), axis=-1, keepdims=True)
    return anp.logaddexp(0.0, largest[..., 0] + anp.log(anp.sum(anp.exp(excess - largest), axis=-1)))


def _softmax_gradient(z: Number, y: Array) -> Number:
    """p − one-hot(y)."""
    return _excess(probabilities(z), one_hot(value(z), y))


def _excess(p: Number, target: Array) -> Number:
    """p − target, an entry p_k > 1/2 as (1 − target_k) − Σ of the others: what is small keeps its digits."""
    likely = value(p) > 0.5
    excess = linear(lambda d: np.where(likely, -(d * ~likely).sum(axis=-1, keepdims=True), d), p)
    return excess + (likely - target)


def probabilities(z: Number) -> Number:
    """The softmax of the logits."""
    exponential = elementwise(lambda x, order: [np.exp(x)] * (order + 1), z - value(z).max(axis=-1, keepdims=True))[0]
    return exponential * elementwise(_reciprocal, linear(lambda e: e.sum(axis=-1, keepdims=True), exponential))[0]


def exclusive(columns: Sequence[int]) -> LossFunction:
    """`bce` for a network that knows that of the attributes in these columns an example has one or none.

    Their cross-entropies give way to one: that of a softmax over them and a further class, none of them, whose logit
    is 0.  Targets with several of them share the class evenly.  The sum is divided by the number of outputs, as in
    `bce`, so that the other attributes weigh as much as there.

    >>> loss = exclusive([0, 1])
    >>> z, y = np.array([[0.0, 0.0, 0.0]]), np.array([[1.0, 0.0, 1.0]])
    >>> bool(np.isclose(loss.definition(z, y)[0], (np.log(3) + np.log(2)) / 3))
    True
    """
    chosen = tuple(int(column) for column in columns)
    definition, gradient = (partial(f, columns=chosen) for f in (_exclusive, _exclusive_gradient))
    return LossFunction(definition, gradient, binary=True, name="exclusive")


def _exclusive(z: Any, y: Array, columns: tuple[int, ...]) -> Any:
    """[Σ binary cross-entropies of other columns + Σ_c t_c · cross-entropy of class c] / k, t the example's shares."""
    k, group = z.shape[-1], list(columns)
    others = [column for column in range(k) if column not in columns]
    terms = [_bce(z[..., others], y[..., others]) * len(others)] if others else []
    classes = anp.concatenate([0.0 * z[..., :1], z[..., group]], axis=-1)
    target = _class_shares(y[..., group])
    labels = np.broadcast_to(np.arange(classes.shape[-1]), target.shape)
    terms += [target[..., c] * _softmax(classes, labels[..., c]) for c in range(classes.shape[-1])]
    return sum(terms) / k


def _exclusive_gradient(z: Number, y: Array, columns: tuple[int, ...]) -> Number:
    """(σ(z) − y) / k, and in the group's columns (p − t) / k."""
    k, group = z.shape[-1], list(columns)
    excess = _excess(class_probabilities(z, columns), _class_shares(y[..., group]))
    return _with_columns(_bce_gradient(z, y), linear(lambda e: e[..., 1:] / k, excess), columns)


def class_probabilities(z: Number, columns: Sequence[int]) -> Number:
    """Of none of these columns' attributes, and of each: the softmax of 0 and their logits, (…, 1 + columns)."""
    classes = linear(lambda a: np.concatenate([np.zeros_like(a[..., :1]), a[..., list(columns)]], axis=-1), z)
    return probabilities(classes)


def attribute_probabilities(z: Number, columns: Sequence[int] = ()) -> Number:
    """The probability of each attribute (…, k): σ(z), but in the columns of an `exclusive` loss their softmax's.

    >>> attribute_probabilities(np.zeros(3), columns=[0, 1]).round(3)
    array([0.333, 0.333, 0.5  ])
    """

    def derivatives(x: Array, order: int) -> list[Array]:
        s = sigmoid(x)
        return [s, s * sigmoid(-x)][: order + 1]

    p = elementwise(derivatives, z)[0]
    if not columns:
        return p
    return _with_columns(p, linear(lambda c: c[..., 1:], class_probabilities(z, columns)), columns)


def _with_columns(whole: Number, part: Number, columns: Sequence[int]) -> Number:
    """`whole` with these columns replaced by those of `part`."""
    keep = np.ones(whole.shape[-1])
    keep[list(columns)] = 0
    places = np.eye(whole.shape[-1])[list(columns)]
    return linear(lambda w: w * keep.astype(w.dtype), whole) + linear(lambda c: c @ places.astype(c.dtype), part)


def _class_shares(labels: Array) -> Array:
    """Labels (…, c) of 0 and 1 as shares (…, 1 + c) of one example: of none of them first, then of each."""
    shares = labels / np.maximum(labels.sum(axis=-1, keepdims=True), 1)
    return np.concatenate([1 - shares.sum(axis=-1, keepdims=True), shares], axis=-1)


def _mse(z: Any, y: Array) -> Any:
    """mean_k (z_k − y_k)²."""
    return anp.mean((z - y) ** 2, axis=-1)


def _mse_gradient(z: Number, y: Array) -> Number:
    """2 (z − y) / k."""
    return linear(lambda d: 2 * d / d.shape[-1], z - y)


def _reciprocal(x: Array, order: int) -> list[Array]:
    return [1 / x, -1 / x**2, 2 / x**3][: order + 1]


def one_hot(z: Any, y: Array) -> Array:
    """1 at each label and 0 elsewhere, of the logits' shape and dtype."""
    return (np.arange(z.shape[-1]) == y[..., None]).astype(z.dtype)


def loss_function(loss: str | LossFunction) -> LossFunction:
    """The loss of this name, or the loss itself; ValueError for anything else."""
    if isinstance(loss, LossFunction):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, got {loss!r}")
    return LOSSES[loss]


LOSSES = {
    "bce": LossFunction(_bce, _bce_gradient, binary=True, name="bce"),
    "softmax": LossFunction(_softmax, _softmax_gradient, labels=True, name="softmax"),
    "mse": LossFunction(_mse, _mse_gradient, name="mse"),
}
