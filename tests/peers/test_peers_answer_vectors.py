"""PyTorch (in three styles) and JAX agree with every shipped test vector in float64 and float32."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from lie_ref import oracle

vector = cache(oracle.load)


def assert_agrees(name: str, candidate: dict[str, np.ndarray], dtype: type) -> None:
    """Assert that all outputs are there, have this dtype and are right, as far as this dtype decides."""
    assert set(candidate) == set(vector(name).outputs)
    assert {array.dtype for array in candidate.values()} == {np.dtype(dtype)}
    verdict = oracle.verify(vector(name), candidate)
    assert verdict.agrees is True or (verdict.agrees is None and dtype is np.float32), str(verdict)


@pytest.mark.torch
# In forward mode, torch 2.13 warns of its own use of torch.jit.script.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("style", ["double_backward", "forward_over_reverse", "vmapped"])
@pytest.mark.parametrize("name", oracle.names())
def test_torch_agrees(name: str, style: str, dtype: type, device: str) -> None:
    torch = pytest.importorskip("torch")
    from . import answers_torch

    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert_agrees(name, getattr(answers_torch, style)(vector(name), dtype, device), dtype)


@pytest.mark.jax
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", oracle.names())
def test_jax_agrees(name: str, dtype: type) -> None:
    pytest.importorskip("jax")
    from .answers_jax import answers

    assert_agrees(name, answers(vector(name), dtype), dtype)
