"""How many floating-point operations the matrix products of `evaluate` take, and how fast this machine does those."""

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
    """The layers of an MXResNet of basic blocks for pictures of side × side: rows are pixels, inner is kernel² · in."""
    assert model.spec["expansion"] == 1  # or the first convolution of a block is before its stride
    found = []
    for name, shape in model.parameter_shapes.items():
        place = int(name.split(".")[0])  # 0, 1, 2: the stem; 3: max-pool; then the stages, each at half the size
        halvings = 1 if place < 3 else place - 2
        rows = (-(-side // 2**halvings)) ** 2 if len(shape) == 4 else 1
        if len(shape) > 1:
            found.append(Product(rows, int(np.prod(shape[1:])), shape[0], first=name == "0.0.weight"))
    return found


def evaluation_flops(product: Product, examples: int, inputs: int) -> int:
    """What `evaluate` takes of a layer's matrix products, each counted once however often it is computed.

    With x the layer's input, P its patches, W the weight, c the output's cotangent, and d the change along a direction:

        forward    values      x ∗ W                            1 for each input
        backward   values      Pᵀc, c ∗ᵀ W                      2 for each of the examples
        forward    tangents    x ∗ dW, dx ∗ W                   2 for each Hessian-vector product (e (e − 1) of them)
        backward   tangents    Pᵀdc, dPᵀc, dc ∗ᵀ W, c ∗ᵀ dW     4 for each Hessian-vector product
        push-forward           x ∗ dW, dx ∗ W                   2 for each input and bracket

    in units of one forward pass of one example. The first layer has no dx and no c ∗ᵀ W: 1 in each line.
    """
    hvps = examples * (examples - 1)
    two, four = (1, 1) if product.first else (2, 4)
    return product.flops * (inputs + two * examples + (two + four) * hvps + two * inputs * (hvps // 2))


def total_flops(model: Any, examples: int, inputs: int) -> int:
    """Of all layers."""
    return sum(evaluation_flops(p, examples, inputs) for p in products(model))


def product_seconds(model: Any, examples: int, inputs: int, multiply: Multiply) -> float:
    """How long the products of `evaluate` would take if each layer's all went at the rate of its forward product.

    The rate is that of all threads, with one example's rows or sixteen's, whichever is faster.
    """
    total = 0.0
    with ThreadPoolExecutor(THREADS) as pool:
        for p in products(model):
            rates = (rate(pool, n, p.inner, p.columns, multiply) for n in (p.rows, 16 * p.rows))
            total += evaluation_flops(p, examples, inputs) / max(rates)
    return total


def rate(pool: ThreadPoolExecutor, rows: int, inner: int, columns: int, multiply: Multiply) -> float:
    """Floating-point operations a second of (rows, inner) @ (inner, columns) in float64, all threads together."""
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
    """The product as NumPy computes it, ready to be computed."""
    out = np.empty((len(a), b.shape[1]))
    return lambda: np.matmul(a, b, out=out)


def in_pieces(a: np.ndarray, b: np.ndarray) -> Callable[[], None]:
    """The same as lie_ref computes it: the second factor in panels, or the first if it has fewer rows."""
    out = np.empty((1, len(a), b.shape[1]))
    if len(a) < b.shape[1]:
        kernels = np.ascontiguousarray(b.T)[None]
        return lambda: multiply_few(a, kernels, out)
    panels = in_panels(b.T)[None]
    return lambda: multiply(a, panels, out)
