"""lie_ref, with the process set up as by its command line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

import lie_ref
from lie_ref.machine.process import keep_freed_memory, use_one_blas_thread
from lie_ref.study.training import Adam, Training

from .flops import by_matmul, in_pieces, product_seconds
from .work import Arrays, Part, parts_of_training, prefixed, problem, step_results

use_one_blas_thread()
keep_freed_memory()
PICTURES = 256
LEAST_BRACKETS = 120  # some 0.7 s


def evaluation(preset: str, inputs: int, examples: int, share: bool = False) -> dict[str, Part]:
    """`evaluate`; with `share`, also the time of its matrix products alone, by NumPy or in lie_ref's pieces."""
    p = problem(preset, inputs)

    def evaluate() -> Arrays:
        ev = lie_ref.evaluate(p.model, p.params, p.buffers, p.x, p.y, examples)
        logits = {"logits": ev.logits, "logit_delta": ev.logit_delta}
        return prefixed("gradient", ev.gradients) | prefixed("bracket", ev.brackets) | logits

    parts = {"evaluate": Part({"": evaluate})}
    if share:
        for name, multiply in (("by matmul", by_matmul), ("in pieces", in_pieces)):
            parts[name] = Part({"": partial(product_seconds, p.model, examples, inputs, multiply)})
    return parts


def bracket(preset: str) -> dict[str, Part]:
    p = problem(preset, 2)

    def one() -> Arrays:
        return prefixed("bracket", lie_ref.brackets(p.model, p.params, p.buffers, p.x, p.y, [(0, 1)]))

    return {"bracket": Part({"": one})}


def norms(preset: str, n: int, shown: int) -> dict[str, Part]:
    """`bracket_norms` of all pairs of n examples, timed per bracket; the results are those of the first examples.

    A small number of pairs is computed repeatedly, so that every measurement takes long enough.
    """
    p, pairs = problem(preset, n), n * (n - 1) // 2
    repeat = -(-LEAST_BRACKETS // pairs)

    def all_pairs() -> Arrays:
        for _ in range(repeat):
            found = lie_ref.bracket_norms(p.model, p.params, p.buffers, p.x, p.y)
        return {"norms": found[:shown, :shown]}

    return {"norms": Part({"": all_pairs}, times=repeat * pairs)}


def scores(preset: str, score: str, n: int) -> dict[str, Part]:
    """A score of n examples in float32 (the bracket score with 16 partners); the results are those of the first.

    The examples repeat a few pictures, so that the memory is that of the scoring.
    """
    p = problem(preset, PICTURES, np.float32)
    network = p.model, [(p.params, p.buffers)]
    x, y = (Repeated(a, n) for a in (p.x, p.y))

    def found() -> Arrays:
        if score == "bracket":
            return {score: lie_ref.measure.scores.bracket_score(*network, x, y, range(16)).rms[:PICTURES]}
        return {score: getattr(lie_ref.measure.scores, score)(*network, x, y)[:PICTURES]}

    return {score: Part({"": found})}


class Repeated:
    """n rows that repeat a smaller number of rows."""

    def __init__(self, rows: np.ndarray, n: int) -> None:
        self.rows, self.n = rows, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, some: slice) -> np.ndarray:
        return self.rows[np.arange(*some.indices(self.n)) % len(self.rows)]


def training(preset: str, batch: int, steps: int, lr: float, betas: tuple[float, float]) -> dict[str, Part]:
    """Training steps with Adam, as the experiment takes them."""

    def trainer(dtype: type, _: None) -> Callable[[int], Arrays]:
        p = problem(preset, batch, dtype)
        run = Training(p.model, OneBatch(p.x, p.y), 0, batch, lr, betas)
        run.params, run.buffers, run.adam = p.params, p.buffers, Adam(p.params, lr, betas)

        def advance(steps: int) -> Arrays:
            losses = [run.advance().loss for _ in range(steps)]
            return step_results(losses[-1], mean=run.adam.mean, param=run.params, buffer=run.buffers)

        return advance

    return parts_of_training(trainer, steps, **{"": None})


class OneBatch:
    """A data set of one mini-batch."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = x, y

    def indices(self, split: str) -> np.ndarray:
        return np.arange(len(self.x))

    def batch(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.x[rows], self.y[rows]
