"""Losses with common mistakes.  They have no rules for sweeps: autograd differentiates them."""

from dataclasses import replace
from typing import Any

import autograd.numpy as np
import numpy
from autograd import elementwise_grad
from autograd.tracer import getval

from ...core.losses import LossFunction, bce, one_hot, softmax
from ...core.types import Array
from .layers import sigmoid, threshold_softplus


def _probabilities(z: Any) -> Any:
    exponential = np.exp(z - numpy.max(getval(z), axis=-1, keepdims=True))
    return exponential / np.sum(exponential, axis=-1, keepdims=True)


def _of_probabilities(z: Any, y: Array) -> Any:
    """The cross-entropy of σ(z), whose logarithms are at least −100, as in PyTorch."""
    p = sigmoid(z)
    logs = (np.where(q > 0, np.log(np.where(q > 0, q, 1.0)), -np.inf) for q in (p, 1 - p))
    yes, no = (np.maximum(log, -100.0) for log in logs)
    return -np.mean(y * yes + (1 - y) * no, axis=-1)


def shifted(shift: float) -> LossFunction:
    """The cross-entropy of probabilities to which a small number is added, lest the logarithm be infinite."""

    def definition(z: Any, y: Array) -> Any:
        yes, no = np.log(sigmoid(z) + shift), np.log(sigmoid(-z) + shift)
        return -np.mean(y * yes + (1 - y) * no, axis=-1)

    return LossFunction(definition)


def smoothed(part: float) -> LossFunction:
    """The softmax cross-entropy with this part of each target spread over all outputs."""

    def definition(z: Any, y: Array) -> Any:
        everywhere = sum(softmax(z, numpy.full(numpy.shape(y), k)) for k in range(z.shape[-1])) / z.shape[-1]
        return (1 - part) * softmax(z, y) + part * everywhere

    return LossFunction(definition, labels=True)


def weighted(weight: float) -> LossFunction:
    """Binary cross-entropy in which the targets 1 have this weight."""
    return LossFunction(
        lambda z, y: np.mean((1 - y) * np.logaddexp(0.0, z) + weight * y * np.logaddexp(0.0, -z), axis=-1)
    )


def weighing_members(loss: LossFunction) -> LossFunction:
    """The loss of each member times a weight, which is the last number of its targets."""

    def definition(z: Any, y: Array) -> Any:
        targets = y[..., 0].astype(int) if loss.labels else y[..., :-1]
        return y[..., -1] * loss.definition(z, targets)

    return replace(loss, definition=definition)


def straight(loss: LossFunction) -> LossFunction:
    """The loss with its gradient but without its curvature: a linear function of the logits."""

    def definition(z: Any, y: Array) -> Any:
        at = getval(z)
        slope = elementwise_grad(lambda t: loss.definition(t, y))(at)
        return loss.definition(at, y) + np.sum(slope * (z - at), axis=-1)

    return replace(loss, definition=definition)


def _over_members(z: Any, y: Array) -> Any:
    logs = z - np.log(np.sum(np.exp(z), axis=-2, keepdims=True))
    return -np.sum(one_hot(z, y) * logs, axis=-1)


DOUBLE_SIGMOID = LossFunction(lambda z, y: bce(sigmoid(z), y))
DOUBLE_SOFTMAX = LossFunction(lambda z, y: softmax(_probabilities(z), y), labels=True)
OF_PROBABILITIES = LossFunction(_of_probabilities)
HUBER = LossFunction(lambda z, y: np.mean(np.where(abs(z - y) < 1, (z - y) ** 2 / 2, abs(z - y) - 0.5), axis=-1))
ABSOLUTE = LossFunction(lambda z, y: np.mean(abs(z - y), axis=-1))
ROOT = LossFunction(lambda z, y: np.sqrt(np.mean((z - y) ** 2, axis=-1)))
ONE_AGAINST_ALL = LossFunction(lambda z, y: bce(z, one_hot(z, y)), labels=True)
OVER_MEMBERS = LossFunction(_over_members, labels=True)
LARGEST = numpy.log((1 - 1e-7) / 1e-7)  # logits after clipping the probabilities to [1e-7, 1 − 1e-7]
CLIPPED = LossFunction(lambda z, y: bce(np.clip(z, -LARGEST, LARGEST), y))
ONE_THRESHOLD = LossFunction(lambda z, y: np.mean(threshold_softplus(z) - y * z, axis=-1))
TWO_THRESHOLDS = LossFunction(
    lambda z, y: np.mean(y * threshold_softplus(-z) + (1 - y) * threshold_softplus(z), axis=-1)
)
