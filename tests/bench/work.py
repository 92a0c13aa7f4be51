"""The work of all contestants, and the parts of it that PyTorch and JAX have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

import lie_ref

Arrays = dict[str, np.ndarray]
State = dict[str, Any]  # name → array of NumPy's, PyTorch's or JAX's
Run = Callable[[], "Arrays | float"]  # returns its results, or the seconds that it measured itself

SIDE = 64  # pixels
THREADS = 2


@dataclass(frozen=True)
class Part:
    """A part of a contestant's work: variants, the fastest of which counts, and how many times a run does the work."""

    variants: dict[str, Run]
    times: int = 1
    timed: bool = True  # otherwise only its results are compared


@dataclass(frozen=True)
class Problem:
    """A network with generic weights, random pictures x (n, 3, SIDE, SIDE) and targets y (n, 40), all of one dtype."""

    model: Any
    params: Arrays
    buffers: Arrays
    x: np.ndarray
    y: np.ndarray


def problem(preset: str, n: int, dtype: Any = np.float64) -> Problem:
    """The same problem in every process; no weight is 0, which would cut off whole branches."""
    model = lie_ref.preset(preset, n_out=40)
    params, buffers = model.init(seed=0)
    rng = np.random.default_rng(0)
    for name, p in params.items():
        if p.ndim == 1:
            params[name] = p + rng.normal(0, 0.3, p.shape)
    for name, b in buffers.items():
        buffers[name] = rng.normal(0, 0.3, b.shape) if name.endswith("mean") else rng.uniform(0.5, 2, b.shape)
    x = np.random.default_rng(1).normal(size=(n, 3, SIDE, SIDE))  # a smaller n gives the first examples of a larger n
    y = np.random.default_rng(2).integers(0, 2, size=(n, 40))
    params, buffers = ({name: a.astype(dtype) for name, a in arrays.items()} for arrays in (params, buffers))
    return Problem(model, params, buffers, x.astype(dtype), y.astype(dtype))


@dataclass(frozen=True)
class Peer:
    """A problem in another framework: the loss (params, x, y) of one example, logits (params, x), and their arguments.

    `transforms` has `grad`, `jvp` and `vmap`.  `tensor` converts an array, and `compiled` a function.
    """

    transforms: Any
    loss: Callable[[State, Any, Any], Any]
    logits: Callable[[State, Any], Any]
    params: State
    x: Any
    y: Any
    tensor: Callable[[np.ndarray], Any] = lambda a: a
    compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: function


def variants_of_brackets(peer: Peer, examples: int, latest: Arrays) -> dict[str, Run]:
    """Gradients and the brackets of all pairs i < j: each H_j g_i alone, by `vmap` over those of one j, or over all.

    A run leaves its brackets in `latest`.
    """
    orders = np.array(list(permutations(range(examples), 2)))  # (j, i), sorted by j
    of, along = orders.T
    pairs = [(i, j) for i, j in orders.tolist() if i < j]
    forth, back = ([orders.tolist().index(list(order)) for order in some] for some in ([p[::-1] for p in pairs], pairs))
    theta, x, y, vmap = peer.params, peer.x, peer.y, peer.transforms.vmap

    def hvp(params: State, x: Any, y: Any, direction: State) -> State:
        gradient = lambda params: peer.transforms.grad(peer.loss)(params, x, y)  # noqa: E731
        return peer.transforms.jvp(gradient, (params,), (direction,))[1]

    gradients = peer.compiled(vmap(peer.transforms.grad(peer.loss), (None, 0, 0)))
    one_hvp, hvps_of_one = peer.compiled(hvp), peer.compiled(vmap(hvp, (None, None, None, 0)))
    hvps = peer.compiled(vmap(hvp, (None, 0, 0, 0)))

    def in_a_loop(g: State) -> State:
        found = [one_hvp(theta, x[j], y[j], at(g, i)) for j, i in orders.tolist()]
        return {name: np.stack([h[name] for h in found]) for name in g}

    def by_example(g: State) -> State:
        found = [hvps_of_one(theta, x[j], y[j], at(g, along[of == j])) for j in range(examples)]
        return {name: np.concatenate([h[name] for h in found]) for name in g}

    def at_once(g: State) -> State:
        return hvps(theta, x[of], y[of], at(g, along))

    def variant(products: Callable[[State], State]) -> Run:
        def run() -> Arrays:
            g = gradients(theta, x[:examples], y[:examples])
            h = {name: np.asarray(a) for name, a in products(g).items()}
            latest.update({name: a[forth] - a[back] for name, a in h.items()})
            return prefixed("gradient", g) | prefixed("bracket", latest)

        return run

    return {name: variant(f) for name, f in (("loop", in_a_loop), ("vmap by example", by_example), ("vmap", at_once))}


def parts_of_evaluation(peer: Peer, examples: int) -> dict[str, Part]:
    """Gradients and brackets; then the push-forward, of one bracket after the other or by `vmap`."""
    tangents: Arrays = {}

    def change(params: State, x: Any, tangent: State) -> tuple[Any, Any]:
        return peer.transforms.jvp(lambda params: peer.logits(params, x), (params,), (tangent,))

    one_change = peer.compiled(change)
    changes = peer.compiled(peer.transforms.vmap(change, (None, None, 0), (None, 0)))

    def tensors(arrays: Arrays) -> State:
        return {name: peer.tensor(a) for name, a in arrays.items()}

    def in_a_loop() -> Arrays:
        count = len(next(iter(tangents.values())))
        found = [one_change(peer.params, peer.x, tensors(at(tangents, k))) for k in range(count)]
        return {"logits": np.asarray(found[0][0]), "logit_delta": np.stack([delta for _, delta in found])}

    def at_once() -> Arrays:
        logits, deltas = changes(peer.params, peer.x, tensors(tangents))
        return {"logits": np.asarray(logits), "logit_delta": np.asarray(deltas)}

    brackets = variants_of_brackets(peer, examples, tangents)
    return {"brackets": Part(brackets), "push-forward": Part({"loop": in_a_loop, "vmap": at_once})}


def parts_of_training(trainer: Callable[..., Callable[[int], Arrays]], steps: int, **variants: Any) -> dict[str, Part]:
    """Training steps in float32, timed per step, in each variant; the results compared are two steps in float64.

    `trainer(dtype, variant)(steps)` takes this number of further steps.
    """
    exact = trainer(np.float64, next(iter(variants.values())))
    fast = {name: trainer(np.float32, variant) for name, variant in variants.items()}
    return {
        "float64": Part({"": lambda: exact(2)}, timed=False),
        "float32": Part({name: lambda run=run: run(steps) and {} for name, run in fast.items()}, times=steps),
    }


def step_results(loss: Any, **groups: State) -> Arrays:
    """The results of training steps: the last loss and the state after it."""
    named = {key: np.array(a) for group, arrays in groups.items() for key, a in prefixed(group, arrays).items()}
    return {"loss": np.array(loss), **named}


def prefixed(prefix: str, arrays: State) -> Arrays:
    return {f"{prefix}/{name}": np.asarray(a) for name, a in arrays.items()}


def at(arrays: State, index: Any) -> State:
    """One or several of many gradients or brackets."""
    return {name: a[index] for name, a in arrays.items()}
