"""The activation functions, written so that the first two derivatives by autograd are accurate at every input."""

from typing import Any

import autograd.numpy as np


def tanh(x: Any) -> Any:
    """tanh x.  Autograd's rules use cosh⁴ x, which would overflow beyond ±170, where the slope is 0 anyway."""
    return np.tanh(np.clip(x, -170.0, 170.0))


def mish(x: Any) -> Any:
    """x tanh(softplus x), as x σ(x) (1 + σ(−x)) / (1 + σ(−x)²): the derivatives of tanh overflow for large x."""
    q = _sigmoid(-x)
    return x * _sigmoid(x) * (1 + q) / (1 + q * q)


def softplus(x: Any) -> Any:
    """log(1 + exp x)."""
    return np.logaddexp(0.0, x)


def relu(x: Any) -> Any:
    """max(x, 0), with slope 0 at 0 as in PyTorch."""
    return np.where(x > 0, x, 0.0)


def _sigmoid(x: Any) -> Any:
    return np.exp(-np.logaddexp(0.0, -x))


ACTIVATIONS = {"tanh": tanh, "mish": mish, "softplus": softplus, "relu": relu}
