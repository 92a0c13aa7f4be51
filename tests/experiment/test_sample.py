"""A sample has sixes of every kind of hair, drawn anew for each run, and what their swaps really change."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small import SMALL

import lie_ref
from lie_ref.experiment import sample as sampling
from lie_ref.experiment.run import read_trained
from lie_ref.experiment.sample import draw, hair_of, sample
from lie_ref.images.dataset import Dataset
from lie_ref.images.labels import ATTRIBUTES, HAIR

MODEL = lie_ref.preset("mxresnet-tiny")
ROOT_MEAN = lambda a, axes: np.sqrt((a**2).mean(axis=axes))  # noqa: E731


def test_a_six_takes_one_example_from_every_sixth_of_the_examples_sorted_by_hair() -> None:
    hair = np.repeat([4, 0, 3, 1, 2], [10, 50, 8, 37, 15])  # 120 examples
    examples, watched = draw(np.random.default_rng(1), hair)
    assert (examples.shape, watched.shape) == ((24, 6), (24, 16))
    for six, others in zip(examples.tolist(), watched.tolist(), strict=True):
        assert len({*six, *others}) == 22
        assert np.sort(hair)[10] == hair[six[0]] == 0  # the first 50 have black hair
        assert hair[six].tolist() == sorted(hair[six])
    seen = Counter(hair[examples].ravel().tolist())
    assert {colour: seen[colour] / 144 for colour in seen} == pytest.approx(
        {0: 50 / 120, 1: 37 / 120, 2: 15 / 120, 3: 8 / 120, 4: 10 / 120}, abs=0.05
    )


def test_every_example_is_drawn_as_often_as_any_other() -> None:
    hair = np.arange(48) % 5
    counts = np.bincount(
        np.concatenate([draw(np.random.default_rng(seed), hair, sixes=2)[0].ravel() for seed in range(2000)])
    )
    assert counts.sum() == 2000 * 12
    assert np.abs(counts / 500 - 1).max() < 0.2  # 500 expected, with a deviation of 22


def test_few_examples_are_drawn_again_before_a_part_is_empty() -> None:
    examples, _ = draw(np.random.default_rng(0), np.zeros(32, int))
    assert all(len(set(six)) == 6 for six in examples.tolist())


def test_the_first_colour_counts_and_a_head_without_one_is_a_kind_of_its_own() -> None:
    labels = np.zeros((3, 40), np.uint8)
    labels[1, ATTRIBUTES.index("Gray_Hair")] = labels[2, ATTRIBUTES.index("Blond_Hair")] = 1
    labels[2, ATTRIBUTES.index("Gray_Hair")] = 1
    assert hair_of(labels, ATTRIBUTES).tolist() == [4, HAIR.index("Gray_Hair"), HAIR.index("Blond_Hair")]


@pytest.fixture(scope="module")
def drawn(small_run: Path, faces: Dataset) -> dict[str, np.ndarray]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling.draw, "__defaults__", (2,))
        return sample(SMALL, MODEL, faces, read_trained(small_run, MODEL, 12), ("preconditioned", "momentum"))


def test_a_sample_has_the_brackets_of_its_sixes_and_what_they_do_to_the_watched(
    drawn: dict[str, np.ndarray], small_run: Path, faces: Dataset
) -> None:
    state = read_trained(small_run, MODEL, 12)
    params, buffers = ({n: a.astype(float) for n, a in of.items()} for of in (state.params, state.buffers))
    for s in range(2):
        x, y = faces.batch(drawn["examples"][s], np.float64)
        seen, _ = faces.batch(drawn["watched"][s], np.float64)
        np.testing.assert_array_equal(drawn["targets"][s], y > 0.5)
        pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
        b = lie_ref.brackets(MODEL, params, buffers, x, y, pairs)
        g = lie_ref.gradients(MODEL, params, buffers, x, y)
        for found, of in ((drawn["rms_bracket/plain"], b), (drawn["rms_gradient/plain"], g)):
            expected = np.stack([ROOT_MEAN(of[n], tuple(range(1, of[n].ndim))) for n in MODEL.parameter_shapes], axis=1)
            np.testing.assert_allclose(found[s], expected, rtol=2e-3, atol=1e-6 * expected.max())
        change = lie_ref.push_forward(MODEL, params, buffers, seen, b)
        np.testing.assert_allclose(drawn["moved/plain"][s], np.abs(change).mean(axis=1), rtol=2e-3)
        p = 1 / (1 + np.exp(-lie_ref.measure.derivatives.logits(MODEL, params, buffers, seen)))
        np.testing.assert_allclose(drawn["moved_probability"][s], np.abs(p * (1 - p) * change).mean(axis=1), rtol=2e-3)


def test_a_sample_has_the_effects_of_adams_memory(
    drawn: dict[str, np.ndarray], small_run: Path, faces: Dataset
) -> None:
    """For plain Adam steps u on i, then j, in the other order: u_j + u_ji − u_i − u_ij, from Adam's own formula."""
    state = read_trained(small_run, MODEL, 12)
    params, buffers = ({n: a.astype(float) for n, a in of.items()} for of in (state.params, state.buffers))
    x, y = faces.batch(drawn["examples"][0], np.float64)
    g = lie_ref.gradients(MODEL, params, buffers, x, y)

    def update(name: str, *steps: int) -> np.ndarray:
        m, v = state.mean[name].astype(float), state.square[name].astype(float)
        for i in steps:
            m, v = 0.8 * m + 0.2 * g[name][i], 0.999 * v + 0.001 * g[name][i] ** 2
        t = state.count + len(steps)
        return m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    for t, name in enumerate(MODEL.parameter_shapes):
        effect = update(name, 1) + update(name, 1, 0) - update(name, 0) - update(name, 0, 1)
        assert drawn["rms_bracket/momentum"][0, 0, t] == pytest.approx(np.sqrt((effect**2).mean()), rel=5e-3, abs=1e-6)


def test_runs_with_other_seeds_draw_other_sixes_and_variants_of_a_seed_the_same(
    small_run: Path, faces: Dataset, monkeypatch: pytest.MonkeyPatch, drawn: dict[str, np.ndarray]
) -> None:
    monkeypatch.setattr(sampling.draw, "__defaults__", (2,))
    state = read_trained(small_run, MODEL, 12)
    other, exclusive = (
        sample(replace(SMALL, **change), MODEL, faces, state, ()) for change in ({"seed": 1}, {"exclusive_hair": True})
    )
    assert not np.array_equal(other["examples"], drawn["examples"])
    for name in ("examples", "watched"):
        np.testing.assert_array_equal(exclusive[name], drawn[name])
    assert "moved/momentum" not in exclusive
    hair = [ATTRIBUTES.index(name) for name in HAIR]
    assert not np.allclose(exclusive["moved_probability"][..., hair], drawn["moved_probability"][..., hair])
