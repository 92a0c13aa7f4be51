"""Checks of the arrays that users hand in: errors name the argument, what came and what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.losses import LossFunction, loss_function
from ..core.networks import Model, check_shapes
from ..core.problem import NO_PAIRS, Problem, Weights
from ..core.types import Array, Arrays, Shapes


def checked_weights(model: Model, params: Mapping[str, Array], buffers: Mapping[str, Array]) -> Weights:
    """Parameters and buffers with the model's names and shapes and one floating dtype, in the model's order.

    The `num_batches_tracked` counters of PyTorch may stand among the buffers; they are left out.
    """
    check_shapes("params", params, model.parameter_shapes)
    dtypes = {np.asarray(p).dtype for p in params.values()}
    dtype = next(iter(dtypes))
    if len(dtypes) != 1 or not np.issubdtype(dtype, np.floating) or np.finfo(dtype).bits < 32:
        found = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(f"params: expected one floating dtype of at least 32 bits, got {found}")
    params = checked_arrays("params", params, model.parameter_shapes, dtype)
    buffers = checked_arrays("buffers", buffers, model.buffer_shapes, dtype)
    for name, array in buffers.items():
        if name.endswith("running_var") and (array < 0).any():
            raise ValueError(f"buffers[{name!r}]: expected variances >= 0, got {array.min():g}")
    return Weights(model, params, buffers)


def checked_problem(
    model: Model,
    params: Mapping[str, Array],
    buffers: Mapping[str, Array],
    x: Array,
    y: Array,
    pairs: Sequence[tuple[int, int]] | Array | None = None,
    x_eval: Array | None = None,
    loss: str | LossFunction = "bce",
    training: bool = False,
    batches: bool | None = None,
) -> Problem:
    """The problem in the dtype of the parameters, with no pairs and with x_eval = x (all members) unless given.

    Whether x holds mini-batches (b, m, …) is seen from its axes unless `batches` says it.  Raises ValueError or
    TypeError for arrays that do not fit the model or each other.
    """
    weights = checked_weights(model, params, buffers)
    if batches is None:
        batches = np.ndim(x) == (5 if model.pictures else 3)
    if training and not batches:
        raise ValueError(f"training: expected mini-batches x (b, m, …) for it, got x of shape {np.shape(x)}")
    x = checked_inputs("x", weights, x, batches)
    y = checked_targets(model, y, x.shape[: 1 + batches], x.dtype, loss)
    pairs = NO_PAIRS if pairs is None else checked_indices("pairs", pairs, len(x), ndim=2)
    if x_eval is None:
        x_eval = x.reshape(-1, *x.shape[2:]) if batches else x
    x_eval = checked_inputs("x_eval", weights, x_eval)
    return Problem(model, weights.params, weights.buffers, x, y, pairs, x_eval, loss, training)


def checked_inputs(argument: str, weights: Weights, x: Array, batches: bool = False) -> Array:
    """Inputs (n, channels, height, width) or (n, features), or with one more axis of mini-batches, in params' dtype."""
    x = np.asarray(x)
    weights.model.check_input(argument, x, lead="b, m" if batches else "n")
    return _checked_numbers(argument, x, next(iter(weights.params.values())).dtype)


def checked_directions(argument: str, weights: Weights, directions: Mapping[str, Array]) -> Arrays:
    """Directions name → (k, *shape), k >= 1 and the same for all names, in the dtype of the parameters."""
    first = np.asarray(next(iter(directions.values()))) if isinstance(directions, Mapping) and directions else None
    if first is None or first.ndim == 0 or len(first) == 0:
        came = "nothing" if first is None else f"shape {first.shape} for {next(iter(directions))!r}"
        raise ValueError(f"{argument}: expected a dict name -> (k, *shape) for every parameter, k >= 1, got {came}")
    shapes = {name: (len(first), *p.shape) for name, p in weights.params.items()}
    return checked_arrays(argument, directions, shapes, next(iter(weights.params.values())).dtype)


def checked_indices(argument: str, given: Sequence[Any] | Array, count: int, ndim: int = 1) -> Array:
    """Integers in 0 … count − 1, (k,) or for ndim 2 pairs (p, 2), at least one."""
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


def checked_arrays(argument: str, arrays: Mapping[str, Array], shapes: Shapes, dtype: Any) -> Arrays:
    """Arrays with exactly these names and shapes, finite in this floating dtype, in the order of the shapes."""
    check_shapes(argument, arrays, shapes)
    return {name: _checked_numbers(f"{argument}[{name!r}]", np.asarray(arrays[name]), dtype) for name in shapes}


def checked_targets(model: Model, y: Array, lead: tuple[int, ...], dtype: Any, loss: str | LossFunction) -> Array:
    """Targets that fit inputs with these leading axes and the loss, in this dtype; integer labels for "softmax"."""
    of = loss_function(loss)
    y = np.asarray(y)
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
        y = y.astype(dtype)
    y = _checked_numbers("y", y, dtype)
    if of.binary and ((y < 0).any() or (y > 1).any()):
        raise ValueError(f"y: expected targets in [0, 1] for loss {of.name!r}, got {y.min():g} to {y.max():g}")
    return y


def _checked_numbers(argument: str, array: Array, dtype: Any) -> Array:
    """A floating array in this dtype, all its numbers finite there."""
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"{argument}: expected a floating-point array, got dtype {array.dtype}")
    with np.errstate(over="ignore"):  # what overflows is named below
        array = array.astype(dtype, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{argument}: expected finite numbers in {np.dtype(dtype)}, got nan or inf")
    return array
