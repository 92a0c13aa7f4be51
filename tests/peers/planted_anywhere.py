"""Common mistakes in code for brackets, made on top of a problem of the zoo in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from . import zoo
from .zoo import Theta

PAIRS = [(0, 1), (2, 0)]
EPSILON = 1e-2


class Bug(NamedTuple):
    """A mistake, the names that are right for it, and candidates with it: with products and brackets, or one alone."""

    mistake: str
    names: set[str]
    candidates: list[dict[str, Any]]


def bugs(case: zoo.Case) -> Iterator[Bug]:
    """All mistakes that apply to a problem."""
    theta, g = case.theta, {i: case.gradient(case.theta, i) for i in (0, 1, 2)}

    def h(i: int, d: Theta) -> Theta:
        return case.hvp(theta, i, d)

    def bracket(i: int, j: int) -> Theta:
        return total((1, h(j, g[i])), (-1, h(i, g[j])))

    def brackets(mistake: str, name: str, make: Callable[[int, int], Theta]) -> Bug:
        """A mistake in the bracket of a pair."""
        return Bug(mistake, set(name.split()), [{"bracket": [make(i, j) for i, j in PAIRS]}])

    def products(mistake: str, name: str, make: Callable[[int, int], Theta], alone: bool = True) -> Bug:
        """A mistake in the product of field j along i, which the brackets follow."""
        rows = [[make(j, i), make(i, j)] for i, j in PAIRS]
        b = {"bracket": [total((1, one), (-1, other)) for one, other in rows]}
        return Bug(mistake, set(name.split()), [{"hvp": rows} | b, b] if alone else [{"hvp": rows} | b])

    yield brackets("sign", "sign-swapped", lambda i, j: bracket(j, i))
    yield products("order", "pair-order-swapped", lambda j, i: h(i, g[j]), alone=False)
    yield brackets("plus", "plus-for-minus", lambda i, j: total((1, h(j, g[i])), (1, h(i, g[j]))))
    yield brackets("first term", "first-term-only", lambda i, j: h(j, g[i]))
    yield brackets("second term", "second-term-only", lambda i, j: total((-1, h(i, g[j]))))
    yield products("own gradient", "own-gradient", lambda j, i: h(j, g[j]))
    yield products("own Hessian", "own-hessian", lambda j, i: h(i, g[i]))
    yield brackets("factor", "factor", lambda i, j: total((0.25, bracket(i, j))))
    yield products("damping", "damping", lambda j, i: total((1, h(j, g[i])), (1e-2, g[i])))
    decayed = {i: total((1, g[i]), (1e-2, theta)) for i in g}
    yield products("decay", "weight-decay", lambda j, i: total((1, h(j, decayed[i])), (1e-2, decayed[i])))
    yield products("decay of directions", "weight-decay", lambda j, i: h(j, decayed[i]))
    both = products("not detached", "direction-not-detached", lambda j, i: total((1, h(j, g[i])), (1, h(i, g[j]))))
    yield both._replace(candidates=both.candidates[:1])  # whose brackets are zero
    yield products("normalised", "normalised-direction", lambda j, i: h(j, total((1 / norm(g[i]), g[i]))))
    yield brackets(
        "normalised bracket",
        "normalised-bracket",
        lambda i, j: total((1 / norm(g[i]) / norm(g[j]), bracket(i, j))),
    )
    most = next(bound for bound in (10.0, 5.0, 2.0, 0.5, 0.25, 0.1) if bound < min(map(norm, g.values())))
    clipped = {i: total((min(1, most / norm(a)), a)) for i, a in g.items()}
    yield products("clipped", "clipped-gradients", lambda j, i: h(j, clipped[i]))
    yield products("adding up", "gradients-add-up", lambda j, i: total((1, h(j, g[i])), (1, g[j])))
    first = bracket(0, 1)
    largest = max(first, key=lambda name: float(first[name].norm()))
    zeros = {largest: torch.zeros_like(theta[largest])}
    yield brackets("missing tensor", "tensors-left-out", lambda i, j: bracket(i, j) | zeros)
    weights = {i: {n: a * (not n.endswith("bias")) for n, a in of.items()} for i, of in g.items()}
    yield products("missing group", "direction-lacks-group", lambda j, i: h(j, weights[i]))
    yield products("layer-wise", "layerwise-hessian", lambda j, i: layerwise(lambda d: h(j, d), g[i]))
    turned = next(name for name in theta if theta[name].ndim > 1)
    yield brackets("turned axis", "tensors-reordered", lambda i, j: turn(bracket(i, j), turned))
    if sorted(theta) != list(theta):
        yield products("other order", "flattened-otherwise misread", lambda j, i: misread(h(j, g[i]), sorted(theta)))
    yield brackets("bfloat16", "lower-precision", lambda i, j: half(bracket(i, j)))
    yield brackets("after the step", "moved-between", lambda i, j: moved(case, g, i, j, whole=True))
    yield brackets("Hessian after the step", "moved-between", lambda i, j: moved(case, g, i, j, whole=False))
    yield products("mean", "hessian-of-mean", lambda j, i: total((0.5, h(j, g[i])), (0.5, h(i, g[i]))))
    yield products(
        "differences",
        "finite-differences finite-swap",
        lambda j, i: total((1e3, case.gradient(total((1, theta), (1e-3, g[i])), j)), (-1e3, g[j])),
    )
    yield brackets("swap", "finite-differences finite-swap", lambda i, j: swap(case, i, j))
    yield products("Fisher", "empirical-fisher", lambda j, i: total((inner(g[i], g[j]), g[j])))
    yield products("first direction", "rows-mixed products-elsewhere", lambda j, i: h(j, g[0]))


def total(*terms: tuple[float, Theta]) -> Theta:
    """The sum of multiples."""
    return {name: sum(c * a[name] for c, a in terms) for name in terms[0][1]}


def inner(a: Theta, b: Theta) -> float:
    return sum(float((a[name] * b[name]).sum()) for name in a)


def norm(a: Theta) -> float:
    return inner(a, a) ** 0.5


def layerwise(product: Callable[[Theta], Theta], d: Theta) -> Theta:
    """Products with the diagonal blocks of tensors."""
    return {name: product({n: a * (n == name) for n, a in d.items()})[name] for name in d}


def turn(a: Theta, name: str) -> Theta:
    return a | {name: a[name].flip(0)}


def misread(a: Theta, order: list[str]) -> Theta:
    """Tensors flattened in one order and read in another."""
    flat = torch.cat([a[name].reshape(-1) for name in order])
    parts = flat.split([t.numel() for t in a.values()])
    return {name: part.reshape(t.shape) for (name, t), part in zip(a.items(), parts, strict=True)}


def half(a: Theta) -> Theta:
    return {name: t.bfloat16().to(t.dtype) for name, t in a.items()}


def moved(case: zoo.Case, g: dict[int, Theta], i: int, j: int, whole: bool) -> Theta:
    """The bracket whose second product is taken after the first step."""
    there = total((1, case.theta), (-EPSILON, g[i]))
    second = case.hvp(there, i, case.gradient(there, j) if whole else g[j])
    return total((1, case.hvp(case.theta, j, g[i])), (-1, second))


def swap(case: zoo.Case, i: int, j: int) -> Theta:
    """θ(i then j) − θ(j then i), over ε²."""

    def step(theta: Theta, k: int) -> Theta:
        return total((1, theta), (-EPSILON, case.gradient(theta, k)))

    ends = step(step(case.theta, i), j), step(step(case.theta, j), i)
    return total((EPSILON**-2, ends[0]), (-(EPSILON**-2), ends[1]))
