"""The losses that orders are tried by are those after steps that are really taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import loss_of
from small import SMALL

import lie_ref
from lie_ref.core.types import Arrays
from lie_ref.experiment import orders
from lie_ref.experiment.orders import try_orders
from lie_ref.experiment.run import read_trained
from lie_ref.images.dataset import Dataset
from lie_ref.study.checkpoint import Checkpoint

MODEL = lie_ref.preset("mxresnet-tiny")
SETTINGS = replace(SMALL, batch=8)


@pytest.fixture(scope="module")
def state(small_run: Path) -> Checkpoint:
    return read_trained(small_run, MODEL, 12)


@pytest.fixture(scope="module")
def tried(state: Checkpoint, faces: Dataset) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        for name, few in (("PAIRS", 2), ("BATCHES", 3), ("RANDOM", 4), ("HELD_OUT", 20)):
            patch.setattr(orders, name, few)
        return try_orders(SETTINGS, MODEL, faces, state)


def entry(tried: list[dict[str, Any]], kind: str, optimizer: str, epsilon: float) -> dict[str, Any]:
    (found,) = (of for of in tried if (of["kind"], of["optimizer"], of["epsilon"]) == (kind, optimizer, epsilon))
    return found


def test_every_kind_is_tried_under_both_optimizers(tried: list[dict[str, Any]]) -> None:
    assert len(tried) == 2 * 2 * 4 + 2
    assert {of["step"] for of in tried} == {12}
    for of in tried:
        assert len(of["predicted"]) == len(of["real"]) == (4 if of["kind"] == "passes" else 2)


def of_training(faces: Dataset, state: Checkpoint) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of training and held-out images, drawn as the documentation says."""
    rng = SETTINGS.rng("orders", state.step)
    rows = rng.permutation(faces.indices("train"))
    return rows, *faces.batch(rng.permutation(faces.indices("validation"))[:20], np.float64)


def test_the_real_change_is_that_after_steps_of_plain_descent(
    tried: list[dict[str, Any]], state: Checkpoint, faces: Dataset
) -> None:
    rows, x_val, y_val = of_training(faces, state)
    params, buffers = ({n: a.astype(float) for n, a in of.items()} for of in (state.params, state.buffers))
    held_out = loss_of(MODEL, buffers, x_val, y_val)
    x, y = faces.batch(rows[:2], np.float64)
    e = 1e-3

    def after(order: tuple[int, int]) -> Arrays:
        theta = params
        for i in order:  # with batch-norm in evaluation mode
            g = lie_ref.gradients(MODEL, theta, buffers, x[i : i + 1], y[i : i + 1])
            theta = {name: t - e * g[name][0] for name, t in theta.items()}
        return theta

    real = held_out(after((0, 1))) - held_out(after((1, 0)))
    assert entry(tried, "examples", "sgd", e)["real"][0] == pytest.approx(real, rel=1e-6)
    g = {n: a.mean(axis=0) for n, a in lie_ref.gradients(MODEL, params, buffers, x_val, y_val).items()}
    b = lie_ref.brackets(MODEL, params, buffers, x, y, [(0, 1)])
    predicted = e**2 * sum(float((g[n] * b[n][0]).sum()) for n in g)
    assert entry(tried, "examples", "sgd", e)["predicted"][0] == pytest.approx(predicted, rel=1e-8)


def test_small_steps_change_the_loss_as_predicted_also_under_adam(tried: list[dict[str, Any]]) -> None:
    for kind in ("examples", "mini-batches"):
        found = entry(tried, kind, "adam", 1e-5)
        np.testing.assert_allclose(found["real"], found["predicted"], rtol=0.05)
    found = entry(tried, "examples", "sgd", 1e-5)
    np.testing.assert_allclose(found["real"], found["predicted"], rtol=0.1)


def test_a_pass_takes_its_mini_batches_in_training_mode_one_after_another(
    tried: list[dict[str, Any]], state: Checkpoint, faces: Dataset
) -> None:
    """Checked by the definitions of the layers: the best order and its reverse differ from the given one by this."""
    rows, x_val, y_val = of_training(faces, state)
    params, buffers = ({n: a.astype(float) for n, a in of.items()} for of in (state.params, state.buffers))
    held_out = loss_of(MODEL, buffers, x_val, y_val)
    x, y = faces.batch(rows[:24], np.float64)
    batches = [(x[k : k + 8], y[k : k + 8]) for k in (0, 8, 16)]

    def after(order: tuple[int, ...]) -> float:
        theta = params
        for b in order:
            field = lie_ref.vector_field(loss_of(MODEL, buffers, *batches[b], training=True))
            theta = {
                name: t + SETTINGS.lr * v for (name, t), v in zip(theta.items(), field(theta).values(), strict=True)
            }
        return float(held_out(theta))

    start = after((0, 1, 2))
    changes = {
        order: after(order) - start for order in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    }
    found = entry(tried, "passes", "sgd", SETTINGS.lr)
    best = min(changes, key=lambda order: abs(changes[order] - found["best"]))
    assert found["best"] == pytest.approx(changes[best], abs=1e-6)  # float32
    assert found["reverse"] == pytest.approx(changes[best[::-1]], abs=1e-6)
    for real in found["real"]:
        assert min(abs(real - change) for change in changes.values()) < 1e-6
