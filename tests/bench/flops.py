"""The number of floating-point operations in the matrix products of `evaluate`, and their rate on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from lie_ref.fast.gemm import in_panels, multiply, multiply_few

from .work import SIDE, THREADS

Multiply = Callable[[np.ndarray, np.ndarray], Callable[[], None]]


@dataclass(frozen=True)
class Product:
    """One example's forward pass through a convolution or linear layer: (rows, inner) @ (inner, columns)."""

    rows: int
    inner: int
    columns: int
    first: bool  # its input is the picture

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.inner * self.columns


def products(model: Any, side: int = SIDE) -> list[Product]:
    """The layers of an MXResNet of basic blocks on side × side pictures; rows are pixels, inner is kernel² · inputs."""
    assert model.spec["expansion"] == 1  # in a bottleneck, a convolution comes before the stride
    found = []
    for name, shape in model.parameter_shapes.items():
        place = int(name.split(".")[0])  # 0, 1, 2: the stem; 3: max-pool; then the stages, each at half the size
        halvings = 1 if place < 3 else place - 2
        rows = (-(-side // 2**halvings)) ** 2 if len(shape) == 4 else 1
        if len(shape) > 1:
            found.append(Product(rows, int(np.prod(shape[1:])), shape[0], first=name == "0.0.weight"))
    return found


def evaluation_flops(product: Product, examples: int, inputs: int) -> int:
    """The operations in a layer's matrix products during `evaluate`, with each product counted once.

    Here x is the layer's input, P its patches, W the weight, c the output's cotangent, and d the change along a
    direction.  In units of one forward pass of one example:

        forward    values      x ∗ W                            1 for each input
        backward   values      Pᵀc, c ∗ᵀ W                      2 for each of e examples
        forward    tangents    x ∗ dW, dx ∗ W                   2 for each Hessian-vector product (e (e − 1) of them)
        backward   tangents    Pᵀdc, dPᵀc, dc ∗ᵀ W, c ∗ᵀ dW     4 for each Hessian-vector product
        push-forward           x ∗ dW, dx ∗ W                   2 for each input and bracket

    The first layer has no dx and no c ∗ᵀ W, so each of its lines counts 1.
    """
    hvps = examples * (examples - 1)
    two, four = (1, 1) if product.first else (2, 4)
    return product.flops * (inputs + two * examples + (two + four) * hvps + two * inputs * (hvps // 2))


def total_flops(model: Any, examples: int, inputs: int) -> int:
    return sum(evaluation_flops(p, examples, inputs) for p in products(model))


def product_seconds(model: Any, examples: int, inputs: int, multiply: Multiply) -> float:
    """The time of the products of `evaluate` if all products of a layer ran at the rate of its forward product.

    The rate is that of all threads, for the rows of one example or of sixteen, whichever is faster.
    """
    total = 0.0
    with ThreadPoolExecutor(THREADS) as pool:
        for p in products(model):
            rates = (rate(pool, n, p.inner, p.columns, multiply) for n in (p.rows, 16 * p.rows))
            total += evaluation_flops(p, examples, inputs) / max(rates)
    return total


def rate(pool: ThreadPoolExecutor, rows: int, inner: int, columns: int, multiply: Multiply) -> float:
    """Floating-point operations per second of (rows, inner) @ (inner, columns) in float64, in all threads together."""
    flops = 2 * rows * inner * columns
    repeat = max(1, 10**8 // flops)  # some milliseconds
    prepared = [multiply(np.ones((rows, inner)), np.ones((inner, columns))) for _ in range(THREADS)]

    def work(k: int) -> None:
        for _ in range(repeat):
            prepared[k]()

    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        list(pool.map(work, range(THREADS)))
        seconds.append(time.perf_counter() - start)
    return THREADS * repeat * flops / min(seconds)


def by_matmul(a: np.ndarray, b: np.ndarray) -> Callable[[], None]:
    """A function that computes the product by NumPy."""
    out = np.empty((len(a), b.shape[1]))
    return lambda: np.matmul(a, b, out=out)


def in_pieces(a: np.ndarray, b: np.ndarray) -> Callable[[], None]:
    """A function that computes the product as lie_ref does: b in panels, or a if it has fewer rows than b columns."""
    out = np.empty((1, len(a), b.shape[1]))
    if len(a) < b.shape[1]:
        kernels = np.ascontiguousarray(b.T)[None]
        return lambda: multiply_few(a, kernels, out)
    panels = in_panels(b.T)[None]
    return lambda: multiply(a, panels, out)
