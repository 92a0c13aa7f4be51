"""The arrays of swaps under Adam in an evaluation file, computed here in another way from the state of Adam."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lie_ref
from lie_ref.core.problem import Solution
from lie_ref.fast import engine
from lie_ref.fast.arguments import checked_problem
from lie_ref.machine.files import read_npz
from lie_ref.measure.evaluation import among_first, shuffled_rms

MODEL = lie_ref.preset("mxresnet-tiny")


class Checkpoint:
    """The weights, the state of Adam and the evaluation of a run at a step, in float64."""

    def __init__(self, run: Path, step: int) -> None:
        state = read_npz(run / "checkpoints" / f"step_{step:06d}.npz")
        self.params, self.buffers, self.mean, self.square = (
            {n.removeprefix(group): a.astype(float) for n, a in state.items() if n.startswith(group)}
            for group in ("param/", "buffer/", "adam.mean/", "adam.square/")
        )
        self.count = int(state["counters"][1])
        self.found = read_npz(run / "evaluation" / f"step_{step:06d}.npz")
        self.x, self.y = self.found["x"][:6], self.found["y"][:6]
        self.g = lie_ref.gradients(MODEL, self.params, self.buffers, self.x, self.y)

    def update(self, name: str, *gradients: np.ndarray) -> np.ndarray:
        """Adam's update (learning rate 1) by the last of these gradients, one step each, as in its paper."""
        m, v = self.mean[name], self.square[name]
        for g in gradients:
            m, v = 0.8 * m + 0.2 * g, 0.999 * v + 0.001 * g**2
        t = self.count + len(gradients)
        return m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    def check(self, view: str, vectors: dict[str, np.ndarray], fields: dict[str, np.ndarray]) -> None:
        """The view has the arrays of these effects (15, *shape) and of these gradients (6, *shape)."""
        arrays = [self.found[f"{name}/{view}"] for name in ("norm", "rms_bracket", "rms_gradient", "logit_delta")]
        flat = [{n: a.reshape(len(a), -1) for n, a in arrays.items()} for arrays in (vectors, fields)]
        norm = np.sqrt(sum((a**2).sum(axis=1) for a in flat[0].values()))
        rms = [np.stack([np.sqrt((of[n] ** 2).mean(axis=1)) for n in MODEL.parameter_shapes], axis=1) for of in flat]
        delta = lie_ref.push_forward(MODEL, self.params, self.buffers, self.found["x"], vectors)
        for found, expected in zip(arrays, (norm, *rms, delta), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10 * np.abs(expected).max())


@pytest.fixture(scope="module")
def late(small_run: Path) -> Checkpoint:
    return Checkpoint(small_run, 12)


def test_the_preconditioned_view_is_the_bracket_of_fields_scaled_by_adam(late: Checkpoint) -> None:
    p = {name: 1 / (np.sqrt(v / (1 - 0.999**late.count)) + 1e-8) for name, v in late.square.items()}
    fields = {name: p[name] * g for name, g in late.g.items()}
    products = lie_ref.hvps(MODEL, late.params, late.buffers, late.x, late.y, fields)  # [k, n] = H_n P g_k
    brackets = {
        name: np.stack([p[name] * (h[i, j] - h[j, i]) for i, j in late.found["pairs"]]) for name, h in products.items()
    }
    late.check("preconditioned", brackets, fields)


@pytest.mark.parametrize("step", [0, 12])
def test_the_momentum_view_is_the_effect_of_the_order_of_two_updates_of_adam(small_run: Path, step: int) -> None:
    at = Checkpoint(small_run, step)
    swaps = {name: [] for name in at.g}
    for name, g in at.g.items():
        for i, j in at.found["pairs"]:
            there = at.update(name, g[i]) + at.update(name, g[i], g[j])
            back = at.update(name, g[j]) + at.update(name, g[j], g[i])
            swaps[name].append(back - there)  # θ falls by the updates
    updates = {name: np.stack([at.update(name, g_i) for g_i in g]) for name, g in at.g.items()}
    at.check("momentum", {name: np.stack(s) for name, s in swaps.items()}, updates)


def test_shuffled_directions_have_the_entries_of_the_gradients_in_random_order(late: Checkpoint) -> None:
    """RMS of H_j d_i − H_i d_j, with directions drawn from the same seed."""
    state = MODEL, late.params, late.buffers
    problem = among_first(checked_problem(*state, late.x, late.y), 6)
    solution = Solution(problem, engine)
    rms = shuffled_rms(solution, np.random.default_rng(12))
    rng = np.random.default_rng(12)
    directions = {name: rng.permuted(g.reshape(6, -1), axis=1).reshape(g.shape) for name, g in solution.grad.items()}
    for name, d in directions.items():
        np.testing.assert_allclose(*(np.sort(a.reshape(6, -1), axis=1) for a in (d, late.g[name])), rtol=1e-12)
        if d[0].size > 1000:
            assert all(abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.2 for a, b in zip(d, late.g[name], strict=True))
    products = lie_ref.hvps(*state, late.x, late.y, directions)
    for t, h in enumerate(products.values()):
        expected = [np.sqrt(np.mean((h[i, j] - h[j, i]) ** 2)) for i, j in problem.pairs]
        np.testing.assert_allclose(rms[:, t], expected, rtol=1e-9)
    found = json.loads(str(late.found["statistics"]))
    assert found["shuffled"].keys() == {"mean_correlation", "mean_slope", "mean_constant"}
    assert found["shuffled"]["mean_correlation"] != found["mean_correlation"]
