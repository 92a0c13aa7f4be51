"""Checks of the arrays that users hand in: errors name the argument, what came and what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .losses import LOSSES
from .models import Array, Arrays, Model


def checked_state(model: Model, params: Mapping[str, Array], buffers: Mapping[str, Array]) -> tuple[Arrays, Arrays]:
    """Parameters and buffers with the model's names and shapes and one floating dtype, in the model's order.

    PyTorch's `num_batches_tracked` counters may stand among the buffers; they are left out.
    """
    dtype = _common_dtype(params)
    buffers = {name: b for name, b in buffers.items() if not name.endswith("num_batches_tracked")}
    params = _checked_arrays("params", params, model.parameter_shapes, dtype)
    buffers = _checked_arrays("buffers", buffers, model.buffer_shapes, dtype)
    for name, array in buffers.items():
        if name.endswith("running_var") and (array < 0).any():
            raise ValueError(f"buffers[{name!r}]: expected variances >= 0, got {array.min():g}")
    return params, buffers


def checked_directions(argument: str, params: Arrays, directions: Mapping[str, Array]) -> Arrays:
    """Directions name → (k, *shape), k the same for all names, in the parameters' dtype."""
    first = np.asarray(next(iter(directions.values()))) if directions else np.zeros(())
    if first.ndim == 0:
        raise ValueError(f"{argument}: expected arrays (k, *shape) for every parameter, got {len(directions)} name(s)")
    shapes = {name: (len(first), *p.shape) for name, p in params.items()}
    return _checked_arrays(argument, directions, shapes, next(iter(params.values())).dtype)


def checked_images(argument: str, model: Model, params: Arrays, x: Array, batches: bool = False) -> Array:
    """Inputs (n, channels, height, width) or (n, features), or with one more mini-batch axis, in params' dtype."""
    x = np.asarray(x)
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(f"{argument}: expected a floating-point array, got dtype {x.dtype}")
    lead = "(b, m, " if batches else "(n, "
    expected = f"{lead}{model.n_in}, height, width)" if model.pictures else f"{lead}{model.n_in})"
    axis = 2 if batches else 1
    if x.ndim != axis + (3 if model.pictures else 1) or x.shape[axis] != model.n_in or 0 in x.shape:
        raise ValueError(f"{argument}: expected shape {expected}, none of them 0, got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{argument}: expected finite numbers, got nan or inf")
    return x.astype(next(iter(params.values())).dtype, copy=False)


def checked_targets(model: Model, x: Array, y: Array, loss: str, batches: bool = False) -> Array:
    """Targets that fit the inputs and the loss, in the inputs' dtype; integer labels for "softmax"."""
    if loss not in LOSSES:
        raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, got {loss!r}")
    y = np.asarray(y)
    lead = x.shape[: 2 if batches else 1]
    shape = lead if LOSSES[loss].labels else (*lead, model.n_out)
    if y.shape != shape:
        raise ValueError(f"y: expected shape {shape} for loss {loss!r}, got {y.shape}")
    if LOSSES[loss].labels:
        if not np.issubdtype(y.dtype, np.integer):
            raise TypeError(f"y: expected integer labels for loss {loss!r}, got dtype {y.dtype}")
        if (y < 0).any() or (y >= model.n_out).any():
            raise ValueError(f"y: expected labels 0 to {model.n_out - 1}, got {y.min()} to {y.max()}")
        return y
    if not (np.issubdtype(y.dtype, np.floating) or np.issubdtype(y.dtype, np.integer) or y.dtype == bool):
        raise TypeError(f"y: expected a real array, got dtype {y.dtype}")
    if not np.isfinite(y).all():
        raise ValueError("y: expected finite numbers, got nan or inf")
    if loss == "bce" and ((y < 0).any() or (y > 1).any()):
        raise ValueError(f"y: expected targets in [0, 1] for loss 'bce', got {y.min():g} to {y.max():g}")
    return y.astype(x.dtype)


def checked_pairs(pairs: Sequence[tuple[int, int]] | Array, count: int) -> Array:
    """Pairs as integers (p, 2), each in 0 … count − 1."""
    return _checked_indices("pairs", np.asarray(pairs), count, ndim=2)


def checked_partners(partners: Sequence[int] | Array, count: int) -> Array:
    """Partners as integers (k,), each in 0 … count − 1."""
    return _checked_indices("partners", np.asarray(partners), count, ndim=1)


def _checked_indices(argument: str, indices: Array, count: int, ndim: int) -> Array:
    expected = "(p, 2)" if ndim == 2 else "(k,)"
    if indices.ndim != ndim or 0 in indices.shape or (ndim == 2 and indices.shape[1] != 2):
        raise ValueError(f"{argument}: expected shape {expected}, none of them 0, got {indices.shape}")
    if not np.issubdtype(indices.dtype, np.integer):
        raise TypeError(f"{argument}: expected integers, got dtype {indices.dtype}")
    if (indices < 0).any() or (indices >= count).any():
        raise ValueError(f"{argument}: expected indices 0 to {count - 1}, got {indices.min()} to {indices.max()}")
    return indices


def _common_dtype(params: Mapping[str, Array]) -> Any:
    dtypes = {np.asarray(p).dtype for p in params.values()}
    if len(dtypes) != 1 or not np.issubdtype(next(iter(dtypes)), np.floating):
        raise TypeError(
            f"params: expected one floating dtype, got {', '.join(sorted(map(str, dtypes))) or 'no arrays'}"
        )
    return dtypes.pop()


def _checked_arrays(
    argument: str, arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], dtype: Any
) -> Arrays:
    missing, unknown = [n for n in shapes if n not in arrays], [n for n in arrays if n not in shapes]
    if missing or unknown:
        what = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r} is unknown"
        raise ValueError(f"{argument}: expected the model's {len(shapes)} names, but {what}")
    checked = {}
    for name, shape in shapes.items():
        array = np.asarray(arrays[name])
        if not np.issubdtype(array.dtype, np.floating):
            raise TypeError(f"{argument}[{name!r}]: expected a floating-point array, got dtype {array.dtype}")
        if array.shape != shape:
            raise ValueError(f"{argument}[{name!r}]: expected shape {shape}, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{argument}[{name!r}]: expected finite numbers, got nan or inf")
        checked[name] = array.astype(dtype, copy=False)
    return checked
