"""`python -m tests.bench.checkers`: `lie_ref.check` beside the checkers of PyTorch, JAX and autograd.

They are given the same 20 problems, and 15 bugs in five of them.  The peers check derivatives of a function with a rule
of its own.  Here the function is the gradient θ ↦ ∇L, and the rule is the user's product with the Hessian.  That is
what they see best.  A bug in the formula of a bracket is none of their business, and counts as not found.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from lie_ref import check
from lie_ref.oracle import Verdict

SEEDS, WIDTH, POINTS = range(4), 4, 6
Product = Callable[[Any, int, Any], Any]


class Framework(NamedTuple):
    """A peer: its array functions, which have the names of NumPy's, its derivatives, and its checker."""

    name: str
    functions: Any
    array: Callable[[np.ndarray], Any]
    gradient: Callable[[Callable[..., Any]], Callable[..., Any]]  # by the first argument
    passes: Callable[[Callable[[Any], Any], Callable[[Any, Any], Any], Any], bool]  # gradient, product, θ


def regression(f: Any, w: Any, x: Any, y: Any) -> Any:
    return f.sum((f.tanh(x @ w[:4]) @ w[4:8] - y) ** 2)


def logistic(f: Any, w: Any, x: Any, y: Any) -> Any:
    z = f.tanh(x @ w[:4]) @ w[4:8]
    return f.sum(f.log(1 + f.exp(z)) - (y > 0) * z)


def classifier(f: Any, w: Any, x: Any, y: Any) -> Any:
    z = f.tanh(x @ w[:4]) @ w[4:8]
    return f.sum(f.log(f.sum(f.exp(z), 1)) - z[:, 0])


def attention(f: Any, w: Any, x: Any, y: Any) -> Any:
    scores = f.exp((x @ w[:4]) @ (x @ w[4:8]).T / 2)
    return f.sum((scores / f.sum(scores, 1)[:, None] @ x @ w[8:] - y) ** 2)


def normalised(f: Any, w: Any, x: Any, y: Any) -> Any:
    z = x @ w[:4]
    z = z / f.sqrt(f.sum(z * z, 1) / 4 + 0.01)[:, None]
    return f.sum((z @ w[4:8] - y) ** 2)


LOSSES = (regression, logistic, classifier, attention, normalised)


class Problem:
    """A loss of two examples at one θ (12, 4) in one framework, with exact products by its own derivatives."""

    def __init__(self, framework: Framework, loss: Callable[..., Any], seed: int, dtype: Any) -> None:
        rng = np.random.default_rng([seed, LOSSES.index(loss)])
        theta, x, y = (rng.standard_normal(s) for s in ((3 * WIDTH, WIDTH), (2, POINTS, WIDTH), (2, POINTS, WIDTH)))
        self.theta, self.x, self.y = (framework.array(a.astype(dtype)) for a in (theta / 2, x, y))
        self.framework, self.dtype, f = framework, dtype, framework.functions

        def loss_of(i: int) -> Callable[[Any], Any]:
            return lambda t: loss(f, t, self.x[i], self.y[i])

        def along(i: int) -> Callable[[Any, Any], Any]:
            return lambda t, d: f.sum(self.gradients[i](t) * d)

        self.gradients = [framework.gradient(loss_of(i)) for i in (0, 1)]
        self.products = [framework.gradient(along(i)) for i in (0, 1)]

    def gradient(self, theta: Any, i: int) -> Any:
        return self.gradients[i](theta)

    def hvp(self, theta: Any, i: int, d: Any) -> Any:
        return self.products[i](theta, d)

    def passes_peer(self, product: Product) -> bool:
        """Whether the peer's checker accepts the product as the rule of the gradient of example 0."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.framework.passes(lambda t: self.gradient(t, 0), lambda t, d: product(t, 0, d), self.theta)
        except Exception:  # the checkers report what they find by exceptions of many kinds
            return False

    def verdict(self, candidate: dict[str, Any]) -> Verdict:
        return check(self.gradient, self.theta, candidate)


def wrong_products(p: Problem) -> dict[str, Product]:
    """Ten bugs in a product of the Hessian of field i along d."""
    rows = np.ones((3 * WIDTH, 1))
    rows[:WIDTH] = 0
    upper = p.framework.array(rows.astype(p.dtype))
    one = np.zeros((3 * WIDTH, WIDTH))
    one[0, 0] = 1
    corner = p.framework.array(one.astype(p.dtype))
    h = p.hvp

    def blocks(t: Any, i: int, d: Any) -> Any:
        return upper * h(t, i, upper * d) + (1 - upper) * h(t, i, (1 - upper) * d)

    def norm(d: Any) -> Any:
        return p.framework.functions.sum(d * d) ** 0.5

    return {
        "off by 1e-4": lambda t, i, d: h(t, i, d) * (1 + 1e-4),
        "off by 1e-8": lambda t, i, d: h(t, i, d) * (1 + 1e-8),
        "one entry off by 1e-5": lambda t, i, d: h(t, i, d) + 1e-5 * norm(h(t, i, d)) * corner,
        "sign": lambda t, i, d: -h(t, i, d),
        "damping 1e-2": lambda t, i, d: h(t, i, d) + 1e-2 * d,
        "damping 1e-6": lambda t, i, d: h(t, i, d) + 1e-6 * d,
        "direction lacks a layer": lambda t, i, d: h(t, i, upper * d),
        "layer-wise blocks": blocks,
        "of the other example": lambda t, i, d: h(t, 1 - i, d),
        "gradient not zeroed": lambda t, i, d: h(t, i, d) + p.gradient(t, i),
    }


def wrong_brackets(p: Problem) -> dict[str, Callable[[Any, int, int], Any]]:
    """Five bugs in a bracket made of right products."""
    g, h = p.gradient, p.hvp

    def later(t: Any, i: int, j: int) -> Any:
        there = t - 0.01 * g(t, i)
        return h(t, j, g(t, i)) - h(there, i, g(there, j))

    return {
        "bracket's sign": lambda t, i, j: h(t, i, g(t, j)) - h(t, j, g(t, i)),
        "plus for minus": lambda t, i, j: h(t, i, g(t, j)) + h(t, j, g(t, i)),
        "first term alone": lambda t, i, j: h(t, j, g(t, i)),
        "own gradients": lambda t, i, j: h(t, j, g(t, j)) - h(t, i, g(t, i)),
        "second product after a step": later,
    }


def problems(framework: Framework, dtype: Any, seeds: Iterable[int] = SEEDS) -> Iterator[Problem]:
    for loss in LOSSES:
        for seed in seeds:
            yield Problem(framework, loss, seed, dtype)


def row(framework: Framework) -> str:
    """The table's line for one peer."""
    alarms = {"lie_ref": [0, 0], framework.name: [0, 0]}
    times: list[float] = []
    for column, dtype in enumerate((np.float64, np.float32)):
        for p in problems(framework, dtype):
            began = time.perf_counter()
            ours = p.verdict({"hvp": p.hvp}).agrees
            between = time.perf_counter()
            theirs = p.passes_peer(p.hvp)
            times.append((between - began) / (time.perf_counter() - between))
            alarms["lie_ref"][column] += ours is False
            alarms[framework.name][column] += not theirs
    found, named, peer = 0, 0, 0
    bugs = 0
    for p in problems(framework, np.float64, seeds=[0]):  # a check of a wrong product takes many gradients
        wrong = [("hvp", f) for f in wrong_products(p).values()] + [("bracket", f) for f in wrong_brackets(p).values()]
        for quantity, function in wrong:
            verdict = p.verdict({quantity: function})
            bugs, found = bugs + 1, found + (verdict.agrees is False)
            named += bool(verdict.diagnosis)
            peer += quantity == "hvp" and not p.passes_peer(function)
    each = bugs / len(wrong)
    cells = [
        framework.name,
        *(f"{alarms[who][0]} / {alarms[who][1]}" for who in ("lie_ref", framework.name)),
        *(f"{count / each:.1f}" for count in (found, named, peer)),
        f"{median(times):.2g}",
    ]
    return f"| {' | '.join(cells)} |"


def in_torch() -> Framework:
    import torch

    def passes(gradient: Callable[[Any], Any], product: Callable[[Any, Any], Any], theta: Any) -> bool:
        class Ruled(torch.autograd.Function):
            @staticmethod
            def forward(context: Any, t: Any) -> Any:
                context.save_for_backward(t)
                return gradient(t.detach())

            @staticmethod
            def backward(context: Any, d: Any) -> Any:
                return product(context.saved_tensors[0].detach(), d.detach())

        return torch.autograd.gradcheck(Ruled.apply, theta.clone().requires_grad_())

    torch.set_num_threads(1)
    return Framework("torch.autograd.gradcheck", torch, torch.from_numpy, torch.func.grad, passes)


def in_jax() -> Framework:
    import jax
    import jax.numpy
    import jax.test_util

    jax.config.update("jax_enable_x64", True)

    def passes(gradient: Callable[[Any], Any], product: Callable[[Any, Any], Any], theta: Any) -> bool:
        ruled = jax.custom_vjp(gradient)
        ruled.defvjp(lambda t: (gradient(t), t), lambda t, d: (product(t, d),))
        jax.test_util.check_grads(ruled, (theta,), order=1, modes=["rev"])
        return True

    return Framework("jax.test_util.check_grads", jax.numpy, jax.numpy.asarray, lambda f: jax.jit(jax.grad(f)), passes)


def in_autograd() -> Framework:
    import autograd
    import autograd.numpy
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    def passes(gradient: Callable[[Any], Any], product: Callable[[Any, Any], Any], theta: Any) -> bool:
        ruled = primitive(gradient)
        defvjp(ruled, lambda answer, t: lambda d: product(t, d))
        check_grads(ruled, modes=["rev"], order=1)(theta)
        return True

    return Framework("autograd.test_util.check_grads", autograd.numpy, lambda a: a, autograd.grad, passes)


def main() -> None:
    print(
        "20 problems, 15 bugs in each of five; false alarms in float64 / float32; time of lie_ref over that of the peer"
    )
    print("| peer | false alarms, lie_ref | false alarms, peer | bugs found, lie_ref | named | found, peer | time |")
    print("| --- " * 7 + "|")
    for module, made in (("torch", in_torch), ("jax", in_jax), ("autograd", in_autograd)):
        if importlib.util.find_spec(module):
            print(row(made()), flush=True)


if __name__ == "__main__":
    main()
