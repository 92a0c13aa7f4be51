"""Independent peers of lie_ref in other frameworks: weights that hide nothing, and what agreement with a peer means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def generic_weights(model: Any, seed: int) -> tuple[Arrays, Arrays]:
    """Initial weights of a lie_ref model, in float64, with every constant that could hide a bug made random.

    Zero batch-norm weights would cut whole branches off, and unit running variances would hide a missing square root.
    """
    params, buffers = model.init(seed=seed)
    rng = np.random.default_rng(seed)
    for name, value in params.items():
        if value.ndim > 1:
            params[name] = value.astype(np.float64)
        elif name.endswith("weight"):
            params[name] = rng.uniform(0.4, 1.2, value.shape) * rng.choice([-1.0, 1.0], value.shape, p=[0.25, 0.75])
        else:
            params[name] = rng.normal(0, 0.3, value.shape)
    for name, value in buffers.items():
        if name.endswith("running_mean"):
            buffers[name] = rng.normal(0, 0.3, value.shape)
        else:
            buffers[name] = rng.uniform(0.5, 2, value.shape)
    return params, buffers


def assert_agree(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], tolerance: float = 1e-10, scale: float = 0.0
) -> None:
    """‖a − b‖ ≤ tolerance · ‖b‖ for each tensor, names, shapes and dtypes being equal.

    Of a tensor whose norm is below 1e-9 of the norm of all of them nothing but rounding may be left; its error is taken
    relative to that 1e-9. `scale` is the norm of the terms to measure by where all of them cancel.
    """
    assert set(ours) == set(theirs)
    peers = {name: np.asarray(value) for name, value in theirs.items()}
    floor = max(1e-9 * np.sqrt(sum(np.sum(np.square(b, dtype=np.float64)) for b in peers.values())), scale)
    for name, b in peers.items():
        a = ours[name]
        assert isinstance(a, np.ndarray | np.generic), f"{name}: {type(a)}"
        assert a.shape == b.shape, f"{name}: shape {a.shape}, the peer's is {b.shape}"
        assert a.dtype == b.dtype, f"{name}: dtype {a.dtype}, the peer's is {b.dtype}"
        error, size = np.linalg.norm(a - b), max(np.linalg.norm(b), floor)
        assert error <= tolerance * size, f"{name}: relative error {error / size:.2e}, allowed {tolerance:.0e}"
