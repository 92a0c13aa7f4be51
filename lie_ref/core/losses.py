"""The losses of an example as functions of its logits, written so that nothing overflows or cancels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autograd.numpy as np
import numpy
from autograd.tracer import getval

from .fields import Point, inner
from .types import Array


@dataclass(frozen=True)
class LossFunction:
    """`definition(z, y)` gives the losses (n,) of logits z (n, k), in `autograd.numpy`.  Error messages call it `name`.

    Targets y are (n, k), for a mean over the k outputs, and between 0 and 1 if `binary` is set: then ∂L/∂z is
    (probability − target) / k.  With `labels` they are integers (n,) from 0 to k − 1.
    Weight decay λ adds the regulariser λ/2 ‖θ‖² to the loss of every example.
    """

    definition: Callable[[Any, Array], Any]
    labels: bool = False
    binary: bool = False
    name: str = "custom"
    weight_decay: float = 0.0

    def regulariser(self, params: Point) -> Any:
        """λ/2 ‖θ‖²."""
        return float(self.weight_decay) / 2 * inner(params, params) if self.weight_decay else 0.0


def bce(z: Any, y: Array) -> Any:
    """mean_k [(1 − y_k) softplus(z_k) + y_k softplus(−z_k)], the mean binary cross-entropy with logits.

    >>> bce(numpy.zeros((1, 2)), numpy.array([[1.0, 0.0]])).round(6)  # log 2
    array([0.693147])
    """
    return np.mean((1 - y) * np.logaddexp(0.0, z) + y * np.logaddexp(0.0, -z), axis=-1)


def softmax(z: Any, y: Array) -> Any:
    """log Σ_k exp z_k − z_y, as softplus(log Σ_{k≠y} exp(z_k − z_y)); 0 with a single output."""
    if z.shape[-1] == 1:
        return 0.0 * z[..., 0]
    hot = one_hot(z, y)
    excess = np.where(hot, -np.inf, z - np.sum(z * hot, axis=-1, keepdims=True))
    largest = numpy.max(getval(excess), axis=-1, keepdims=True)  # it cancels, so it needs no derivative
    return np.logaddexp(0.0, largest[..., 0] + np.log(np.sum(np.exp(excess - largest), axis=-1)))


def mse(z: Any, y: Array) -> Any:
    """mean_k (z_k − y_k)²."""
    return np.mean((z - y) ** 2, axis=-1)


def one_hot(z: Any, y: Array) -> Array:
    """1 at each label and 0 elsewhere, in the shape and dtype of the logits."""
    return (numpy.arange(z.shape[-1]) == y[..., None]).astype(z.dtype)


LOSSES = {
    "bce": LossFunction(bce, binary=True, name="bce"),
    "softmax": LossFunction(softmax, labels=True, name="softmax"),
    "mse": LossFunction(mse, name="mse"),
}


def loss_function(loss: str | LossFunction) -> LossFunction:
    """The loss with this name, or the loss itself.  Raises ValueError for anything else."""
    if isinstance(loss, LossFunction):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, got {' '.join(repr(loss).split())[:60]}")
    return LOSSES[loss]
