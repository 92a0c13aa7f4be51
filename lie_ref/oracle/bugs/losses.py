"""Losses with common mistakes.  They have no rules for sweeps: autograd differentiates them."""

from typing import Any

import autograd.numpy as np
import numpy
from autograd.tracer import getval

from ...core.losses import LossFunction, bce, softmax
from ...core.types import Array
from .layers import sigmoid, threshold_softplus


def _probabilities(z: Any) -> Any:
    exponential = np.exp(z - numpy.max(getval(z), axis=-1, keepdims=True))
    return exponential / np.sum(exponential, axis=-1, keepdims=True)


def _clipped(z: Any) -> Any:
    """The logits of the probabilities after clipping them to [1e-7, 1 − 1e-7]."""
    largest = numpy.log((1 - 1e-7) / 1e-7)
    return np.clip(z, -largest, largest)


def _one_threshold(z: Any, y: Array) -> Any:
    return np.mean(threshold_softplus(z) - y * z, axis=-1)


def _two_thresholds(z: Any, y: Array) -> Any:
    return np.mean(y * threshold_softplus(-z) + (1 - y) * threshold_softplus(z), axis=-1)


DOUBLE_SIGMOID = LossFunction(lambda z, y: bce(sigmoid(z), y))
DOUBLE_SOFTMAX = LossFunction(lambda z, y: softmax(_probabilities(z), y), labels=True)
CLIPPED = LossFunction(lambda z, y: bce(_clipped(z), y))
ONE_THRESHOLD, TWO_THRESHOLDS = LossFunction(_one_threshold), LossFunction(_two_thresholds)
