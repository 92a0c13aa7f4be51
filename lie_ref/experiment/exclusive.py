"""A loss that encodes that some attributes exclude each other, such as hair colours, and its probabilities."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np

from ..core.losses import LossFunction, bce, softmax
from ..core.types import Array
from ..fast.dual import Number, elementwise, linear
from ..fast.scalar_rules import GRADIENTS, excess, probabilities, sigmoid_derivatives


def exclusive(columns: Sequence[int]) -> LossFunction:
    """Binary cross-entropy, except that the attributes in `columns` exclude each other.

    These attributes share one softmax, with a further class "none of them" that has the logit 0.  A target with several
    of them is shared evenly among them.  The sum is divided by the number of outputs, as in `bce`, so that the other
    attributes keep their weight.

    >>> loss = exclusive([0, 1])
    >>> z, y = np.array([[0.0, 0.0, 0.0]]), np.array([[1.0, 0.0, 1.0]])
    >>> bool(np.isclose(loss.definition(z, y)[0], (np.log(3) + np.log(2)) / 3))
    True
    """
    chosen = tuple(int(column) for column in columns)
    return LossFunction(partial(_exclusive, columns=chosen), binary=True, name="exclusive")


def _exclusive(z: Any, y: Array, columns: tuple[int, ...]) -> Any:
    """[Σ binary cross-entropies of other columns + Σ_c t_c · cross-entropy of class c] / k, for class shares t_c."""
    k, group = z.shape[-1], list(columns)
    others = [column for column in range(k) if column not in columns]
    terms = [bce(z[..., others], y[..., others]) * len(others)] if others else []
    classes = anp.concatenate([0.0 * z[..., :1], z[..., group]], axis=-1)
    target = _class_shares(y[..., group])
    labels = np.broadcast_to(np.arange(classes.shape[-1]), target.shape)
    terms += [target[..., c] * softmax(classes, labels[..., c]) for c in range(classes.shape[-1])]
    return sum(terms) / k


def _gradient(z: Number, y: Array, columns: tuple[int, ...]) -> Number:
    """(σ(z) − y) / k, but (p − t) / k in the columns that share the softmax p."""
    k, group = z.shape[-1], list(columns)
    error = excess(class_probabilities(z, columns), _class_shares(y[..., group]))
    return _with_columns(GRADIENTS[bce](z, y), linear(lambda e: e[..., 1:] / k, error), columns)


GRADIENTS[_exclusive] = _gradient


def class_probabilities(z: Number, columns: Sequence[int]) -> Number:
    """The softmax probabilities of "none of them" and of the attributes in these columns: (…, 1 + columns)."""
    classes = linear(lambda a: np.concatenate([np.zeros_like(a[..., :1]), a[..., list(columns)]], axis=-1), z)
    return probabilities(classes)


def attribute_probabilities(z: Number, columns: Sequence[int] = ()) -> Number:
    """The probability of each attribute, (…, k): σ(z), except for the softmax in the columns of an `exclusive` loss.

    >>> attribute_probabilities(np.zeros(3), columns=[0, 1]).round(3)
    array([0.333, 0.333, 0.5  ])
    """
    p = elementwise(sigmoid_derivatives, z)[0]
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
    """The class shares (…, 1 + c) of labels (…, c) of 0 and 1: first the share of "none of them", then of each
    label."""
    shares = labels / np.maximum(labels.sum(axis=-1, keepdims=True), 1)
    return np.concatenate([1 - shares.sum(axis=-1, keepdims=True), shares], axis=-1)
