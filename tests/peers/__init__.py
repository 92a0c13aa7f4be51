"""lie_ref's peers in PyTorch and JAX, written independently of it, and what their tests share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def assert_agree(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], tolerance: float = 1e-10, scale: float = 0.0
) -> None:
    """Assert that names, shapes and dtypes are equal and that ‖a − b‖ ≤ tolerance · ‖b‖ for each tensor.

    A tensor with less than 1e-9 of the norm of all tensors may be nothing but rounding errors, so ‖b‖ is replaced by
    that 1e-9, or by `scale` if it is larger: the norm of terms that cancel.  If all tensors are zero, nothing agrees.
    """
    assert set(ours) == set(theirs)
    peers = {name: np.asarray(value) for name, value in theirs.items()}
    assert any(b.any() for b in peers.values()) or scale, "only zeros to compare with"
    floor = max(1e-9 * np.sqrt(sum(np.sum(np.square(b, dtype=np.float64)) for b in peers.values())), scale)
    for name, b in peers.items():
        a = ours[name]
        assert isinstance(a, np.ndarray | np.generic), f"{name}: {type(a)}"
        assert a.shape == b.shape, f"{name}: shape {a.shape}, the peer's is {b.shape}"
        assert a.dtype == b.dtype, f"{name}: dtype {a.dtype}, the peer's is {b.dtype}"
        error, size = np.linalg.norm(a - b), max(np.linalg.norm(b), floor)
        assert error <= tolerance * size, f"{name}: relative error {error / size:.2e}, allowed {tolerance:.0e}"


def brackets(hvps: dict[str, Any]) -> dict[str, Any]:
    """H_j g_i − H_i g_j of the products (p, 2, *shape), name → (p, *shape)."""
    return {name: h[:, 0] - h[:, 1] for name, h in hvps.items()}


def keyed(
    losses: Any, logits: Any, gradients: dict[str, Any], hvps: dict[str, Any], logit_delta: Any, batches: bool
) -> dict[str, Any]:
    """The answers under the keys of a test vector; logits (b, m, k) are those of mini-batches, of one if not `batches`.

    The gradients are name → (b, *shape), the products (p, 2, *shape): H_j g_i and H_i g_j.
    """
    return {
        "loss": losses,
        "logits": logits if batches else logits[:, 0],
        **{f"grad/{name}": value for name, value in gradients.items()},
        **{f"hvp/{name}": value for name, value in hvps.items()},
        **{f"bracket/{name}": value for name, value in brackets(hvps).items()},
        "logit_delta": logit_delta,
    }
