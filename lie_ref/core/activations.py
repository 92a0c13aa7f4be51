"""The activation functions, which autograd differentiates by the exact rules of `lie_ref.primitives`."""

from typing import Any

import autograd.numpy as np


def tanh(x: Any) -> Any:
    """tanh x."""
    return np.tanh(x)


def mish(x: Any) -> Any:
    """x tanh(softplus x)."""
    return x * np.tanh(softplus(x))


def softplus(x: Any) -> Any:
    """log(1 + exp x)."""
    return np.logaddexp(0.0, x)


def relu(x: Any) -> Any:
    """max(x, 0), with slope 0 at 0 as in PyTorch."""
    return np.where(x > 0, x, 0.0)


ACTIVATIONS = {"tanh": tanh, "mish": mish, "softplus": softplus, "relu": relu}
