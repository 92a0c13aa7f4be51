"""The work that all contestants are given, and what a peer has to know to do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

import lie_ref

Arrays = dict[str, np.ndarray]
State = dict[str, Any]  # name → array of NumPy's, PyTorch's or JAX's
Run = Callable[[], "Arrays | float"]  # returns its results, or how many seconds it took if it knows better

SIDE = 64  # pixels
THREADS = 2


@dataclass(frozen=True)
class Part:
    """A part of a contestant's work: ways to do it, of which the fastest counts, and how many times a run does it."""

    ways: dict[str, Run]
    times: int = 1
    timed: bool = True  # or else only its results are wanted


@dataclass(frozen=True)
class Problem:
    """A network at generic weights, n random pictures x (n, 3, SIDE, SIDE) and targets y (n, 40), all of one dtype."""

    model: Any
    params: Arrays
    buffers: Arrays
    x: np.ndarray
    y: np.ndarray


def problem(preset: str, n: int, dtype: Any = np.float64) -> Problem:
    """The same in every process. No weight is at its initial zero, which would cut whole branches off."""
    model = lie_ref.preset(preset, n_out=40)
    params, buffers = model.init(seed=0)
    rng = np.random.default_rng(0)
    for name, p in params.items():
        if p.ndim == 1:
            params[name] = p + rng.normal(0, 0.3, p.shape)
    for name, b in buffers.items():
        buffers[name] = rng.normal(0, 0.3, b.shape) if name.endswith("mean") else rng.uniform(0.5, 2, b.shape)
    x = np.random.default_rng(1).normal(size=(n, 3, SIDE, SIDE))  # fewer examples are the first of more
    y = np.random.default_rng(2).integers(0, 2, size=(n, 40))
    params, buffers = ({name: a.astype(dtype) for name, a in arrays.items()} for arrays in (params, buffers))
    return Problem(model, params, buffers, x.astype(dtype), y.astype(dtype))


@dataclass(frozen=True)
class Peer:
    """How a peer differentiates; directions and tangents are name → (*shape), or (k, *shape) where there are many.

    `gradients()` of the first examples; `hvp(j, d)`, `hvps_of_one(j, ds)`, `hvps(js, ds)`: H_j d, one example j for all
    directions or one for each; `change(t)`, `changes(ts)`: all logits, and their changes.
    """

    gradients: Callable[[], State]
    hvp: Callable[[int, State], State]
    hvps_of_one: Callable[[int, State], State]
    hvps: Callable[[np.ndarray, State], State]
    change: Callable[[Arrays], tuple[Any, Any]]
    changes: Callable[[Arrays], tuple[Any, Any]]


def ways_to_bracket(peer: Peer, examples: int) -> dict[str, Callable[[], Arrays]]:
    """Gradients and brackets of all pairs i < j: each H_j g_i by itself, by `vmap` over those of one j, or over all."""
    orders = np.array(list(permutations(range(examples), 2)))  # (j, i), those of one j together
    of, along = orders.T
    pairs = [(i, j) for i, j in orders.tolist() if i < j]
    forth, back = ([orders.tolist().index(list(order)) for order in some] for some in ([p[::-1] for p in pairs], pairs))

    def in_a_loop(g: State) -> State:
        found = [peer.hvp(j, at(g, i)) for j, i in orders.tolist()]
        return {name: np.stack([h[name] for h in found]) for name in g}

    def by_example(g: State) -> State:
        found = [peer.hvps_of_one(j, at(g, along[of == j])) for j in range(examples)]
        return {name: np.concatenate([h[name] for h in found]) for name in g}

    def way(products: Callable[[State], State]) -> Callable[[], Arrays]:
        def run() -> Arrays:
            g = peer.gradients()
            h = {name: np.asarray(a) for name, a in products(g).items()}
            brackets = {f"bracket/{name}": a[forth] - a[back] for name, a in h.items()}
            return {f"gradient/{name}": np.asarray(a) for name, a in g.items()} | brackets

        return run

    at_once = lambda g: peer.hvps(of, at(g, along))  # noqa: E731
    return {"loop": way(in_a_loop), "vmap by example": way(by_example), "vmap": way(at_once)}


def parts_of_evaluation(peer: Peer, examples: int) -> dict[str, Part]:
    """`ways_to_bracket`; then the push-forward, one bracket after the other or by `vmap`."""
    tangents: Arrays = {}

    def noting(run: Callable[[], Arrays]) -> Run:
        def noted() -> Arrays:
            found = run()
            tangents.update({k.removeprefix("bracket/"): a for k, a in found.items() if k.startswith("bracket/")})
            return found

        return noted

    def in_a_loop() -> Arrays:
        count = len(next(iter(tangents.values())))
        logits, changes = zip(*[peer.change(at(tangents, k)) for k in range(count)], strict=True)
        return {"logits": np.asarray(logits[0]), "logit_delta": np.stack(changes)}

    def at_once() -> Arrays:
        logits, changes = peer.changes(tangents)
        return {"logits": np.asarray(logits), "logit_delta": np.asarray(changes)}

    brackets = {name: noting(run) for name, run in ways_to_bracket(peer, examples).items()}
    return {"brackets": Part(brackets), "push-forward": Part({"loop": in_a_loop, "vmap": at_once})}


def parts_of_training(trainer: Callable[..., Callable[[int], Arrays]], steps: int, **ways: Any) -> dict[str, Part]:
    """Training steps in float32, a step's share of the time, in each way; as results two steps in float64.

    `trainer(dtype, way)(steps)` takes so many more steps.
    """
    exact = trainer(np.float64, next(iter(ways.values())))
    fast = {name: trainer(np.float32, way) for name, way in ways.items()}
    return {
        "float64": Part({"": lambda: exact(2)}, timed=False),
        "float32": Part({name: lambda run=run: run(steps) and {} for name, run in fast.items()}, times=steps),
    }


def step_results(loss: Any, **groups: State) -> Arrays:
    """What training steps are compared by: the last loss, and the state that they leave."""
    named = {f"{group}/{name}": np.array(a) for group, arrays in groups.items() for name, a in arrays.items()}
    return {"loss": np.array(loss), **named}


def at(arrays: State, index: Any) -> State:
    """One gradient or bracket of many, or some of them."""
    return {name: a[index] for name, a in arrays.items()}
