"""A sample has sixes of every kind of hair, drawn anew for each run, and what their swaps really change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small import SMALL

import lie_ref
from lie_ref.core.types import Arrays
from lie_ref.experiment import sample as sampling
from lie_ref.experiment.sample import draw, hair_of, sample
from lie_ref.images.dataset import Dataset
from lie_ref.images.labels import ATTRIBUTES, HAIR
from lie_ref.study.checkpoint import Checkpoint
from lie_ref.study.training import Training

MODEL = lie_ref.preset("mxresnet-tiny")
PAIRS = [(i, j) for i in range(6) for j in range(i + 1, 6)]
FLOAT32 = 2e-5  # relative: a bracket in float32 is within 3e-6


@pytest.mark.parametrize("seed", range(5))
def test_a_six_takes_one_example_from_every_sixth_of_the_examples_sorted_by_hair(seed: int) -> None:
    hair = np.random.default_rng(9).permutation(np.repeat([4, 0, 3, 1, 2], [13, 59, 11, 43, 18]))  # 144 examples
    examples, watched = draw(np.random.default_rng(seed), hair)
    assert (examples.shape, watched.shape) == ((24, 6), (24, 16))
    for six, others in zip(examples.tolist(), watched.tolist(), strict=True):
        assert len({*six, *others}) == 22
    for part in range(6):  # a part has as many examples as there are sixes
        assert sorted(hair[examples[:, part]]) == np.sort(hair)[24 * part : 24 * part + 24].tolist()
    assert sorted(examples.ravel().tolist()) == list(range(144))


def test_every_example_is_drawn_and_watched_as_often_as_any_other() -> None:
    hair = np.arange(48) % 5
    drawn = [draw(np.random.default_rng(seed), hair, sixes=2) for seed in range(2000)]
    for rows, expected in zip(zip(*drawn, strict=True), (500, 4000 * 16 / 48), strict=True):
        counts = np.bincount(np.ravel(rows))
        assert len(counts) == 48
        assert np.abs(counts - expected).max() < 5 * expected**0.5


def test_examples_with_the_same_hair_can_be_in_a_six_whatever_their_rows() -> None:
    together = np.zeros((24, 24), int)
    for seed in range(1000):
        (six,), _ = draw(np.random.default_rng(seed), np.zeros(24, int), sixes=1)
        together[np.ix_(six, six)] += 1
    expected = 1000 * 6 / 24 * 5 / 23  # of each pair
    assert np.abs(together[np.triu_indices(24, 1)] - expected).max() < 5 * expected**0.5


def test_another_stream_draws_other_sixes_and_the_same_stream_the_same() -> None:
    hair = np.arange(200) % 5
    first, again, other = (draw(np.random.default_rng(seed), hair) for seed in (0, 0, 1))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).mean() > 0.9


def test_few_examples_are_drawn_again_before_a_part_is_empty() -> None:
    examples, _ = draw(np.random.default_rng(0), np.zeros(32, int))
    assert all(len(set(six)) == 6 for six in examples.tolist())


def test_the_first_colour_counts_and_a_head_without_one_is_a_kind_of_its_own() -> None:
    labels = np.zeros((3, 40), np.uint8)
    labels[1, ATTRIBUTES.index("Gray_Hair")] = labels[2, ATTRIBUTES.index("Blond_Hair")] = 1
    labels[2, ATTRIBUTES.index("Gray_Hair")] = 1
    assert hair_of(labels, ATTRIBUTES).tolist() == [4, HAIR.index("Gray_Hair"), HAIR.index("Blond_Hair")]


@pytest.fixture(scope="module")
def state(faces: Dataset) -> Checkpoint:
    """A checkpoint after 12 steps: at step 0, no gradient reaches most tensors."""
    training = Training(MODEL, faces, SMALL.seed, 32, SMALL.lr, SMALL.betas)
    for _ in range(12):
        training.advance()
    return training.checkpoint()


@pytest.fixture(scope="module")
def drawn(state: Checkpoint, faces: Dataset) -> dict[str, np.ndarray]:
    """A sample of two sixes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling.draw, "__defaults__", (2,))
        return sample(SMALL, MODEL, faces, state, ("preconditioned", "momentum"))


def in_float64(state: Checkpoint) -> tuple[Arrays, Arrays]:
    return tuple({n: a.astype(float) for n, a in of.items()} for of in (state.params, state.buffers))  # type: ignore[return-value]


def sizes(arrays: Arrays) -> np.ndarray:
    """The root mean square of each tensor: (n, t)."""
    return np.stack([np.sqrt(np.mean(a**2, axis=tuple(range(1, a.ndim)))) for a in arrays.values()], axis=1)


def assert_swaps(drawn: dict[str, np.ndarray], six: int, view: str, steps: Arrays, effects: Arrays, z: np.ndarray):
    """The sampled sizes and moves of a six are those of these steps and effects, and of the changes z of the logits."""
    for name, expected in (("rms_gradient", sizes(steps)), ("rms_bracket", sizes(effects))):
        np.testing.assert_allclose(drawn[f"{name}/{view}"][six], expected, rtol=FLOAT32, err_msg=name)
    np.testing.assert_allclose(drawn[f"moved/{view}"][six], np.abs(z).mean(axis=1), rtol=FLOAT32)


@pytest.mark.parametrize("six", [0, 1])
def test_a_sample_has_the_brackets_of_its_sixes_and_what_they_do_to_the_watched(
    drawn: dict[str, np.ndarray], state: Checkpoint, faces: Dataset, six: int
) -> None:
    of = MODEL, *in_float64(state)
    x, y = faces.batch(drawn["examples"][six], np.float64)
    seen, _ = faces.batch(drawn["watched"][six], np.float64)
    np.testing.assert_array_equal(drawn["targets"][six], y > 0.5)
    brackets = lie_ref.brackets(*of, x, y, PAIRS)
    change = lie_ref.push_forward(*of, seen, brackets)
    assert_swaps(drawn, six, "plain", lie_ref.gradients(*of, x, y), brackets, change)
    p = 1 / (1 + np.exp(-MODEL.apply(*of[1:], seen)))
    moved = np.abs(p * (1 - p) * change).mean(axis=1)
    np.testing.assert_allclose(drawn["moved_probability"][six], moved, rtol=FLOAT32)


def test_a_sample_has_the_effects_of_adams_memory(
    drawn: dict[str, np.ndarray], state: Checkpoint, faces: Dataset
) -> None:
    """With steps u of Adam on i, then j, or in the other order: u_j + u_ji − u_i − u_ij, from Adam's own formula."""
    of = MODEL, *in_float64(state)
    x, y = faces.batch(drawn["examples"][1], np.float64)
    g = lie_ref.gradients(*of, x, y)

    def update(name: str, *steps: int) -> np.ndarray:
        m, v = state.mean[name].astype(float), state.square[name].astype(float)
        for i in steps:
            m, v = 0.8 * m + 0.2 * g[name][i], 0.999 * v + 0.001 * g[name][i] ** 2
        t = state.count + len(steps)
        return m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    steps = {name: np.stack([update(name, i) for i in range(6)]) for name in g}
    effects = {
        name: np.stack([update(name, j) + update(name, j, i) - update(name, i) - update(name, i, j) for i, j in PAIRS])
        for name in g
    }
    change = lie_ref.push_forward(*of, faces.batch(drawn["watched"][1], np.float64)[0], effects)
    assert_swaps(drawn, 1, "momentum", steps, effects, change)


def test_a_sample_has_the_brackets_of_fields_scaled_by_adams_preconditioner(
    drawn: dict[str, np.ndarray], state: Checkpoint, faces: Dataset
) -> None:
    """[P v_i, P v_j] = P (H_j P g_i − H_i P g_j)."""
    of = MODEL, *in_float64(state)
    x, y = faces.batch(drawn["examples"][0], np.float64)
    unbias = 1 - 0.999**state.count
    scale = {name: 1 / (np.sqrt(v.astype(float) / unbias) + 1e-8) for name, v in state.square.items()}
    steps = {name: g * scale[name] for name, g in lie_ref.gradients(*of, x, y).items()}
    products = lie_ref.hvps(*of, x, y, steps)  # [i, j] is H_j P g_i
    effects = {name: scale[name] * np.stack([h[i, j] - h[j, i] for i, j in PAIRS]) for name, h in products.items()}
    change = lie_ref.push_forward(*of, faces.batch(drawn["watched"][0], np.float64)[0], effects)
    assert_swaps(drawn, 0, "preconditioned", steps, effects, change)


def test_shuffled_directions_are_drawn_anew_for_each_six_and_run(
    drawn: dict[str, np.ndarray], state: Checkpoint, faces: Dataset
) -> None:
    """They are the gradients in an order that the seed and the number of the six decide."""
    of = MODEL, *in_float64(state)
    for six in range(2):
        x, y = faces.batch(drawn["examples"][six], np.float64)
        rng, directions = SMALL.rng("shuffled", six), {}
        for name, g in lie_ref.gradients(*of, x, y).items():
            directions[name] = rng.permuted(g.reshape(6, -1), axis=1).reshape(g.shape)
        products = lie_ref.hvps(*of, x, y, directions)
        effects = {name: np.stack([h[i, j] - h[j, i] for i, j in PAIRS]) for name, h in products.items()}
        np.testing.assert_allclose(drawn["rms_bracket/shuffled"][six], sizes(effects), rtol=FLOAT32)


def test_with_an_exclusive_loss_the_probabilities_of_hair_share_a_softmax(
    drawn: dict[str, np.ndarray], state: Checkpoint, faces: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With p_c = exp z_c / (1 + Σ exp z) for the colours, a change dz changes p_c by p_c (dz_c − Σ p dz)."""
    monkeypatch.setattr(sampling.draw, "__defaults__", (1,))
    settings = replace(SMALL, exclusive_hair=True)
    found = sample(settings, MODEL, faces, state, ())
    of, hair = (MODEL, *in_float64(state)), [ATTRIBUTES.index(name) for name in HAIR]
    x, y = faces.batch(found["examples"][0], np.float64)
    seen, _ = faces.batch(found["watched"][0], np.float64)
    z = MODEL.apply(*of[1:], seen)
    dz = lie_ref.push_forward(*of, seen, lie_ref.brackets(*of, x, y, PAIRS, settings.loss(ATTRIBUTES)))
    np.testing.assert_allclose(found["moved/plain"][0], np.abs(dz).mean(axis=1), rtol=FLOAT32)
    p = 1 / (1 + np.exp(-z))
    dp = p * (1 - p) * dz
    p = np.exp(z[:, hair]) / (1 + np.exp(z[:, hair]).sum(axis=1, keepdims=True))
    dp[..., hair] = p * (dz[..., hair] - (p * dz[..., hair]).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(found["moved_probability"][0], np.abs(dp).mean(axis=1), rtol=FLOAT32)
    assert not any("momentum" in name or "preconditioned" in name for name in found)


def test_the_sixes_belong_to_the_seed_and_not_to_the_variant_or_the_checkpoint(
    drawn: dict[str, np.ndarray], state: Checkpoint, faces: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling.draw, "__defaults__", (2,))
    other, exclusive, later = (
        sample(replace(SMALL, **change), MODEL, faces, replace(state, step=step), ())
        for change, step in (({"seed": 1}, 12), ({"exclusive_hair": True}, 12), ({}, 400))
    )
    for name in ("examples", "watched"):
        assert not np.array_equal(other[name], drawn[name])
        np.testing.assert_array_equal(exclusive[name], drawn[name])
        np.testing.assert_array_equal(later[name], drawn[name])
    assert set(drawn["examples"].ravel().tolist()) <= set(faces.indices("test").tolist())
    assert set(drawn["watched"].ravel().tolist()) <= set(faces.indices("test").tolist())


def test_before_its_first_step_adam_has_no_preconditioner(faces: Dataset) -> None:
    start = Training(MODEL, faces, SMALL.seed, 32, SMALL.lr, SMALL.betas).checkpoint()
    assert list(sampling.optimizers_at(start, SMALL, np.float32)) == ["momentum"]
