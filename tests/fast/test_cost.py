"""What the fast path costs, counted and not timed: multiplications, numbers copied into patches, memory.

The counts are the same on every machine.  A change that computes 1 % more, unfolds pictures once more for each
direction or keeps what it unfolded does not pass.
"""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable
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


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that counts are exact and the largest memory is the same every time."""
    monkeypatch.setattr(threads, "threads", lambda: 1)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Of the convolutions' products: floating-point operations, and numbers in the patches that are multiplied."""
    found: Counter[str] = Counter()

    def counted(name: str) -> None:
        multiply = getattr(convolution, name)

        def counting(rows, kernels, out):
            found.update(flops=2 * out.size * rows.shape[-1], patches=rows.size)
            multiply(rows, kernels, out)

        monkeypatch.setattr(convolution, name, counting)

    def counted_contract(a, b):
        c = contract(a, b)
        found.update(flops=2 * c.size * a.shape[-2], patches=b.size)
        return c

    def counted_in_tiles(a, b):
        c = multiply_in_tiles(a, b)
        found.update(flops=2 * c.size * a.shape[-1])
        return c

    contract, multiply_in_tiles = convolution.contract, convolution.multiply_in_tiles
    counted("multiply")
    counted("multiply_few")
    monkeypatch.setattr(convolution, "contract", counted_contract)
    monkeypatch.setattr(convolution, "multiply_in_tiles", counted_in_tiles)
    return found


def evaluation(preset: str) -> Callable[[], Any]:
    p = problem(preset, INPUTS)
    return lambda: lie_ref.evaluate(p.model, p.params, p.buffers, p.x, p.y, EXAMPLES)


def step(preset: str) -> Callable[[], Any]:
    p = problem(preset, INPUTS, np.float32)
    return lambda: training_gradients(p.model, p.params, p.buffers, p.x, p.y)


def numbers_in_patches(preset: str) -> int:
    """Of one picture, in all layers."""
    return sum(p.rows * p.inner for p in products(problem(preset, 1).model))


def test_an_evaluation_multiplies_hardly_more_than_it_must(preset, count):
    """The sweeps of the products repeat the six examples' values: 24 passes more than 1,184."""
    evaluation(preset)()
    assert count["flops"] < 1.025 * total_flops(problem(preset, 1).model, EXAMPLES, INPUTS)


def test_an_evaluation_unfolds_a_picture_for_each_direction_once_a_product(preset, count):
    """With 15 tangents, 2 + 15 times for each of the 32 inputs; with 5 directions, 3 (2 + 5) times for each of the six
    examples, and 3 for its gradient: 688 pictures' patches, were it not for the layers that need fewer."""
    evaluation(preset)()
    assert count["patches"] < 675 * numbers_in_patches(preset)


def test_a_training_step_multiplies_and_unfolds_three_times(preset, count):
    step(preset)()
    layers = products(problem(preset, 1).model)
    assert count["flops"] <= sum(INPUTS * p.flops * (2 if p.first else 3) for p in layers)
    assert count["patches"] < 3.15 * INPUTS * numbers_in_patches(preset)


def test_nothing_unfolded_is_kept(preset):
    """The patches of an evaluation fill fourteen times as much, those of a training step four times."""
    sizes = {"mxresnet-tiny": (120, 36), "mxresnet-small": (260, 67)}[preset]
    for work, megabytes in zip((evaluation(preset), step(preset)), sizes, strict=True):
        tracemalloc.start()
        work()
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert largest < megabytes * 1e6
