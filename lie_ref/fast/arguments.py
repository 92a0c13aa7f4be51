"""Checks of the arrays that users hand in: errors name the argument, what came and what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.layers import Shapes
from ..core.losses import LossFunction, loss_function
from ..core.networks import Arrays, Model, check_shapes
from ..core.optimizers import Optimizer
from .dual import Array


def checked_state(model: Model, params: Mapping[str, Array], buffers: Mapping[str, Array]) -> tuple[Arrays, Arrays]:
    """Parameters and buffers with the model's names and shapes and one floating dtype, in the model's order.

    PyTorch's `num_batches_tracked` counters may stand among the buffers; they are left out.
    """
    check_shapes("params", params, model.parameter_shapes)
    dtypes = {np.asarray(p).dtype for p in params.values()}
    dtype = next(iter(dtypes))
    if len(dtypes) != 1 or not np.issubdtype(dtype, np.floating) or np.finfo(dtype).bits < 32:
        found = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(f"params: expected one floating dtype of at least 32 bits, got {found}")
    params = _checked_arrays("params", params, model.parameter_shapes, dtype)
    buffers = _checked_arrays("buffers", buffers, model.buffer_shapes, dtype)
    for name, array in buffers.items():
        if name.endswith("running_var") and (array < 0).any():
            raise ValueError(f"buffers[{name!r}]: expected variances >= 0, got {array.min():g}")
    return params, buffers


def checked_directions(argument: str, params: Arrays, directions: Mapping[str, Array]) -> Arrays:
    """Directions name → (k, *shape), k >= 1 and the same for all names, in the parameters' dtype."""
    first = np.asarray(next(iter(directions.values()))) if isinstance(directions, Mapping) and directions else None
    if first is None or first.ndim == 0 or len(first) == 0:
        came = "nothing" if first is None else f"shape {first.shape} for {next(iter(directions))!r}"
        raise ValueError(f"{argument}: expected a dict name -> (k, *shape) for every parameter, k >= 1, got {came}")
    shapes = {name: (len(first), *p.shape) for name, p in params.items()}
    return _checked_arrays(argument, directions, shapes, next(iter(params.values())).dtype)


def checked_inputs(argument: str, model: Model, params: Arrays, x: Array, batches: bool = False) -> Array:
    """Inputs (n, channels, height, width) or (n, features), or with one more mini-batch axis, in params' dtype."""
    x = np.asarray(x)
    model.check_input(argument, x, lead="b, m" if batches else "n")
    return _checked_numbers(argument, x, next(iter(params.values())).dtype)


def checked_targets(model: Model, x: Array, y: Array, loss: str | LossFunction, batches: bool = False) -> Array:
    """Targets that fit the inputs and the loss, in the inputs' dtype; integer labels for "softmax"."""
    of = loss_function(loss)
    y = np.asarray(y)
    lead = x.shape[: 2 if batches else 1]
    shape = lead if of.labels else (*lead, model.n_out)
    if y.shape != shape:
        raise ValueError(f"y: expected shape {shape} for loss {of.name!r}, got {y.shape}")
    if of.labels:
        if not np.issubdtype(y.dtype, np.integer):
            raise TypeError(f"y: expected integer labels for loss {of.name!r}, got dtype {y.dtype}")
        if (y < 0).any() or (y >= model.n_out).any():
            raise ValueError(f"y: expected labels 0 to {model.n_out - 1}, got {y.min()} to {y.max()}")
        return y
    if y.dtype == bool or np.issubdtype(y.dtype, np.integer):
        y = y.astype(x.dtype)
    y = _checked_numbers("y", y, x.dtype)
    if of.binary and ((y < 0).any() or (y > 1).any()):
        raise ValueError(f"y: expected targets in [0, 1] for loss {of.name!r}, got {y.min():g} to {y.max():g}")
    return y


def check_optimizer(params: Arrays, optimizer: Optimizer) -> None:
    """ValueError unless the state of the optimizer has the parameters' names and shapes."""
    try:
        updates = optimizer.step(params)[0]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"optimizer: expected a state with the parameters' names and shapes, got others ({error})"
        ) from error
    check_shapes("optimizer", updates, {name: p.shape for name, p in params.items()})


def checked_pairs(pairs: Sequence[tuple[int, int]] | Array, count: int) -> Array:
    """Pairs as integers (p, 2), each in 0 … count − 1."""
    return _checked_indices("pairs", pairs, count, ndim=2)


def checked_partners(partners: Sequence[int] | Array, count: int) -> Array:
    """Partners as integers (k,), each in 0 … count − 1."""
    return _checked_indices("partners", partners, count, ndim=1)


def _checked_indices(argument: str, given: Sequence[Any] | Array, count: int, ndim: int) -> Array:
    expected = "(p, 2)" if ndim == 2 else "(k,)"
    try:
        indices = np.asarray(given)
    except ValueError:  # rows of different lengths
        raise ValueError(f"{argument}: expected shape {expected}, got rows of different lengths") from None
    if indices.ndim != ndim or 0 in indices.shape or (ndim == 2 and indices.shape[1] != 2):
        raise ValueError(f"{argument}: expected shape {expected}, none of them 0, got {indices.shape}")
    if not np.issubdtype(indices.dtype, np.integer):
        raise TypeError(f"{argument}: expected integers, got dtype {indices.dtype}")
    if (indices < 0).any() or (indices >= count).any():
        raise ValueError(f"{argument}: expected indices 0 to {count - 1}, got {indices.min()} to {indices.max()}")
    return indices


def _checked_arrays(argument: str, arrays: Mapping[str, Array], shapes: Shapes, dtype: Any) -> Arrays:
    check_shapes(argument, arrays, shapes)
    return {name: _checked_numbers(f"{argument}[{name!r}]", np.asarray(arrays[name]), dtype) for name in shapes}


def _checked_numbers(argument: str, array: Array, dtype: Any) -> Array:
    """A floating array in this dtype, all its numbers finite there."""
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"{argument}: expected a floating-point array, got dtype {array.dtype}")
    with np.errstate(over="ignore"):  # what overflows is named below
        array = array.astype(dtype, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{argument}: expected finite numbers in {np.dtype(dtype)}, got nan or inf")
    return array
