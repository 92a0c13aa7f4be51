"""Tests of what the fast path costs, counted and not timed: operations, numbers copied into patches, memory.

The counts are the same on every machine.  A change fails if it computes 1 % more, unfolds the images once more for each
direction, or keeps the unfolded patches.
"""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from bench.flops import products, total_flops
from bench.work import problem
from networks import training_gradients

import lie_ref
from lie_ref.fast import convolution
from lie_ref.machine import threads

EXAMPLES, INPUTS = 6, 32


@pytest.fixture(params=["mxresnet-tiny", "mxresnet-small"])
def preset(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Floating-point operations of the convolutions, and numbers in the patches that they multiply.

    With one thread the counts are exact, and the peak of memory is the same every time.
    """
    found: Counter[str] = Counter()

    def counted(name: str, patches: Callable[..., int], inner: Callable[..., int]) -> None:
        multiply = getattr(convolution, name)

        def counting(*given: np.ndarray) -> Any:
            product = multiply(*given)
            found.update(flops=2 * (given[-1] if product is None else product).size * inner(*given))
            found.update(patches=patches(*given))
            return product

        monkeypatch.setattr(convolution, name, counting)

    for name in ("multiply", "multiply_few"):  # these write into their last argument
        counted(name, lambda rows, kernels, out: rows.size, lambda rows, kernels, out: rows.shape[-1])
    counted("contract", lambda a, b: b.size, lambda a, b: a.shape[-2])
    counted("multiply_in_tiles", lambda a, b: 0, lambda a, b: a.shape[-1])
    monkeypatch.setattr(threads, "threads", lambda: 1)
    return found


@contextmanager
def memory_below(megabytes: float) -> Iterator[None]:
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < megabytes * 1e6


def numbers_in_patches(preset: str) -> int:
    """The numbers in the patches of one image, in all layers."""
    return sum(p.rows * p.inner for p in products(problem(preset, 1).model))


def test_an_evaluation_needs_little_more_than_the_fewest_operations_and_keeps_no_patches(preset, count):
    """The sweeps of the products compute the values of the six examples again: 24 passes in addition to 1,184.

    Pushing 15 tangents forward unfolds each of 32 inputs 2 + 15 times, the products with 5 directions unfold each of 6
    examples 3 (2 + 5) times, and the gradients 3 times: the patches of at most 688 images; some layers need fewer.
    If they were kept, they would fill fourteen times the memory.
    """
    p = problem(preset, INPUTS)
    with memory_below({"mxresnet-tiny": 120, "mxresnet-small": 260}[preset]):
        lie_ref.evaluate(p.model, p.params, p.buffers, p.x, p.y, EXAMPLES)
    assert count["flops"] < 1.025 * total_flops(problem(preset, 1).model, EXAMPLES, INPUTS)
    assert count["patches"] < 675 * numbers_in_patches(preset)


def test_a_training_step_multiplies_and_unfolds_three_times_and_keeps_no_patches(preset, count):
    """If the patches were kept, they would fill four times the memory."""
    p = problem(preset, INPUTS, np.float32)
    with memory_below({"mxresnet-tiny": 36, "mxresnet-small": 67}[preset]):
        training_gradients(p.model, p.params, p.buffers, p.x, p.y)
    layers = products(problem(preset, 1).model)
    assert count["flops"] <= sum(INPUTS * p.flops * (2 if p.first else 3) for p in layers)
    assert count["patches"] < 3.15 * INPUTS * numbers_in_patches(preset)
