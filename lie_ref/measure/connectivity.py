"""Linear mode connectivity: whether the error stays low on the straight line between two networks.

Frankle et al. 2020 train two children of one parent on different orders of the data; Paul et al. 2021 compare easy and
hard examples.  Only parameters are interpolated.  The running statistics of batch-norm are computed anew at each point,
because those of an interpolated network are not the interpolated ones.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from ..core.networks import Model, check_shapes
from ..core.types import Array, Arrays
from ..fast.arguments import checked_inputs, checked_model, checked_weights
from ..fast.rules import Sweep, forward
from ..fast.sweeps import channels_last, with_group_axis


def interpolated(a: Arrays, b: Arrays, alpha: float) -> Arrays:
    """(1 − α) a + α b for parameters name → array, in their dtype.  Raises ValueError if names or shapes differ.

    >>> interpolated({"w": np.zeros(2)}, {"w": np.array([4.0, 8.0])}, 0.25)
    {'w': array([1., 2.])}
    """
    check_shapes("b", b, {name: p.shape for name, p in a.items()})
    alpha = float(alpha)  # a number of NumPy's would make float64 of float32
    return {name: (1 - alpha) * p + alpha * b[name] for name, p in a.items()}


def batch_norm_statistics(model: Model, params: Arrays, batches: Iterable[Array]) -> Arrays:
    """Running statistics for batch-norm: the mean over mini-batches of their mean and of their unbiased variance.

    Each mini-batch is x (m, …), with more than one value a channel, and all count the same.  This is what
    `torch.optim.swa_utils.update_bn` computes.  Returns buffers name → array in the dtype of the parameters; none for a
    network without batch-norm.  Raises ValueError or TypeError for arrays that do not fit, and ValueError if there is
    no mini-batch.

    >>> from lie_ref import mlp
    >>> model = mlp([2, 3, 1])
    >>> batch_norm_statistics(model, model.init(0)[0], [np.ones((4, 2))])
    {}
    """
    buffers = {name: np.ones(shape) for name, shape in checked_model(model).buffer_shapes.items()}  # not used
    weights = checked_weights(model, params, buffers)
    found: list[Arrays] = []
    for batch in batches:
        x = channels_last(checked_inputs("batches", weights, batch))
        sweep = Sweep(with_group_axis(weights), {}, training=True, tape=None)
        forward(model.network, sweep, x[None])
        found.append(sweep.statistics)
    if not found:
        raise ValueError("batches: expected at least one mini-batch, got none")
    return {
        name: np.mean([statistics[name] for statistics in found], axis=0).reshape(shape)
        for name, shape in model.buffer_shapes.items()
    }


def error_barrier(errors: Sequence[float] | Array) -> float:
    """How far the error rises above the chord between its ends: the maximum over α of R(α) − (1 − α) R(0) − α R(1).

    `errors` (points,) are R at evenly spaced α from 0 to 1, at least two (Paul et al. 2021, equation 5).

    >>> error_barrier([0.25, 0.5, 0.25])
    0.25
    """
    errors = np.asarray(errors)
    if errors.ndim != 1 or len(errors) < 2:
        raise ValueError(f"errors: expected at least two, of shape (points,), got shape {errors.shape}")
    alpha = np.linspace(0, 1, len(errors))
    return float((errors - (1 - alpha) * errors[0] - alpha * errors[-1]).max())
