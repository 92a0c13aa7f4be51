"""The losses that orders are tried by are those after steps that are really taken, and predicted by brackets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from networks import loss_of
from small import SMALL

import lie_ref
from lie_ref.core.fields import Field
from lie_ref.core.types import Arrays
from lie_ref.experiment import orders
from lie_ref.experiment.orders import try_orders
from lie_ref.images.dataset import Dataset
from lie_ref.study.checkpoint import Checkpoint
from lie_ref.study.training import Training

MODEL = lie_ref.preset("mxresnet-tiny")
SETTINGS = replace(SMALL, batch=8)
FEW = {"PAIRS": 2, "BATCHES": 3, "RANDOM": 4, "HELD_OUT": 20, "EPSILONS": (1e-5,)}
KINDS = {"examples": 1, "mini-batches": 8}  # images in a step
Trials = list[dict[str, Any]]


@pytest.fixture(scope="module")
def state(faces: Dataset) -> Checkpoint:
    """A checkpoint after 12 steps: at step 0, no gradient reaches most tensors."""
    training = Training(MODEL, faces, SETTINGS.seed, SETTINGS.batch, SETTINGS.lr, SETTINGS.betas)
    for _ in range(12):
        training.advance()
    return training.checkpoint()


@pytest.fixture(scope="module")
def tried(state: Checkpoint, faces: Dataset) -> Trials:
    with pytest.MonkeyPatch.context() as patch:
        for name, few in FEW.items():
            patch.setattr(orders, name, few)
        return try_orders(SETTINGS, MODEL, faces, state)


class Tiny:
    """The same network and images in float64, with losses and steps by the definitions of the layers."""

    def __init__(self, state: Checkpoint, faces: Dataset) -> None:
        self.params, self.buffers, self.mean, self.square = (
            {n: a.astype(float) for n, a in of.items()}
            for of in (state.params, state.buffers, state.mean, state.square)
        )
        self.count, self.rng = state.count, SETTINGS.rng("orders", state.step)
        rows = self.rng.permutation(faces.indices("train"))
        held_out = self.rng.permutation(faces.indices("validation"))[:20]
        self.held_out = faces.batch(held_out, np.float64)
        self.x, self.y = faces.batch(rows[:32], np.float64)
        self.loss = loss_of(MODEL, self.buffers, *self.held_out)
        g = lie_ref.gradients(MODEL, self.params, self.buffers, *self.held_out)
        self.gradient = {name: a.mean(axis=0) for name, a in g.items()}

    def fields(self, members: int) -> list[Field]:
        """The vector fields of examples, or of mini-batches in training mode."""
        parts = [slice(k, k + members) for k in range(0, 32, members)]
        losses = [loss_of(MODEL, self.buffers, self.x[p], self.y[p], training=members > 1) for p in parts]
        return [lie_ref.vector_field(loss) for loss in losses]

    def after(self, fields: Sequence[Field], optimizer: str, epsilon: float) -> float:
        """The held-out loss after steps on these fields, one after another."""
        theta, m, v = dict(self.params), dict(self.mean), dict(self.square)
        for t, field in enumerate(fields, start=self.count + 1):
            for name, downhill in field(theta).items():
                g = -downhill
                m[name], v[name] = 0.8 * m[name] + 0.2 * g, 0.999 * v[name] + 0.001 * g**2
                adam = m[name] / (1 - 0.8**t) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
                theta[name] = theta[name] - epsilon * (g if optimizer == "sgd" else adam)
        return float(self.loss(theta))

    def along_gradient(self, change: Arrays) -> float:
        return sum(float((g * change[name]).sum()) for name, g in self.gradient.items())


@pytest.fixture(scope="module")
def tiny(state: Checkpoint, faces: Dataset) -> Tiny:
    return Tiny(state, faces)


def entry(tried: Trials, kind: str, optimizer: str, epsilon: float) -> dict[str, Any]:
    (found,) = (of for of in tried if (of["kind"], of["optimizer"], of["epsilon"]) == (kind, optimizer, epsilon))
    return found


def test_every_kind_is_tried_under_both_optimizers(tried: Trials) -> None:
    assert len(tried) == 2 * 2 * 2 + 2
    assert {of["step"] for of in tried} == {12}
    for of in tried:
        assert len(of["predicted"]) == len(of["real"]) == (4 if of["kind"] == "passes" else 2)
        assert ("best" in of, "reverse" in of) == ((of["kind"] == "passes"),) * 2


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_real_change_is_that_after_steps_in_both_orders(
    tried: Trials, tiny: Tiny, kind: str, optimizer: str
) -> None:
    """By the definitions of the layers, and Adam's own formula: the second pair that is swapped."""
    first, second = tiny.fields(KINDS[kind])[2:4]
    for epsilon in (1e-5, SETTINGS.lr):
        ends = [tiny.after(fields, optimizer, epsilon) for fields in ((first, second), (second, first))]
        real = entry(tried, kind, optimizer, epsilon)["real"]
        assert real[1] == pytest.approx(ends[0] - ends[1], rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_by_plain_steps_a_swap_is_predicted_to_change_the_loss_by_its_bracket(
    tried: Trials, tiny: Tiny, kind: str
) -> None:
    fields = tiny.fields(KINDS[kind])
    brackets = [lie_ref.lie_bracket(*fields[pair : pair + 2])(tiny.params) for pair in (0, 2)]
    for epsilon in (1e-5, SETTINGS.lr):
        expected = [epsilon**2 * tiny.along_gradient(bracket) for bracket in brackets]
        assert entry(tried, kind, "sgd", epsilon)["predicted"] == pytest.approx(expected, rel=1e-9)


def test_under_adam_a_swap_is_predicted_by_its_effects_of_first_and_second_order(tried: Trials, tiny: Tiny) -> None:
    adam = lie_ref.optimizers.AdamState(tiny.mean, tiny.square, tiny.count, SETTINGS.betas)
    given = MODEL, tiny.params, tiny.buffers, tiny.x[:4], tiny.y[:4], [(0, 1), (2, 3)], adam
    first, second = (
        [tiny.along_gradient({n: a[pair] for n, a in effect.items()}) for pair in range(2)]
        for effect in lie_ref.swap_effects(*given)
    )
    for epsilon in (1e-5, SETTINGS.lr):
        expected = epsilon * np.array(first) + epsilon**2 * np.array(second)
        assert entry(tried, "examples", "adam", epsilon)["predicted"] == pytest.approx(expected, rel=1e-9)


def passes(tiny: Tiny) -> tuple[np.ndarray, tuple[int, ...], dict[str, list[tuple[int, ...]]]]:
    """⟨∇L, [v_a, v_b]⟩ of the mini-batches of a pass, the order by their sums, and the random orders."""
    x, y = (a[:24].reshape(3, 8, *a.shape[1:]) for a in (tiny.x, tiny.y))
    pairs = list(permutations(range(3), 2))
    brackets = lie_ref.batch_brackets(MODEL, tiny.params, tiny.buffers, x, y, pairs, training=True)
    value = np.zeros((3, 3))
    for p, pair in enumerate(pairs):
        value[pair] = tiny.along_gradient({n: a[p] for n, a in brackets.items()})
    rng = np.random.default_rng()
    rng.bit_generator.state = tiny.rng.bit_generator.state  # after the images were drawn
    drawn = {name: [tuple(rng.permutation(3).tolist()) for _ in range(4)] for name in ("sgd", "adam")}
    best = min(permutations(range(3)), key=lambda order: sum(value[a, b] for a, b in combinations(order, 2)))
    return value, best, drawn


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_pass_takes_its_mini_batches_one_after_another(tried: Trials, tiny: Tiny, optimizer: str) -> None:
    """Relative to the given order: the best order, its reverse, and random orders, in float32."""
    fields, (_, best, drawn) = tiny.fields(8), passes(tiny)
    after = {order: tiny.after([fields[b] for b in order], optimizer, SETTINGS.lr) for order in permutations(range(3))}
    found = entry(tried, "passes", optimizer, SETTINGS.lr)
    expected = [after[order] - after[0, 1, 2] for order in (best, best[::-1], *drawn[optimizer])]
    assert [found["best"], found["reverse"], *found["real"]] == pytest.approx(expected, abs=2e-7)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_pass_is_predicted_by_the_brackets_of_the_pairs_that_it_reverses(
    tried: Trials, tiny: Tiny, optimizer: str
) -> None:
    """The brackets are those of plain steps, also under Adam."""
    value, _, drawn = passes(tiny)
    expected = [
        SETTINGS.lr**2 * sum(value[b, a] for a, b in combinations(range(3), 2) if order.index(a) > order.index(b))
        for order in drawn[optimizer]
    ]
    found = entry(tried, "passes", optimizer, SETTINGS.lr)["predicted"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * SETTINGS.lr**2 * np.abs(value).max())


def test_every_checkpoint_tries_other_images(
    state: Checkpoint, faces: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, few in {"PAIRS": 1, "BATCHES": 1, "RANDOM": 0, "HELD_OUT": 20, "EPSILONS": ()}.items():
        monkeypatch.setattr(orders, name, few)
    settings = replace(SETTINGS, batch=2)
    one, other = (try_orders(settings, MODEL, faces, replace(state, step=step)) for step in (12, 13))
    for a, b in zip(one, other, strict=True):
        assert (a["step"], b["step"]) == (12, 13)
        assert a["kind"] == "passes" or a["predicted"] != b["predicted"]


@pytest.mark.parametrize(("batch", "swaps"), [(100, 1), (64, 2), (200, None)])
def test_few_training_images_make_fewer_swaps_and_shorter_passes(batch: int, swaps: int | None, faces: Dataset) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, few in (("EPSILONS", ()), ("RANDOM", 1), ("HELD_OUT", 8)):
            patch.setattr(orders, name, few)
        settings = replace(SMALL, batch=batch)
        tried = try_orders(settings, MODEL, faces, Training(MODEL, faces, 0, batch, 5e-3, (0.8, 0.999)).checkpoint())
    assert [len(of["real"]) for of in tried if of["kind"] == "mini-batches"] == ([swaps] * 2 if swaps else [])
    assert len([of for of in tried if of["kind"] == "passes"]) == 2
